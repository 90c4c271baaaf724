"""Priors against classical methods."""

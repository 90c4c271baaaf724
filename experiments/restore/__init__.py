"""Restore images: plan, compute batch by batch, report."""

"""How the bundled priors are made."""

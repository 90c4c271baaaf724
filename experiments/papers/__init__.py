"""The papers' tables and figures, and our own studies."""

"""Commands around the library: `python -m experiments --help`."""

"""Shared by the tests of reproduce."""

from support.gaussian_prior import gaussian_prior
from support.golden_case import tiny_latent_prior
from support.words import settings_of

CARD = {"samples": "emoji", "size": 32, "size_multiple": 4, "channels": 3}


def tiny_priors():
    return {
        "pixel": (gaussian_prior(), CARD | {"name": "tiny"}),
        "latent": (tiny_latent_prior(), CARD | {"name": "tiny-latent"}),
    }


def reproduce_settings(out, text):
    return settings_of("reproduce", *text.split(), "--out", out)

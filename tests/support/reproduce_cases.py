"""Shared by the tests of reproduce."""

from experiments.__main__ import parser
from support.gaussian_prior import gaussian_prior
from support.golden_case import tiny_latent_prior

CARD = {"samples": "emoji", "size": 32, "size_multiple": 4, "channels": 3}


def tiny_priors():
    return {
        "pixel": (gaussian_prior(), CARD | {"name": "tiny"}),
        "latent": (tiny_latent_prior(), CARD | {"name": "tiny-latent"}),
    }


def given(out, text):
    return parser().parse_args(["reproduce", *text.split(), "--out", str(out)])

"""Shared by the tests of reproduce."""

from dsg_jax.solvers import SOLVERS
from experiments.papers.priors import ChosenPrior
from experiments.restore.plan import prior_identity
from support.gaussian_prior import gaussian_prior
from support.golden_case import tiny_latent_prior
from support.words import settings_of

CARD = {"kind": "adm", "samples": "emoji", "size": 32, "size_multiple": 4, "channels": 3}


def chosen(prior, **facts):
    card = CARD | {"name": "tiny"} | facts
    return ChosenPrior(prior, card, prior_identity(prior, card))


def tiny_priors():
    pixel, latent = chosen(gaussian_prior()), chosen(tiny_latent_prior(), name="tiny-latent")
    return {name: latent if e.prior == "latent" else pixel for name, e in SOLVERS.items()}


def reproduce_settings(out, text):
    return settings_of("reproduce", *text.split(), "--out", out)

"""The errors of solvers and their settings, and what provokes them; see test_errors.py."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from dsg_jax.mesh import data_mesh, over_pairs
from dsg_jax.operators.linear import (
    blur,
    hdr,
    identity,
)
from dsg_jax.options import options_of
from dsg_jax.plug_ins import smoothing
from dsg_jax.priors.mixture import mixture_prior, smooth_basis, smooth_mixture
from dsg_jax.priors.samples import sample_images
from dsg_jax.sample import sample
from dsg_jax.schedule import linear_betas, scaled_linear_betas
from dsg_jax.solvers import settings_for
from dsg_jax.solvers.daps import DAPSSettings, daps, daps_steps
from dsg_jax.solvers.ddim import ddim_steps
from dsg_jax.solvers.diffpir import DiffPIRSettings, diffpir, diffpir_steps
from dsg_jax.solvers.dps import dps_steps
from dsg_jax.solvers.guidance import project_step
from dsg_jax.solvers.latent_dps import LatentDPSSettings, latent_dps
from dsg_jax.solvers.pigdm import PiGDMSettings, pigdm, pigdm_steps
from dsg_jax.solvers.pnpdm import pnpdm, pnpdm_steps
from dsg_jax.solvers.psld import PSLDSettings, psld
from dsg_jax.solvers.resample.steps import resample_steps
from dsg_jax.solvers.reverse import public_grid
from dsg_jax.types import Operator, Prior, Problem, Projection
from support.gaussian_prior import gaussian_prior
from support.linear_stage import IMAGE, LATENT, linear_prior

KEY = jax.random.key(0)
BETAS = linear_betas()
SHAPE = (16, 16, 3)
KERNEL = np.full((9, 9), 1 / 81)


def image(*shape: int) -> jax.Array:
    return jnp.zeros(shape or SHAPE)


def measured_by(operator: Operator) -> Problem:
    return Problem(operator, image(*IMAGE), 0.1)


def daps_by(inner: str):
    settings = DAPSSettings(steps=daps_steps(levels=3), inner=inner)
    return daps(gaussian_prior(), measured_by(identity()), Projection(), settings)


def exact_diffpir(operator: Operator, projection: Projection | None = None):
    settings = DiffPIRSettings(steps=diffpir_steps(3), data_step="exact")
    return diffpir(gaussian_prior(), measured_by(operator), projection, settings)


def pigdm_of(operator: Operator, **options):
    settings = PiGDMSettings(steps=pigdm_steps(3), **options)
    return pigdm(gaussian_prior(), measured_by(operator), None, settings)


def psld_of(operator: Operator, prior: Prior | None = None, **options):
    settings = PSLDSettings(steps=ddim_steps(scaled_linear_betas(), 10), **options)
    return psld(prior or linear_prior(), measured_by(operator), None, settings)


def psld_step(y: jax.Array):
    """The first step of PSLD on a measurement."""
    settings = PSLDSettings(steps=ddim_steps(scaled_linear_betas(), 10))
    solver = psld(linear_prior(), Problem(identity(), y, 0.1), None, settings)
    return sample(KEY, solver, LATENT)


SETTINGS: dict[str, Callable[[Path], object]] = {
    "unknown solver 'gibbs': choose from dps, daps": lambda folder: settings_for(
        "gibbs", "hdr", BETAS
    ),
    "dps has no option levels: choose from steps, respacing": lambda folder: settings_for(
        "dps", "hdr", BETAS, levels=3
    ),
    "steps=1: the schedule allows 2 to 1000": lambda folder: settings_for(
        "dps", "hdr", BETAS, steps=1
    ),
    "data_step='exact' follows no gradient": lambda folder: exact_diffpir(identity(), Projection()),
    "data_step='exact' needs a linear measurement": lambda folder: exact_diffpir(hdr()),
    "pigdm needs a linear measurement": lambda folder: pigdm_of(hdr()),
    "noisy=False: the operator has no pseudo-inverse": lambda folder: pigdm_of(
        blur(SHAPE, KERNEL), noisy=False
    ),
    "steps=0: SITCOM's schedule allows 1 to 1000": lambda folder: settings_for(
        "sitcom", "hdr", BETAS, steps=0
    ),
    "noise_level=0.1: script='noise_free' never stops": lambda folder: settings_for(
        "sitcom", "hdr", BETAS, script="noise_free", noise_level=0.1
    ),
    "12 steps leave none to optimise at every 10": lambda folder: settings_for(
        "resample", "hdr", BETAS, steps=12
    ),
    "preset='dsg': choose from official, paper, plorg": lambda folder: settings_for(
        "resample", "hdr", BETAS, preset="dsg"
    ),
    "group='sdxl': choose from ldm, sd": lambda folder: settings_for(
        "latent-daps", "hdr", BETAS, group="sdxl"
    ),
    "tau_y=0.0: give a finite number > 0": lambda folder: settings_for(
        "daps", "hdr", BETAS, tau_y=0.0
    ),
    "build.py has no function blur: give it the entry's name": lambda folder: options_of(
        "operators.build", "blur"
    ),
    "no samples named 'cats': choose from emoji, photo": lambda folder: sample_images("cats"),
    "count=0: the set 'emoji' has 1 to": lambda folder: sample_images("emoji", 0),
    "shape (8, 8, 1): give (h, w, 3) with sides of at least 7": lambda folder: smooth_basis(
        (8, 8, 1)
    ),
    "std=0.04, floor=0.05: give 0 < floor < std": lambda folder: smooth_mixture(
        [1.0], np.zeros((1, 8, 8, 3)), 0.04
    ),
    "the steps start at sigma 157.4, and the prior was trained up to 83.82": lambda folder: (
        latent_dps(
            linear_prior(),
            measured_by(identity()),
            None,
            LatentDPSSettings(steps=ddim_steps(BETAS, 1000)),
        )
    ),
    "clock='sun': choose from table, closed form": lambda folder: mixture_prior(
        smooth_mixture([1.0], np.zeros((1, 8, 8, 3)), 0.25), "sun"
    ),
    "999 devices: give 1 to": lambda folder: data_mesh(999),
    "parameters 'halved': choose from replicated, sharded": lambda folder: over_pairs(
        jnp.sin, data_mesh(1), "halved"
    ),
    "sides='top': choose from both, left, right": lambda folder: Projection(sides="top"),
    "tau=2.5 with rule='rank' is the rank itself": lambda folder: Projection(2.5, rule="rank"),
    "tau=1.5 is a share of the energy: give a value in (0, 1]": lambda folder: Projection(1.5),
    "period=-1: give a whole number >= 0; 0 is": lambda folder: Projection(period=jnp.int32(-1)),
}

SAMPLERS: dict[str, Callable[[Path], object]] = {
    "a plug-in that remembers gradients, such as smoothing, changes nothing here": (
        lambda folder: project_step(smoothing(), None, jnp.int32(0), image(), image())
    ),
    "beta=2: give a number from 0 to 1": lambda folder: smoothing(2),
    "the measurement is complex64 and the operator gives float32: give real": (
        lambda folder: psld_step(jnp.zeros(IMAGE, jnp.complex64))
    ),
    "the measurement has shape (1, 8, 1) and the operator gives (8, 8, 1)": (
        lambda folder: psld_step(image(1, *IMAGE[1:]))
    ),
    "times=[5]: give at least two whole numbers in a row": lambda folder: dps_steps(BETAS, [5]),
    "times from 5 to 1: give ascending ones": lambda folder: dps_steps(BETAS, [5, 3, 1]),
    "variant='new': choose from legacy, main": lambda folder: daps_steps(variant="new"),
    "inner='gibbs': choose from langevin, hmc, mh": lambda folder: daps_by("gibbs"),
    "inner='mh' follows no gradient": lambda folder: daps_by("mh"),
    "levels=0, ode_steps=5: give whole numbers >= 1": lambda folder: daps_steps(levels=0),
    "eta=2.0: give a number from 0 (DDIM) to 1": lambda folder: ddim_steps(BETAS, 10, eta=2.0),
    "pixel_limit=0: give a whole number from 1 to 1,000,000": lambda folder: settings_for(
        "resample", "hdr", BETAS, pixel_limit=0
    ),
    "1 DDIM steps: the schedule allows 2 to 1000": lambda folder: ddim_steps(BETAS, 1),
    "999 DDIM steps end at time 1000, and the schedule at 999: 500 would do": lambda folder: (
        ddim_steps(BETAS, 999)
    ),
    "psld works on latents and this prior has none": lambda folder: psld_of(
        identity(), gaussian_prior()
    ),
    "psld needs a linear measurement": lambda folder: psld_of(hdr()),
    "the operator has no pseudo_inverse: choose glue from transpose, adjoint": lambda folder: (
        psld_of(blur((8, 8, 1), np.full((3, 3), 1 / 9)), glue="pseudo_inverse")
    ),
    "every=4: the time travel takes 5 steps": lambda folder: resample_steps(BETAS, 500, every=4),
    "pnpdm draws exactly from the likelihood of this operator": lambda folder: pnpdm(
        gaussian_prior(), measured_by(identity()), Projection(), settings_for("pnpdm", "hdr", BETAS)
    ),
    "rho_max=200: give at most the highest noise level of the prior step, 152.2": lambda folder: (
        pnpdm_steps("public", public_grid("vp_sde", 10, (152.2, 0.01)), rho_max=200)
    ),
    "likelihood='auto' is of form='public', inversebench has its own: drop one": (
        lambda folder: settings_for("pnpdm", "hdr", BETAS, form="inversebench", likelihood="auto")
    ),
    "rho_min=0.01: give one above the lowest noise level of the prior step, 0.01049": (
        lambda folder: settings_for("pnpdm", "hdr", BETAS, rho_min=0.01)
    ),
    "mode='edm' is of form='public', inversebench has its own: drop one": lambda folder: (
        settings_for("pnpdm", "hdr", BETAS, form="inversebench", mode="edm")
    ),
}

SOLVERS = SETTINGS | SAMPLERS

"""The errors of `dsg_jax`, and what provokes them; see test_errors.py."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import dsg_jax
from dsg_jax.mesh import data_mesh, over_pairs
from dsg_jax.metrics import psnr, ssim
from dsg_jax.metrics.compat import ssim_skimage7
from dsg_jax.metrics.fid import resized, statistics
from dsg_jax.metrics.lpips import LPIPSWeights, lpips
from dsg_jax.operators.blur_network import BlurNetwork, blur_code, nonlinear_blur
from dsg_jax.operators.kernels import box_mask, gaussian_kernel, motion_kernel, random_mask
from dsg_jax.operators.linear import (
    blur,
    gaussian_blur,
    hdr,
    identity,
    inpainting,
    phase_retrieval,
    super_resolution,
)
from dsg_jax.operators.noise import noise_level, poisson_noise
from dsg_jax.operators.spectral import circular_blur, fourier_subsampling
from dsg_jax.operators.tasks import operator_for
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
from dsg_jax.solvers.pnpdm import pnpdm
from dsg_jax.solvers.psld import PSLDSettings, psld
from dsg_jax.solvers.resample.steps import resample_steps
from dsg_jax.types import Operator, Prior, Problem, Projection
from support.errors_library_folders import FOLDERS
from support.errors_library_networks import NETWORKS
from support.errors_user_code import LIBRARY
from support.gaussian_prior import gaussian_prior
from support.linear_stage import IMAGE, LATENT, linear_prior

KEY = jax.random.key(0)
BETAS = linear_betas()
SHAPE = (16, 16, 3)
KERNEL = np.full((9, 9), 1 / 81)


def rng() -> np.random.RandomState:
    return np.random.RandomState(0)


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


def alex() -> LPIPSWeights:
    return LPIPSWeights((), (), "alex")


OPERATORS: dict[str, Callable[[Path], object]] = {
    "std must be positive and at most 10,000 pixels, got -1": lambda folder: gaussian_kernel(
        9, -1.0
    ),
    "intensity must lie in [0, 1], got 1.5": lambda folder: motion_kernel(rng(), 61, 1.5),
    "a box of 28 with margin 2 has no place in 64 x 32 pixels": lambda folder: box_mask(
        rng(), (64, 32), 28, 2
    ),
    "expected 0 <= low <= high <= 1, got low=0.9, high=0.2": lambda folder: random_mask(
        rng(), (8, 8), 0.9, 0.2
    ),
    "the kernel size must be odd and positive, at most 4095, got 60": lambda folder: (
        gaussian_kernel(60)
    ),
    "two-dimensional with odd sides, got (4, 4)": lambda folder: blur(SHAPE, np.ones((4, 4))),
    "odd sides of at most (16, 16), got (17, 17)": lambda folder: circular_blur(
        SHAPE, np.ones((17, 17))
    ),
    "unknown method 'wavelet'; choose auto, fft or direct": lambda folder: blur(
        SHAPE, KERNEL, "wavelet"
    ),
    "a kernel of size 25 pads by 12, but reflection needs less than the image side 12: "
    "use a kernel of at most 23": lambda folder: gaussian_blur((12, 64, 3), 61, 3.0),
    "built for images of (16, 16) pixels, got (20, 16): build one": lambda folder: blur(
        SHAPE, KERNEL
    ).forward(image(20, 16, 3)),
    "the mask must be (h, w) or (h, w, 1), got (4, 4, 3)": lambda folder: inpainting(
        np.ones((4, 4, 3))
    ),
    "the mask must hold only 0 and 1, found 0.5": lambda folder: inpainting(np.full((4, 4), 0.5)),
    "factor 4 must be a positive integer that divides both (30, 32)": lambda folder: (
        super_resolution((30, 32, 3), 4)
    ),
    "the mask is (8, 8) and the image (16, 16): give equals": lambda folder: fourier_subsampling(
        SHAPE, np.ones((8, 8))
    ),
    "acceleration=4, centre=0.5: give an acceleration of at least 1": lambda folder: operator_for(
        "fourier_subsampling", SHAPE, 0, centre=0.5
    ),
    "padding must not be negative, got (-1, -1)": lambda folder: phase_retrieval(SHAPE, pad=-1),
    "padding by 2000000000 pixels: give an oversample or pad": lambda folder: phase_retrieval(
        SHAPE, oversample=1e9
    ),
    "oversample must be finite, got inf": lambda folder: phase_retrieval(
        SHAPE, oversample=float("inf")
    ),
    "scale must be positive, got 0.0": lambda folder: hdr(0.0),
    "the code must be (h/128, w/128, 512), got (1, 1, 4)": lambda folder: nonlinear_blur(
        BlurNetwork({}), image(1, 1, 4)
    ),
    "image of shape (96, 128, 3): the blur network takes": lambda folder: blur_code(
        rng(), (96, 128, 3)
    ),
    "unknown noise domain 'uint8'; choose from symmetric, unit": lambda folder: noise_level(
        0.1, "uint8"
    ),
    "sigma must not be negative, got -0.1": lambda folder: noise_level(-0.1),
    "rate must be positive, got 0.0": lambda folder: poisson_noise(KEY, image(), 0.0),
    "give --blur-network DIR (blur_network=load_blur_network(DIR) in Python)": lambda folder: (
        operator_for("nonlinear_deblur", (256, 256, 3), 0)
    ),
    "unknown task 'fog'; known: identity": lambda folder: operator_for("fog", SHAPE, 0),
    "unknown option box of hdr; known: exposure": lambda folder: operator_for(
        "hdr", SHAPE, 0, box=2
    ),
}

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

SOLVERS: dict[str, Callable[[Path], object]] = {
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
    "rho_min=0.01: give one above the lowest noise level of the prior step, 0.01049": (
        lambda folder: settings_for("pnpdm", "hdr", BETAS, rho_min=0.01)
    ),
    "mode='edm' is of form='public', inversebench has its own: drop one": lambda folder: (
        settings_for("pnpdm", "hdr", BETAS, form="inversebench", mode="edm")
    ),
}

METRICS: dict[str, Callable[[Path], object]] = {
    "module 'dsg_jax' has no attribute 'restore'": lambda folder: dsg_jax.restore,
    "images of shapes (16, 16, 3) and (16, 16, 1); give two of one shape (h, w, c)": (
        lambda folder: psnr(image(), image(16, 16, 1))
    ),
    "SSIM's window of 11 pixels does not fit an image of 10x16": lambda folder: ssim(
        image(10, 16, 3), image(10, 16, 3)
    ),
    "SSIM's window of 7 pixels does not fit an image of 6x16": lambda folder: ssim_skimage7(
        image(6, 16, 3), image(6, 16, 3)
    ),
    "images of shapes (40, 40, 2) and (40, 40, 2); give two of one shape (h, w, 3)": (
        lambda folder: lpips(alex(), image(40, 40, 2), image(40, 40, 2))
    ),
    "FID takes images (h, w, 3) or (h, w, 1), not (8, 8, 2): give pictures": lambda folder: resized(
        np.zeros((8, 8, 2))
    ),
    "FID of 1 images: give two at least": lambda folder: statistics([np.zeros((1, 4))]),
    "LPIPS by alex needs sides of at least 31 pixels, this image has 16x16": lambda folder: lpips(
        alex(), image(), image()
    ),
}

CASES = OPERATORS | SETTINGS | SOLVERS | METRICS | FOLDERS | NETWORKS | LIBRARY

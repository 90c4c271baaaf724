"""The errors of `dsg_jax`, and what provokes them; see test_errors.py."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import dsg_jax
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
    inpainting,
    phase_retrieval,
    super_resolution,
)
from dsg_jax.operators.noise import noise_level, poisson_noise
from dsg_jax.operators.spectral import circular_blur, fourier_subsampling
from dsg_jax.operators.tasks import operator_for
from dsg_jax.schedule import linear_betas
from support.errors_library_folders import FOLDERS
from support.errors_library_networks import NETWORKS
from support.errors_library_solvers import SOLVERS
from support.errors_user_code import LIBRARY

KEY = jax.random.key(0)
BETAS = linear_betas()
SHAPE = (16, 16, 3)
KERNEL = np.full((9, 9), 1 / 81)


def rng() -> np.random.RandomState:
    return np.random.RandomState(0)


def image(*shape: int) -> jax.Array:
    return jnp.zeros(shape or SHAPE)


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

CASES = OPERATORS | SOLVERS | METRICS | FOLDERS | NETWORKS | LIBRARY

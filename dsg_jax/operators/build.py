"""How the operator of every task is built; one function for an entry of `tasks.TASKS`, of its name.

Keyword-only arguments are the task's options. The settings are those of the papers at 256 x 256;
lengths scale with the shorter image side.
"""

import math
from pathlib import Path

import numpy as np

from dsg_jax.operators import kernels, linear, spectral
from dsg_jax.operators.blur import check_reflection
from dsg_jax.operators.blur_network import (
    MISSING,
    BlurNetwork,
    blur_code,
    load_blur_network,
    nonlinear_blur,
)
from dsg_jax.operators.linear import Shape
from dsg_jax.types import Operator

_PAPER_SIDE = 256
_SMALLEST_KERNEL = 15


def identity(rng: np.random.RandomState, shape: Shape) -> Operator:
    """Denoising: A = I."""
    del rng, shape
    return linear.identity()


def box_inpainting(
    rng: np.random.RandomState, shape: Shape, *, box: int | None = None, margin: int | None = None
) -> Operator:
    """Hide a square.

    Args:
      rng: draws its place.
      shape: (h, w, c).
      box: side of the hole, pixels (default: half of the image's)
      margin: least distance of hole and border, pixels (default: a sixteenth of the image's side)
    """
    side = min(shape[:2])
    box = side // 2 if box is None else box
    margin = side // 16 if margin is None else margin
    return linear.inpainting(kernels.box_mask(rng, shape, box, margin))


def random_inpainting(
    rng: np.random.RandomState,
    shape: Shape,
    *,
    hidden_low: float = 0.70,
    hidden_high: float = 0.71,
) -> Operator:
    """Hide a random share of the pixels, drawn from [``hidden_low``, ``hidden_high``).

    Args:
      rng: draws the share and the pixels.
      shape: (h, w, c).
      hidden_low: least share of hidden pixels
      hidden_high: largest share of hidden pixels
    """
    return linear.inpainting(kernels.random_mask(rng, shape, hidden_low, hidden_high))


def gaussian_deblur(
    rng: np.random.RandomState,
    shape: Shape,
    *,
    kernel_size: int | None = None,
    std: float | None = None,
) -> Operator:
    """Undo a Gaussian blur.

    Args:
      rng: not used.
      shape: (h, w, c).
      kernel_size: odd side, pixels (default: `_kernel_size`)
      std: standard deviation, pixels (default: 3 side / 256, at least 1.5)
    """
    del rng
    return linear.gaussian_blur(shape, *_width(shape, kernel_size, std))


def motion_deblur(
    rng: np.random.RandomState,
    shape: Shape,
    *,
    kernel_size: int | None = None,
    intensity: float = 0.5,
    second_draw: bool = False,
) -> Operator:
    """Undo the blur of a random camera shake, see `kernels.motion_kernel`.

    Args:
      rng: draws the kernel.
      shape: (h, w, c).
      kernel_size: odd side, pixels (default: `_kernel_size`)
      intensity: shake of the camera, 0 to 1
      second_draw: discard one kernel first, as the references do
    """
    size = _kernel_size(shape) if kernel_size is None else kernel_size
    check_reflection(shape, (size // 2, size // 2))  # before anything of this size is drawn
    if second_draw:
        kernels.motion_kernel(rng, size, intensity)
    return linear.blur(shape, kernels.motion_kernel(rng, size, intensity))


def super_resolution(rng: np.random.RandomState, shape: Shape, *, factor: int = 4) -> Operator:
    """Enlarge an image that was reduced with an antialiased cubic.

    Args:
      rng: not used.
      shape: (h, w, c).
      factor: ratio of the sides
    """
    del rng
    return linear.super_resolution(shape, factor)


def circular_deblur(
    rng: np.random.RandomState,
    shape: Shape,
    *,
    kernel_size: int | None = None,
    std: float | None = None,
) -> Operator:
    """Undo a Gaussian blur that wraps around the edges.

    Args:
      rng: not used.
      shape: (h, w, c).
      kernel_size: odd side, pixels (default: `_kernel_size`)
      std: standard deviation, pixels (default: 3 side / 256, at least 1.5)
    """
    del rng
    return spectral.circular_blur(shape, kernels.gaussian_kernel(*_width(shape, kernel_size, std)))


def block_super_resolution(
    rng: np.random.RandomState, shape: Shape, *, factor: int = 4
) -> Operator:
    """Enlarge an image that was reduced to the means of blocks.

    Args:
      rng: not used.
      shape: (h, w, c).
      factor: ratio of the sides
    """
    del rng
    return spectral.block_average(shape, factor)


def fourier_subsampling(
    rng: np.random.RandomState,
    shape: Shape,
    *,
    acceleration: float = 4.0,
    centre: float = 0.08,
) -> Operator:
    """Recover an image from some columns of its Fourier coefficients, see `spectral`.

    Args:
      rng: draws the columns.
      shape: (h, w, c); two channels are one complex image.
      acceleration: ratio of all columns to those measured
      centre: share of the columns around coefficient 0 that is measured in any case
    """
    mask = kernels.cartesian_mask(rng, shape, acceleration, centre)
    return spectral.fourier_subsampling(shape, mask)


def phase_retrieval(
    rng: np.random.RandomState,
    shape: Shape,
    *,
    oversample: float = 2.0,
    unit_range: bool = True,
    pad: int | None = None,
) -> Operator:
    """Recover an image from its Fourier magnitude, see `linear.phase_retrieval`.

    Args:
      rng: not used.
      shape: (h, w, c).
      oversample: oversampling of the transform
      unit_range: take the magnitude of the image in [0, 1], as the references do
      pad: pixels on each side, in place of the oversampling
    """
    del rng
    return linear.phase_retrieval(shape, oversample, unit_range, pad)


def hdr(rng: np.random.RandomState, shape: Shape, *, exposure: float = 2.0) -> Operator:
    """Undo an overexposure.

    Args:
      rng: not used.
      shape: (h, w, c).
      exposure: factor on the image before it is clipped
    """
    del rng, shape
    return linear.hdr(exposure)


def nonlinear_deblur(
    rng: np.random.RandomState, shape: Shape, *, blur_network: BlurNetwork | Path | None = None
) -> Operator:
    """Undo the blur of a trained network (Tran et al. 2021) at a random code.

    Args:
      rng: draws the code.
      shape: (h, w, c), sides that are multiples of 128.
      blur_network: folder of the converted GOPRO_wVAE.pth, which is not bundled

    Raises:
      ValueError: no network, or an image that it does not take.
    """
    if blur_network is None:
        raise ValueError(MISSING)
    if isinstance(blur_network, Path):
        blur_network = load_blur_network(blur_network)
    return nonlinear_blur(blur_network, blur_code(rng, shape, blur_network.config.code_channels))


def _width(shape: Shape, size: int | None, std: float | None) -> tuple[int, float]:
    """Kernel size and standard deviation, in place of None those that scale with the side."""
    size = _kernel_size(shape) if size is None else size
    return size, max(1.5, 3 * min(shape[:2]) / _PAPER_SIDE) if std is None else std


def _kernel_size(shape: Shape) -> int:
    """The odd number nearest to 61 side / 256 (the smaller of two), at least 15."""
    scaled = 61 * min(shape[:2]) / _PAPER_SIDE
    return max(_SMALLEST_KERNEL, 2 * math.ceil(scaled / 2 - 1) + 1)

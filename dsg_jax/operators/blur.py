"""Blur by any kernel: the convolution layer of the references, by FFT or directly.

    y = K * reflect_pad(x)      (per channel; cross-correlation: the kernel is not flipped)

`dsg_jax.operators.linear` re-exports `blur`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.tree_util import Partial

from dsg_jax.types import Operator

# Kernels up to this side are applied directly by ``method="auto"``. Measured at 64 and 256 pixels
# on two x86 cores, with the gradient taken inside `lax.scan` as the samplers do: direct is 3-5x
# faster for 3x3 and 5x5, the FFT 3-4x for 9x9 and more than 10x from 15x15 on. Outside a loop the
# FFT wins at every size.
_LARGEST_DIRECT = 5
# Weights below this share of the largest are rounding errors of an FFT in float32.
_ROUNDING = 1e-6


@functools.cache
def static(function, **fixed):
    """`functools.partial`, one object per argument list: jit compares functions by identity."""
    return functools.partial(function, **fixed)


def same(x: Array) -> Array:
    """The identity map; what the reference code calls the transpose of a mask or a blur."""
    return x


def blur(shape: tuple[int, int, int], kernel: Array | np.ndarray, method: str = "auto") -> Operator:
    """Correlate every channel with one kernel after reflect padding (no repetition of the edge).

    Args:
      shape: (h, w, c) of the image.
      kernel: (k, k), or (k, l), odd sides: the weights of a pixel's neighbours. A point-spread
        function (what a point becomes: scipy's convolve, MATLAB's conv2) is ``kernel[::-1, ::-1]``.
        It is an array leaf, so a new one does not recompile.
      method: "fft", "direct", or "auto", the faster one for this size of kernel.

    Returns:
      A linear operator (h, w, c) -> (h, w, c); by FFT it raises ValueError for images of other
      sides. It has no pseudo-inverse: most of its singular values are close to zero.

    Raises:
      ValueError: a kernel that is not two-dimensional and odd or too large for the reflection, or
        an unknown method.
    """
    kernel = jnp.asarray(kernel, jnp.float32)
    if kernel.ndim != 2 or any(side % 2 == 0 for side in kernel.shape):
        raise ValueError(f"the kernel must be two-dimensional with odd sides, got {kernel.shape}")
    if method not in ("auto", "fft", "direct"):
        raise ValueError(f"unknown method {method!r}; choose auto, fft or direct")
    radius = (kernel.shape[0] // 2, kernel.shape[1] // 2)
    check_reflection(shape, radius)
    if method == "auto":
        method = "direct" if max(kernel.shape) <= _LARGEST_DIRECT else "fft"
    if method == "direct":
        forward, leaf = _direct, kernel
    else:
        sizes = tuple(_fast_length(n + 2 * r) for n, r in zip(shape[:2], radius, strict=True))
        forward = static(_by_fft, image=tuple(shape[:2]), radius=radius, sizes=sizes)
        leaf = jnp.conj(jnp.fft.rfft2(kernel, s=sizes))
    return Operator(
        forward=Partial(forward, leaf),
        adjoint=Partial(static(_transposed, forward=forward), leaf),
        transpose=Partial(same),
    )


def point_spread(operator: Operator, shape: tuple[int, ...]) -> np.ndarray:
    """What a blur makes of a point: its kernel turned by 180 degrees, such as scipy convolves with.

    Args:
      operator: of `blur` or `linear.gaussian_blur`.
      shape: (h, w, c) of its images.

    Returns:
      (k, l) float32, odd sides; margins without weights are cut off.
    """
    h, w = shape[:2]
    # A point in a corner is its own mirror image, and shows a quadrant: one corner per channel.
    points = np.zeros((h, w, 4), np.float32)
    points[[0, 0, -1, -1], [0, -1, 0, -1], range(4)] = 1
    quadrants = np.moveaxis(np.asarray(operator.forward(jnp.asarray(points))), -1, 0)
    spread = np.zeros((2 * h - 1, 2 * w - 1), np.float32)
    corners = [
        (a, b) for a in (slice(h - 1, None), slice(h)) for b in (slice(w - 1, None), slice(w))
    ]
    for place, quadrant in zip(corners, quadrants, strict=True):
        spread[place] = quadrant
    spread[np.abs(spread) < _ROUNDING * spread.max()] = 0  # of the FFT
    rows, columns = np.nonzero(spread)
    r, s = np.abs(rows - (h - 1)).max(), np.abs(columns - (w - 1)).max()
    return spread[h - 1 - r : h + r, w - 1 - s : w + s]


def check_reflection(shape: tuple[int, ...], radius: tuple[int, int]) -> None:
    """Refuse a padding that reaches beyond the image's mirror image, naming both numbers.

    Raises:
      ValueError: it does.
    """
    for side, pad in zip(shape[:2], radius, strict=True):
        if pad >= side:
            raise ValueError(
                f"a kernel of size {2 * pad + 1} pads by {pad}, but reflection needs less than the "
                f"image side {side}: use a kernel of at most {2 * side - 1}"
            )


def _reflect(x: Array, radius: tuple[int, int]) -> Array:
    """(h, w, c) -> (c, h + 2 r, w + 2 s)."""
    (r, s), channels_first = radius, jnp.moveaxis(x, -1, 0)
    return jnp.pad(channels_first, ((0, 0), (r, r), (s, s)), mode="reflect")


def _by_fft(spectrum: Array, x: Array, *, image, radius, sizes) -> Array:
    """Circular correlation long enough that the h x w entries kept never wrap around."""
    h, w = image
    if x.shape[:2] != image:
        raise ValueError(
            f"this blur was built for images of {image} pixels, got {x.shape[:2]}: build one for "
            "each size"
        )
    products = spectrum * jnp.fft.rfft2(_reflect(x, radius), s=sizes)
    return jnp.moveaxis(jnp.fft.irfft2(products, s=sizes)[:, :h, :w], 0, -1)


def _direct(kernel: Array, x: Array) -> Array:
    """The channels go as a batch of one-channel images, 3x faster on the CPU than by groups."""
    padded = _reflect(x, (kernel.shape[0] // 2, kernel.shape[1] // 2))[:, None]
    blurred = lax.conv_general_dilated(
        padded, kernel[None, None], (1, 1), "VALID", precision=lax.Precision.HIGHEST
    )
    return jnp.moveaxis(blurred[:, 0], 0, -1)


def _transposed(leaf: Array, y: Array, *, forward) -> Array:
    """Full correlation with the mirrored kernel, then the margins folded back onto the image."""
    return jax.linear_transpose(functools.partial(forward, leaf), y)(y)[0]


def _fast_length(n: int) -> int:
    """The smallest product of 2, 3 and 5 that is at least n; FFTs of such lengths are fast."""
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 1

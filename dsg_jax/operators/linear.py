"""Forward operators y = A(x) of the papers' tasks, for one image of a given shape.

Images are (h, w, c) float32 in [-1, 1]. Linear operators carry their exact adjoint, the reference
code's own "transpose" (which is not the adjoint) and, for masks and super-resolution, the
pseudo-inverse. Masks, kernels and matrices are array leaves. Noise is added in
`dsg_jax.operators.noise`, the papers' settings are in `dsg_jax.operators.tasks`.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import Tracer
from jax.tree_util import Partial

from dsg_jax.operators.blur import blur, check_reflection, same, static
from dsg_jax.operators.kernels import gaussian_taps, mirrored_index
from dsg_jax.operators.spectral import (
    check_factor,
    check_mask,
    diagonal_by,
    identity_by,
    repeat_pixels,
)
from dsg_jax.types import Operator

__all__ = [
    "blur",
    "cubic_matrix",
    "gaussian_blur",
    "hdr",
    "identity",
    "inpainting",
    "phase_retrieval",
    "super_resolution",
]

Shape = tuple[int, int, int]
# Of a padded image, before its Fourier transform.
MOST_PIXELS = 2**25


def identity() -> Operator:
    """A = I, for denoising; any shape."""
    return Operator(*[Partial(same)] * 4)._replace(spectral=Partial(identity_by))


def inpainting(mask: Array | np.ndarray) -> Operator:
    """A = diag(m), the same mask for every channel; a hole reads 0, mid-grey.

    A = A' = A'A = A+. The reference's transpose is the identity, so that PSLD lets the noise of the
    hole through.

    Args:
      mask: (h, w) or (h, w, 1) of 0 (hole) and 1 (seen).

    Raises:
      ValueError: another shape, or values other than 0 and 1 (checked outside jit).
    """
    check_mask(mask)
    mask = jnp.asarray(mask, jnp.float32).reshape(*mask.shape[:2], 1)
    masked = Partial(_mask, mask)
    return Operator(masked, masked, Partial(same), masked, Partial(diagonal_by, mask))


def gaussian_blur(shape: Shape, size: int = 61, std: float = 3.0) -> Operator:
    """Gaussian blur with reflect padding, as one matrix per axis: A X = B_h X B_w'.

    The matrices are (h, h) and (w, w), contain the boundary, and make the blur and its gradient a
    few matrix products: at 256 x 256 on the CPU two orders of magnitude faster than the 61 x 61
    convolution it equals. There is no pseudo-inverse: the smallest singular values are near 1e-7.

    Args:
      shape: (h, w, c) of the image.
      size: odd side of the kernel. Only taps within 4 std are non-zero and need padding.
      std: standard deviation in pixels.

    Raises:
      ValueError: an even size, std <= 0, or a kernel too large for the reflection.
    """
    taps = np.trim_zeros(gaussian_taps(size, std))
    check_reflection(shape, (len(taps) // 2, len(taps) // 2))
    left, right = (_reflected_band(n, taps) for n in shape[:2])
    return Operator(
        forward=Partial(_both_axes, left, right),
        adjoint=Partial(_both_axes, left.T, right.T),
        transpose=Partial(same),
    )


def super_resolution(shape: Shape, factor: int = 4) -> Operator:
    """Reduce by an antialiased cubic with half-sample symmetric boundary: A X = W_h X W_w'.

    This is the resizer of the references (MATLAB's imresize): not `jax.image.resize`, which differs
    in the two outermost rows and columns. W has full row rank and a condition number below 2, so
    A+ Y = W_h+ Y W_w+' is cheap and stable. The reference's transpose repeats pixels.

    Args:
      shape: (h, w, c) of the large image.
      factor: integer that divides h and w.

    Raises:
      ValueError: a factor that is not a positive integer or does not divide both sides.
    """
    check_factor(shape, factor)
    factor = int(factor)
    matrices = [cubic_matrix(n, factor) for n in shape[:2]]
    left, right = (jnp.asarray(w, jnp.float32) for w in matrices)
    return Operator(
        forward=Partial(_both_axes, left, right),
        adjoint=Partial(_both_axes, left.T, right.T),
        transpose=Partial(static(repeat_pixels, factor=factor)),
        pseudo_inverse=Partial(
            _both_axes, *(jnp.asarray(np.linalg.pinv(w), jnp.float32) for w in matrices)
        ),
    )


def phase_retrieval(
    shape: Shape, oversample: float = 2.0, unit_range: bool = True, pad: int | None = None
) -> Operator:
    """Magnitude of the centred orthonormal Fourier transform of the zero-padded image.

        y = | F pad(u) |,   u = (x + 1) / 2   (per channel; u = x without ``unit_range``)

    y is (h + 2 p_h, w + 2 p_w, c), not negative; with ``unit_range`` it has the units of a [0, 1]
    image, so the same noise weighs twice as much as in the other tasks. The gradient of |z| is
    taken as 0 at z = 0.

    Args:
      shape: (h, w, c) of the image.
      oversample: pads floor(oversample / 8 * side) pixels on each side of an axis.
      unit_range: map to [0, 1] first (DiffStateGrad, DAPS); DPS and ReSample do not.
      pad: padding of both axes in place of that rule. The DPS family's code pads 64 at any size.

    Raises:
      ValueError: a negative padding, or a transform of more than `MOST_PIXELS`.
    """
    if not math.isfinite(oversample):
        raise ValueError(f"oversample must be finite, got {oversample}")
    pads = tuple(math.floor(oversample / 8 * n) if pad is None else pad for n in shape[:2])
    if min(pads) < 0:
        raise ValueError(f"padding must not be negative, got {pads}: check oversample and pad")
    if math.prod(n + 2 * p for n, p in zip(shape[:2], pads, strict=True)) > MOST_PIXELS:
        raise ValueError(
            f"padding by {max(pads)} pixels: give an oversample or pad that leaves a transform of"
            f" at most {MOST_PIXELS:,} pixels"
        )
    gain = jnp.float32(0.5 if unit_range else 1.0)
    offset = jnp.float32(0.5 if unit_range else 0.0)
    return Operator(Partial(static(_fourier_magnitude, pads=pads), gain, offset))


def hdr(scale: float = 2.0) -> Operator:
    """Overexposure y = clip(scale x, -1, 1); any shape.

    The slope is ``scale`` up to and including the exact ties |scale x| = 1, as in PyTorch, and 0
    beyond (`jnp.clip` would give half of it at a tie).

    Raises:
      ValueError: ``scale`` <= 0.
    """
    if not isinstance(scale, Tracer) and not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}")
    return Operator(Partial(_expose, jnp.asarray(scale, jnp.float32)))


def cubic_matrix(n: int, factor: int) -> np.ndarray:
    """One axis of the antialiased cubic resizer; (n / factor, n) float64, rows sum to 1.

    Output i, counted from 1, sits at input coordinate u = i factor + (1 - factor) / 2. Its weights
    are Keys' cubic (a = -1/2) of (u - j) / factor, normalised before taps outside the image are
    mirrored onto it.
    """
    i = np.arange(1, n // factor + 1)[:, None]
    centre = i * factor + (1 - factor) / 2
    taps = np.floor(centre - 2 * factor) + np.arange(4 * factor + 2)
    t = np.abs(centre - taps) / factor
    near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    weights = np.where(t <= 1, near, np.where(t <= 2, far, 0.0))
    matrix = np.zeros((n // factor, n))
    columns = mirrored_index(taps.astype(int) - 1, n)
    np.add.at(matrix, (i - 1, columns), weights / weights.sum(axis=1, keepdims=True))
    return matrix


def _reflected_band(n: int, taps: np.ndarray) -> Array:
    """Matrix (n, n) of the correlation with ``taps`` after reflection without the edge repeated."""
    radius = len(taps) // 2
    matrix = np.zeros((n, n))
    i = np.arange(n)
    for offset, tap in enumerate(taps, start=-radius):
        j = np.abs(i + offset)
        np.add.at(matrix, (i, np.where(j < n, j, 2 * (n - 1) - j)), tap)
    return jnp.asarray(matrix, jnp.float32)


def _both_axes(left: Array, right: Array, x: Array) -> Array:
    """(m, h) and (k, w): L X R' per channel of (h, w, c); full float32 on accelerators too."""
    rows = jnp.einsum("ih,hwc->iwc", left, x, precision=lax.Precision.HIGHEST)
    return jnp.einsum("jw,iwc->ijc", right, rows, precision=lax.Precision.HIGHEST)


def _mask(mask: Array, x: Array) -> Array:
    return mask * x


def _fourier_magnitude(gain: Array, offset: Array, x: Array, *, pads: tuple[int, int]) -> Array:
    """The shift before the transform is left out: it changes phases only."""
    u = jnp.moveaxis(gain * x + offset, -1, 0)
    padded = jnp.pad(u, ((0, 0), *((p, p) for p in pads)))
    magnitude = jnp.abs(jnp.fft.fft2(padded, norm="ortho"))
    return jnp.moveaxis(jnp.fft.fftshift(magnitude, axes=(1, 2)), 0, -1)


def _expose(scale: Array, x: Array) -> Array:
    exposed = scale * x
    return jnp.where(jnp.abs(exposed) <= 1, exposed, jnp.sign(exposed))

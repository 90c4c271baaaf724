"""Image quality as it is reported: PSNR and SSIM of one restored image.

Both clip to [-1, 1], map to [0, 1] and use a peak of 1, in floating point: there is no rounding to
8 bits and nothing known is pasted in, as some of the papers' scripts do. Of fields, for which
[-1, 1] is a usual range and no limit, nothing is clipped. They take any number of channels. A state
that is not finite scores NaN. Tables hold the mean over images of the values of single images.
"""

import dm_pix
import jax.numpy as jnp
from jax import Array

_WINDOW = 11


def psnr(x: Array, reference: Array, *, clip: bool = True) -> Array:
    """Peak signal-to-noise ratio in dB; 20 dB is an error of 0.1 on the [0, 1] scale.

        -10 log10( mean over pixels and channels of (x - reference)^2 )

    Args:
      x: restored image (h, w, c) in [-1, 1].
      reference: the true image, same shape and range.
      clip: whether values outside are clipped.

    Returns:
      () decibels; infinite for equal images.

    Raises:
      ValueError: shapes that differ or are not (h, w, c).
    """
    return dm_pix.psnr(*on_unit_range(x, reference, clip))


def ssim(x: Array, reference: Array, *, clip: bool = True) -> Array:
    """Structural similarity (Wang et al. 2004), the mean over channels and positions.

    Gaussian window of 11 pixels with sigma 1.5 at the positions where it fits inside the image,
    population covariance, K1 = 0.01, K2 = 0.03. The released DiffStateGrad script has a uniform
    window of 7 pixels and the sample covariance instead, which differ by 0.01 to 0.04.

    Args:
      x: restored image (h, w, c) in [-1, 1].
      reference: the true image, same shape and range.
      clip: whether values outside are clipped.

    Returns:
      () at most 1, reached by equal images.

    Raises:
      ValueError: shapes that differ, are not (h, w, c) or are smaller than the window.
    """
    x, reference = on_unit_range(x, reference, clip)
    if min(x.shape[:2]) < _WINDOW:
        raise ValueError(
            f"SSIM's window of {_WINDOW} pixels does not fit an image of {x.shape[0]}x{x.shape[1]};"
            f" give an image of at least {_WINDOW}x{_WINDOW}"
        )
    return dm_pix.ssim(x, reference, filter_size=_WINDOW, filter_sigma=1.5)


def on_unit_range(x: Array, reference: Array, clip: bool = True) -> tuple[Array, Array]:
    """Two images (h, w, c) in [-1, 1], clipped or not, as float32 in [0, 1].

    Raises:
      ValueError: shapes that differ or are not (h, w, c).
    """
    if x.shape != reference.shape or x.ndim != 3:
        raise ValueError(
            f"images of shapes {x.shape} and {reference.shape}; give two of one shape (h, w, c), "
            "and use jax.vmap for batches"
        )
    clipped = lambda a: jnp.clip(a, -1.0, 1.0) if clip else jnp.asarray(a)
    x, reference = ((clipped(a).astype(jnp.float32) + 1) / 2 for a in (x, reference))
    return x, reference

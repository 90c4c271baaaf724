"""SSIM and LPIPS as released codes of the papers compute them, under names that say so.

The papers' tables mix protocols: latent solvers were measured by the DiffStateGrad script, DAPS
presumably by DAPS's own. `metrics` and `lpips` are the standard; these are for comparing columns.
"""

import jax.numpy as jnp
from jax import Array, lax

from dsg_jax.metrics import on_unit_range
from dsg_jax.metrics.lpips import LPIPSWeights, lpips

_SIDE = 7


def ssim_skimage7(x: Array, reference: Array) -> Array:
    """Structural similarity as the released DiffStateGrad script takes it from scikit-image.

        mean of  (2 m_x m_y + C1) (2 v_xy + C2) / ((m_x^2 + m_y^2 + C1) (v_x + v_y + C2))

    over channels and the positions where a window of 7 x 7 pixels fits; m are the window's means
    (all weights equal), v its sample variances and covariance (divided by 48), C1 = 0.01^2 and
    C2 = 0.03^2, on [0, 1].

    Args:
      x: restored image (h, w, c) in [-1, 1]; values outside are clipped.
      reference: the true image, same shape and range.

    Returns:
      () at most 1, reached by equal images.

    Raises:
      ValueError: shapes that differ, are not (h, w, c) or are smaller than the window.
    """
    x, reference = on_unit_range(x, reference)
    if min(x.shape[:2]) < _SIDE:
        raise ValueError(
            f"SSIM's window of {_SIDE} pixels does not fit an image of {x.shape[0]}x{x.shape[1]};"
            f" give an image of at least {_SIDE}x{_SIDE}"
        )
    x, y = x - 0.5, reference - 0.5  # variances of numbers near 0 lose less to rounding
    mean_x, mean_y = _mean(x), _mean(y)
    sample = _SIDE**2 / (_SIDE**2 - 1)
    variance_x = sample * (_mean(x * x) - mean_x**2)
    variance_y = sample * (_mean(y * y) - mean_y**2)
    covariance = sample * (_mean(x * y) - mean_x * mean_y)
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    c1, c2 = 0.01**2, 0.03**2
    above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    below = (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return jnp.mean(above / below)


def lpips_vgg_unscaled(weights: LPIPSWeights, x: Array, reference: Array) -> Array:
    """LPIPS of images in [0, 1], as the released DiffStateGrad script computes it.

    The network expects [-1, 1], so that these look bright and of half the contrast to it.

    Args:
      weights: of VGG16.
      x: restored image (h, w, 3) or (h, w, 1) in [-1, 1]; values outside are clipped.
      reference: the true image, same shape and range.

    Raises:
      ValueError: as `lpips`.
    """
    return lpips(weights, *on_unit_range(x, reference))


def lpips_piq_avgpool(weights: LPIPSWeights, x: Array, reference: Array) -> Array:
    """LPIPS with 2 x 2 average pooling for maximum pooling, as DAPS takes it from piq.

    piq's normalisation of [0, 1] by ImageNet's means and deviations is that of LPIPS on [-1, 1].

    Args:
      weights: of VGG16.
      x: restored image (h, w, 3) or (h, w, 1) in [-1, 1]; values outside are clipped.
      reference: the true image, same shape and range.

    Raises:
      ValueError: as `lpips`.
    """
    x, reference = (2 * a - 1 for a in on_unit_range(x, reference))
    return lpips(weights, x, reference, average=True)


def _mean(a: Array) -> Array:
    """Means over the windows that fit: (h, w, c) -> (h - 6, w - 6, c)."""
    window = (_SIDE, _SIDE, 1)
    return lax.reduce_window(a, 0.0, lax.add, window, (1, 1, 1), "VALID") / _SIDE**2

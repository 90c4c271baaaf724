"""Reverse diffusion from a noise level to none: the prior step of PnP-DM.

    for i = first .. N-1:    x <- keep_i x + pull_i D(x / s_i, sigma_i) + noise_i xi

is every Euler step of dx = (lambda sigma'/sigma + s'/s) x - lambda sigma' s/sigma D(x/s, sigma) in
the time t of a schedule sigma(t) with the scaling s(t): of the SDE with lambda = 2, of the ODE with
lambda = 1 and no noise. Everything but D is a table, computed in float64.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dsg_jax.checks import UPDATES, check_choice, check_number
from dsg_jax.diffusion import denoise
from dsg_jax.schedule import BETA_D, BETA_MIN, VP_ENDS, poly7, sde_level, sde_time
from dsg_jax.types import Constants, Draw, Prior


class ReverseGrid(NamedTuple):
    """Constants of the reverse steps, high noise first; (N,) each.

    Attributes:
      sigma: noise level over signal.
      scale: s, the state's scaling.
      keep: factor of the state.
      pull: factor of the denoised image.
      noise: standard deviation of what is added.
    """

    sigma: Constants
    scale: Constants
    keep: Constants
    pull: Constants
    noise: Constants


def reverse(
    prior: Prior, grid: ReverseGrid, z: Array, first: Array, draw: Draw, first_draw: Array
) -> Array:
    """An image (h, w, c) of the noise level of entry ``first`` -> a clean one."""

    def step(i: Array, x: Array) -> Array:
        at = jax.tree.map(lambda a: jnp.asarray(a)[i], grid)
        x0 = denoise(prior, x / at.scale, at.sigma)
        return at.keep * x + at.pull * x0 + at.noise * draw(first_draw + i - first, x.shape)

    return jax.lax.fori_loop(first, len(grid.sigma), step, jnp.asarray(grid.scale)[first] * z)


def public_grid(
    mode: str, points: int, ends: tuple[float, float], *, corrected: bool = False
) -> ReverseGrid:
    """The grid of PnP-DM's own code, whose last step is an Euler step to t = 0 without noise.

    Args:
      mode: a schedule of Karras et al. 2022, Table 1 ("edm" is theirs), with "_sde" behind it for
        the SDE.
      points: N.
      ends: highest and lowest level of the network; a schedule's own are within.
      corrected: the last step gives D. Where sigma = t, that of the SDE over-shoots to 2 D - x.

    Raises:
      ValueError: no such mode, or no such number of points.
    """
    check_choice("mode", mode, [name + ending for ending in ("_sde", "") for name in _SCHEDULES])
    check_number("reverse_steps", points, UPDATES)
    schedule, _, sde = mode.partition("_")
    high, low, levels = _SCHEDULES[schedule]
    sigma, t, slope = levels(min(high, ends[0]), max(low, ends[1]), points)
    move, turn = np.diff(t, append=0.0), 2 if sde else 1
    vp = schedule == "vp"
    scale = 1 / np.sqrt(1 + sigma**2) if vp else np.ones(points)
    shrink = -sigma * slope * scale**2 if vp else np.zeros(points)  # s' / s
    keep = 1 + move * (turn * slope / sigma + shrink)
    pull = -move * turn * slope * scale / sigma
    noise = scale * np.sqrt(-move * 2 * slope * sigma) * (turn - 1)
    noise[-1] = 0
    return _grid(sigma, scale, keep, pull, noise, corrected)


def inversebench_grid(
    points: int, ends: tuple[float, float], *, corrected: bool = False
) -> ReverseGrid:
    """InverseBench's: poly-7 levels, then 0; the reverse SDE with noise in every step.

        x <- x + f_i (D(x, sigma_i) - x) / sigma_i^2 + sqrt(f_i) xi

    The released f_i is 2 sigma (sigma - sigma_next) of the level above, i - 1; the first has its
    own.

    Args:
      points: N levels above 0.
      ends: highest and lowest.
      corrected: every level has its own f, and the last step gives D.

    Raises:
      ValueError: no such number of points.
    """
    check_number("reverse_steps", points, UPDATES)
    sigma = poly7(*ends, np.linspace(0, 1, points))
    f = 2 * sigma * -np.diff(sigma, append=0.0)
    if not corrected:
        f = np.append(f[0], f[:-1])
    weight = f / sigma**2
    return _grid(sigma, np.ones(points), 1 - weight, weight, np.sqrt(f), corrected)


def _grid(sigma, scale, keep, pull, noise, corrected: bool) -> ReverseGrid:
    if corrected:
        keep[-1], pull[-1], noise[-1] = 0, 1, 0
    return ReverseGrid(*(a.astype(np.float32) for a in (sigma, scale, keep, pull, noise)))


def _edm(high: float, low: float, points: int) -> tuple[np.ndarray, ...]:
    sigma = poly7(high, low, np.linspace(0, 1, points))
    return sigma, sigma, np.ones(points)


def _ve(high: float, low: float, points: int) -> tuple[np.ndarray, ...]:
    sigma = np.geomspace(high, low, points)
    return sigma, sigma**2, 1 / (2 * sigma)


def _vp(high: float, low: float, points: int) -> tuple[np.ndarray, ...]:
    """Even in the time of ADM's SDE, log(1 + sigma^2) = BETA_MIN t + BETA_D t^2 / 2."""
    first, last = sde_time(np.array([high, low]))
    t = np.linspace(first, last, points)
    sigma = sde_level(t)
    return sigma, t, (BETA_MIN + BETA_D * t) * (sigma + 1 / sigma) / 2


def _iddpm(high: float, low: float, points: int) -> tuple[np.ndarray, ...]:
    """So many of the levels of `schedule.cosine_betas`, evenly by their number.

    The cosine is rounded to float32 as in the released code: it moves the lowest level by 1e-4.
    """
    angle = np.arange(1000, -1, -1, dtype=np.float32) * np.float32(np.pi / 2) / np.float32(1000)
    signal = np.sin(angle / np.float32(1.008)) ** 2
    ratio = np.maximum(signal[1:] / signal[:-1], np.float32(0.001)).astype(np.float64)
    table = np.sqrt(1 / np.cumprod(ratio) - 1)[::-1]
    table = table[(table >= low) & (table <= high)]
    sigma = table[np.round(np.linspace(0, len(table) - 1, points)).astype(int)]
    return sigma, sigma, np.ones(points)


# Highest and lowest level, and the function from these and N to sigma, t and d sigma / d t.
_SCHEDULES: dict[str, tuple[float, float, Callable]] = {
    "vp": (np.inf, VP_ENDS[1], _vp),
    "ve": (100.0, 0.02, _ve),
    "edm": (80.0, 0.002, _edm),
    "iddpm": (81.0, 0.002, _iddpm),
}

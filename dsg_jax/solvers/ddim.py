"""DDIM (Song et al. 2021) as the latent solvers use it: its times, constants and one step."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from dsg_jax.types import Constants


class DDIMSteps(NamedTuple):
    """Constants of the reverse steps, high noise first; float32 as in the reference.

    Attributes:
      index: N-1 .. 0.
      time: VP time tau_i.
      a: alpha_bar at tau_i.
      a_prev: alpha_bar at the next lower time; at index 0 alpha_bar[0], so no run ends at zero
        noise.
      sigma: standard deviation of the fresh noise, 0 for eta = 0.
    """

    index: Constants
    time: Constants
    a: Constants
    a_prev: Constants
    sigma: Constants


def ddim_steps(betas: ArrayLike, count: int, *, eta: float = 0.0) -> DDIMSteps:
    """The times 1, 1 + c, 1 + 2c, ... with c = T // count, and their constants.

    There are ceil(T / c) of them, which is not always ``count``. With count = T the reference takes
    the network times 1..T but the constants of 0..T-1; that shift is kept.

    Raises:
      ValueError: eta outside [0, 1], a count outside 2..T, or one whose last time lies beyond the
        table (the reference fails there; such are 3, 9, 27, 36, 37, 101..111, 251..333 and 501..999
        of 1000).
    """
    betas = np.asarray(betas, np.float64)
    total = len(betas)
    if not 0 <= eta <= 1:
        raise ValueError(f"eta={eta}: give a number from 0 (DDIM) to 1 (ancestral sampling)")
    if not 2 <= count <= total:
        raise ValueError(f"{count} DDIM steps: the schedule allows 2 to {total}")
    alpha_bar = np.cumprod(1 - betas).astype(np.float32)
    time = np.arange(0, total, total // count) + 1
    shifted = time - 1 if count == total else time
    if shifted[-1] >= total:
        fits = (n for n in range(count - 1, 1, -1) if (total - 1) % (total // n))
        raise ValueError(
            f"{count} DDIM steps end at time {shifted[-1]}, and the schedule at {total - 1}: "
            f"{next(fits, total)} would do"
        )
    a = alpha_bar[shifted]
    a_prev = np.append(alpha_bar[:1], a[:-1])
    wide, wide_prev = a.astype(np.float64), a_prev.astype(np.float64)
    sigma = eta * np.sqrt((1 - wide_prev) / (1 - wide) * (1 - wide / wide_prev))
    low_noise_first = (np.arange(len(time)), time, a, a_prev, sigma.astype(np.float32))
    return DDIMSteps(*(values[::-1] for values in low_noise_first))


def first_level(steps: DDIMSteps) -> Array:
    """() sigma at the first step, sqrt((1 - a) / a)."""
    return (1 / steps.a[0] - 1) ** 0.5


def ddim_step(z: Array, eps: Array, noise: Array, at: DDIMSteps) -> tuple[Array, Array]:
    """One step from z with the predicted noise: (next z, z0_hat)."""
    z0_hat = (z - jnp.sqrt(1 - at.a) * eps) / jnp.sqrt(at.a)
    direction = jnp.sqrt(1 - at.a_prev - at.sigma**2) * eps
    return jnp.sqrt(at.a_prev) * z0_hat + direction + at.sigma * noise, z0_hat

"""Priors of independent N(mean, std^2) pixels: what their networks answer is known."""

from collections.abc import Callable

import jax.numpy as jnp
from jax.tree_util import Partial

from dsg_jax.clock import Clock, adm_clock
from dsg_jax.types import FirstStage, Prior


def exact_eps(mean, std, x, t):
    """E[noise | x_t] for x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) noise."""
    a = adm_clock().alpha_bar(jnp.asarray(t, jnp.float32))
    return jnp.sqrt(1 - a) * (x - jnp.sqrt(a) * mean) / (a * std**2 + 1 - a)


def gaussian_prior(mean: float = 0.0, std: float = 1.0) -> Prior:
    """The prior with the closed-form network on ADM's clock."""
    return Prior(Partial(exact_eps, jnp.float32(mean), jnp.float32(std)), adm_clock())


# Prediction -> the noise level at its native time, its state in units of VE, and its output from y,
# D = E[x0 | y] and e = E[noise | y]; of a VP table the level is the clock's.
VP = lambda s: 1 / jnp.sqrt(1 + s**2)
NATIVE: dict[str, tuple[Callable | None, Callable, Callable]] = {
    "eps": (None, VP, lambda s, y, d, e: e),
    "v": (None, VP, lambda s, y, d, e: (e - s * d) * VP(s)),
    "x0": (None, VP, lambda s, y, d, e: d),
    "edm": (
        lambda t: jnp.exp(4 * t),
        lambda s: 1 / jnp.sqrt(s**2 + 0.25),
        lambda s, y, d, e: (d - 0.25 / (s**2 + 0.25) * y) * jnp.sqrt(s**2 + 0.25) / (0.5 * s),
    ),
    "ve": (lambda t: 2 * jnp.exp(t), lambda s: 1.0, lambda s, y, d, e: -e),
    "flow": (
        lambda t: t / jnp.maximum(1000 - t, 1e-3),
        lambda s: 1 / (1 + s),
        lambda s, y, d, e: e - d,
    ),
}


def native_gaussian(
    clock: Clock, mean: float = 0.1, std: float = 0.3, stage: FirstStage | None = None
) -> Prior:
    """The prior whose network answers in the clock's own prediction, scaling and time."""

    def network(x, t):
        level, scale, answer = NATIVE[clock.prediction]
        s = level(t) if level else clock.sigma(t)
        y = x / scale(s)
        e = s * (y - mean) / (std**2 + s**2)
        return answer(s, y, (std**2 * y + s**2 * mean) / (std**2 + s**2), e)

    return Prior(network, clock, stage)

"""Inner samplers: Langevin and HMC along projected gradients, Metropolis-Hastings, exact draws.

All target exp(-||A(x) - y||^2 / 2 tau_y^2 - ||x - x0_hat||^2 / 2 sigma^2); chains start at x0_hat.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.stats import norm as standard_normal

from dsg_jax.checks import POSITIVE, check_number
from dsg_jax.diffusion import score
from dsg_jax.plug_ins import Guidance, begin, follow, last_projected
from dsg_jax.projection import full_rank
from dsg_jax.solvers.guidance import gradient_share, misfit, safe_norm
from dsg_jax.types import Draw, Prior, Problem

_SCORE_MIN_SIGMA = 0.01
# Standard deviation of the likelihood that every step size of the reference was chosen for.
TAU_Y = 0.01


def suited(tau_y: float, sigma: np.ndarray) -> np.ndarray:
    """What the reference's step sizes are multiplied by for another ``tau_y``; 1 at `TAU_Y`.

    Its step is about 1 / L, where L = 1 / tau_y^2 + 1 / sigma^2 is the curvature of what an inner
    sampler descends: 1e-4 at 0.01. The factor L(0.01) / L(tau_y) keeps a chain as stable, and lets
    it move as far in units of its target's width.

    Raises:
      ValueError: a ``tau_y`` that is not positive.
    """
    check_number("tau_y", tau_y, POSITIVE)
    published, chosen = (1 / tau**2 + 1 / sigma**2 for tau in (TAU_Y, tau_y))
    return published / chosen


class Inner(NamedTuple):
    """A task's inner sampler: updates per level, step size, its final ratio, HMC's momentum."""

    steps: int
    lr: float
    lr_min_ratio: float = 0.01
    momentum: float = 0.9


class Level(NamedTuple):
    """What an inner sampler knows about its annealing level."""

    x: Array
    x0_hat: Array
    sigma: Array
    lr: Array
    first_draw: Array


def langevin(lr: Array) -> Callable:
    """Move by x <- x - lr g + sqrt(2 lr) noise; the velocity is not used."""
    return lambda x, v, g, noise: (x - lr * g + jnp.sqrt(2 * lr) * noise, v)


def hmc(lr: Array, momentum: Array | float) -> Callable:
    """Move by v <- m v - sqrt(lr) g + sqrt(2 (1 - m)) noise; x <- x + sqrt(lr) v."""

    def move(x, v, g, noise):
        v = momentum * v - jnp.sqrt(lr) * g + jnp.sqrt(2 * (1 - momentum)) * noise
        return x + jnp.sqrt(lr) * v, v

    return move


def guided_chain(
    gradient: Callable[[Array], Array],
    projection: Guidance,
    level: Level,
    draw: Draw,
    count: int,
    momentum: Array | float | None = None,
    pull: Callable[[Array], Array] | None = None,
) -> tuple[Array, Array, Array]:
    """``count`` steps along P(gradient): (x_y, ranks, ||P(G)|| / ||G|| of the last projection).

    The subspace is computed once from x0_hat, its projectors are formed once. ``momentum`` None is
    Langevin; HMC draws its first velocity before the step noises. ``pull`` is a part of the
    gradient that is never projected. Plug-ins in the projection's place change all of the gradient
    and nothing of the noises.
    """
    memory = begin(projection, draw, level.first_draw, level.x0_hat)
    shape = level.x0_hat.shape
    if momentum is None:
        move, first, v = langevin(level.lr), level.first_draw, jnp.zeros(shape)
    else:
        move, first = hmc(level.lr, momentum), level.first_draw + 1
        v = draw(level.first_draw, shape)

    last = last_projected(projection, count)

    def body(carry, i):
        x, v, memory, told = carry
        g = gradient(x)
        projected, memory, rank = follow(projection, memory, i, g)
        of_this = lambda: (rank, gradient_share(projected, g))
        told = jax.lax.cond(i == last, of_this, lambda: told)
        projected = projected if pull is None else projected + pull(x)
        return (*move(x, v, projected, draw(first + i, shape)), memory, told), None

    start = level.x0_hat, v, memory, (full_rank(shape), jnp.ones(()))
    (x, _, _, (rank, share)), _ = jax.lax.scan(body, start, jnp.arange(count))
    return x, rank, share


def metropolis(problem: Problem, level: Level, draw: Draw, count: int, tau_y):
    """Random-walk Metropolis-Hastings with steps of sqrt(lr): (x_y, full ranks, 1)."""

    def log_density(x):
        fit = misfit(problem, x) ** 2 / (2 * tau_y**2)
        return -fit - safe_norm(x - level.x0_hat) ** 2 / (2 * level.sigma**2)

    def body(carry, i):
        x, density = carry
        k = level.first_draw + 2 * i
        proposal = x + jnp.sqrt(level.lr) * draw(k, x.shape)
        proposed = log_density(proposal)
        accept = standard_normal.logcdf(draw(k + 1, ())) < proposed - density
        x, density = jnp.where(accept, proposal, x), jnp.where(accept, proposed, density)
        return (x, density), None

    start = (level.x0_hat, log_density(level.x0_hat))
    (x, _), _ = jax.lax.scan(body, start, jnp.arange(count))
    return x, full_rank(x.shape), jnp.ones(())


def gaussian_draw(problem: Problem, level: Level, draw: Draw, tau_y):
    """One exact draw, by the spectrum of a linear operator: (x_y, full ranks, 1)."""
    x, (_, adjoint, *_, spectral) = level.x0_hat, problem.operator
    assert adjoint and spectral
    variance = lambda e: 1 / (e / tau_y**2 + 1 / level.sigma**2)
    mean = spectral(variance, adjoint(problem.y) / tau_y**2 + x / level.sigma**2)
    noise = spectral(lambda e: jnp.sqrt(variance(e)), draw(level.first_draw, x.shape))
    return mean + noise, full_rank(x.shape), jnp.ones(())


def prior_pull(prior: Prior, prior_score: str, level: Level) -> Callable[[Array], Array]:
    """The gradient of the log-prior that the inner sampler climbs, as `DAPSSettings` names it."""
    if prior_score == "gaussian":
        return lambda x: (level.x0_hat - x) / level.sigma**2
    if prior_score == "exact":
        smallest = jnp.float32(_SCORE_MIN_SIGMA)
        return lambda x: (level.x - x) / level.sigma**2 + score(prior, x, smallest)
    at_t = prior_score == "score-t"
    x, sigma = (level.x, level.sigma) if at_t else (level.x0_hat, jnp.float32(_SCORE_MIN_SIGMA))
    fixed = score(prior, x, sigma)
    return lambda x: (level.x - x) / level.sigma**2 + fixed

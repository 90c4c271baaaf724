"""DAPS (Zhang et al. 2024) on a pixel prior, with or without DiffStateGrad.

    for each annealing level sigma:
        x0_hat = probability-flow ODE from x at sigma          a few Euler steps
        x_y    = Langevin (or HMC, MH) started at x0_hat,      gradient -> P(gradient)
                 targeting exp(-||A(x) - y||^2 / 2 tau_y^2 - ||x - x0_hat||^2 / 2 sigma^2)
        x      = x_y + sigma_next * noise

P comes from one SVD of x0_hat per level; the sampler's own noise is not projected. The projected
DAPS was not released: this follows the paper's appendix (C.4).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.stats import norm as standard_normal

from dsg_jax.diffusion import denoise, score
from dsg_jax.projection import decomposed, project, subspace
from dsg_jax.schedule import daps_annealing, daps_ode_grid
from dsg_jax.solvers.guidance import full_rank, kept_share, misfit, safe_norm, step_info
from dsg_jax.types import Draw, Info, Prior, Problem, Projection, Solver

_SCORE_MIN_SIGMA = 0.01
INNER = ("langevin", "hmc", "mh")
PRIOR_SCORES = ("gaussian", "score-t", "score-min", "exact")


class DAPSSteps(NamedTuple):
    """Constants of the annealing levels, computed in float64; leading axis = level."""

    index: np.ndarray
    sigma: np.ndarray
    sigma_next: np.ndarray
    ode_sigma: np.ndarray
    """(levels, ode_steps) sigma at which each Euler step evaluates the denoiser."""
    ode_move: np.ndarray
    """(levels, ode_steps) 1 - sigma_next / sigma of the Euler step."""
    lr: np.ndarray


def daps_steps(
    *,
    variant: str = "legacy",
    levels: int = 200,
    ode_steps: int = 5,
    sigma_max: float = 100.0,
    sigma_min: float = 0.1,
    ode_sigma_min: float = 0.01,
    lr: float = 1e-4,
    lr_min_ratio: float = 0.01,
) -> DAPSSteps:
    """Annealing levels, ODE grids and inner step sizes; the defaults are the reference's.

    ``variant`` is "legacy" (August 2024, what the papers ran) or "main" (the 2025 rewrite).
    """
    if variant not in ("legacy", "main"):
        raise ValueError(f"variant={variant!r}: choose legacy or main")
    sigma = daps_annealing(variant, levels, sigma_max, sigma_min)
    grid = daps_ode_grid(variant, sigma[:-1], ode_steps, ode_sigma_min)
    last = levels if variant == "legacy" else levels + 1
    index = np.arange(levels)
    rates = lr * (1 + index / last * (lr_min_ratio - 1))
    floats = (sigma[:-1], sigma[1:], grid[:, :-1], 1 - grid[:, 1:] / grid[:, :-1], rates)
    return DAPSSteps(index, *(a.astype(np.float32) for a in floats))


def daps(
    prior: Prior,
    problem: Problem,
    projection: Projection | None = None,
    *,
    steps: DAPSSteps | None = None,
    variant: str = "legacy",
    inner_steps: int = 100,
    inner: str = "langevin",
    momentum: Array | float = 0.9,
    tau_y: Array | float = 0.01,
    prior_score: str = "gaussian",
) -> Solver:
    """DAPS as a `Solver`; the state is x at the current level (h, w, c).

    Args:
      prior: noise predictor; variance values are dropped and x0_hat is not clipped.
      problem: measurement to explain; its ``sigma`` is not used, ``tau_y`` stands in the likelihood.
      projection: None for plain DAPS.
      steps: `daps_steps(...)` of the same variant.
      variant: "main" weights the likelihood gradient twice as much as "legacy".
      inner_steps: inner updates per level (static).
      inner: "langevin", "hmc" or "mh" (Metropolis-Hastings has no gradient to project).
      momentum: HMC's momentum m.
      tau_y: standard deviation of the likelihood, a tuning constant of the method.
      prior_score: "gaussian" (the papers'), "score-t", "score-min" or "exact".

    Departs from the reference: a sample that is not finite is reported in `Info`, not zeroed
    together with its batch.
    """
    steps = daps_steps(variant=variant) if steps is None else steps
    if inner not in INNER or prior_score not in PRIOR_SCORES:
        options = f"inner from {', '.join(INNER)}; prior_score from {', '.join(PRIOR_SCORES)}"
        raise ValueError(f"inner={inner!r}, prior_score={prior_score!r}: choose {options}")
    if inner == "mh" and projection is not None:
        raise ValueError("inner='mh' follows no gradient: use projection=None, langevin or hmc")
    draws_per_level = {"langevin": inner_steps, "hmc": 1 + inner_steps, "mh": 2 * inner_steps}[inner] + 1
    weight = 0.5 if variant == "legacy" else 1.0

    def likelihood(x: Array) -> Array:
        residual = problem.y - problem.operator.forward(x)
        return weight * jnp.sum(residual * residual) / tau_y**2

    def step(draw: Draw, x: Array, at: DAPSSteps) -> tuple[Array, Info]:
        first = at.index * draws_per_level
        x0_hat = ode(prior, x, at)
        level = Level(x, x0_hat, at.sigma, at.lr, first)
        if inner == "mh":
            x_y, rank, kept = metropolis(problem, level, draw, inner_steps, tau_y)
        else:
            pull = _prior_pull(prior, prior_score, level)
            gradient = lambda x: jax.grad(likelihood)(x) - pull(x)  # noqa: E731
            friction = momentum if inner == "hmc" else None
            x_y, rank, kept = guided_chain(
                gradient, projection, level, draw, inner_steps, friction
            )
        x = x_y + at.sigma_next * draw(first + draws_per_level - 1, x.shape)
        return x, step_info(misfit(problem, x_y), rank, kept, x)

    init = lambda noise: steps.sigma[0] * noise  # noqa: E731
    return Solver(init=init, step=step, steps=steps, image=lambda x: x)


class Level(NamedTuple):
    """What an inner sampler knows about its annealing level."""

    x: Array
    x0_hat: Array
    sigma: Array
    lr: Array
    first_draw: Array


def ode(prior: Prior, x: Array, at: DAPSSteps) -> Array:
    """x0_hat: Euler steps of the probability-flow ODE, x <- x + (1 - sigma'/sigma)(D(x) - x)."""

    def euler(x, sigma_and_move):
        sigma, move = sigma_and_move
        return x + move * (denoise(prior, x, sigma) - x), None

    return jax.lax.scan(euler, x, (at.ode_sigma, at.ode_move))[0]


def _prior_pull(prior: Prior, prior_score: str, level: Level):
    """The gradient of the log-prior that the inner sampler climbs."""
    if prior_score == "gaussian":
        return lambda x: (level.x0_hat - x) / level.sigma**2
    if prior_score == "exact":
        bridge = lambda x: (level.x - x) / level.sigma**2  # noqa: E731
        return lambda x: bridge(x) + score(prior, x, jnp.float32(_SCORE_MIN_SIGMA))
    at_t = prior_score == "score-t"
    x, sigma = (level.x, level.sigma) if at_t else (level.x0_hat, jnp.float32(_SCORE_MIN_SIGMA))
    fixed = score(prior, x, sigma)
    return lambda x: (level.x - x) / level.sigma**2 + fixed


def guided_chain(gradient, projection, level: Level, draw: Draw, count: int, friction):
    """Langevin, or HMC with the given momentum, along projected gradients: (x_y, ranks, kept)."""
    shape = level.x0_hat.shape
    shared = projection is not None and projection.source != "gradient"
    step_number = level.first_draw
    space = (
        subspace(projection, decomposed(projection, draw, step_number, level.x0_hat, None))
        if shared
        else None
    )

    def guide(i, x):
        g = gradient(x)
        if projection is None:
            return g, full_rank(shape), jnp.ones(())
        used = space if shared else subspace(projection, g)
        projected = jnp.where(i % projection.period == 0, project(used, g), g)
        return projected, used.rank.astype(jnp.int32), kept_share(projected, g)

    def langevin(x, v, g, noise):
        return x - level.lr * g + jnp.sqrt(2 * level.lr) * noise, v

    def hmc(x, v, g, noise):
        v = friction * v - jnp.sqrt(level.lr) * g + jnp.sqrt(2 * (1 - friction)) * noise
        return x + jnp.sqrt(level.lr) * v, v

    move, offset = (langevin, 0) if friction is None else (hmc, 1)
    v = jnp.zeros(shape) if friction is None else draw(level.first_draw, shape)

    def body(carry, i):
        g, rank, kept = guide(i, carry[0])
        noise = draw(level.first_draw + offset + i, shape)
        return move(*carry, g, noise), (rank, kept)

    (x, _), (ranks, kept) = jax.lax.scan(body, (level.x0_hat, v), jnp.arange(count))
    return x, ranks[-1], jnp.mean(kept)


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

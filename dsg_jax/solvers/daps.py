"""DAPS (Zhang et al. 2024) on a pixel prior, with or without DiffStateGrad.

    for each annealing level sigma:
        x0_hat = probability-flow ODE from x at sigma          a few Euler steps
        x_y    = Langevin (or HMC, MH) started at x0_hat,      gradient -> P(gradient)
                 targeting exp(-||A(x) - y||^2 / 2 tau_y^2 - ||x - x0_hat||^2 / 2 sigma^2)
        x      = x_y + sigma_next * noise

P comes from one SVD of x0_hat per level; the sampler's own noise is not projected. The projected
DAPS was not released: this follows the paper's appendix (C.4).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dsg_jax.diffusion import denoise, score, time_of_sigma
from dsg_jax.schedule import daps_annealing, daps_ode_grid
from dsg_jax.solvers.guidance import misfit, step_info
from dsg_jax.solvers.inner import Level, guided_chain, metropolis
from dsg_jax.types import Constants, Draw, Info, Prior, Problem, Projection, Solver

_SCORE_MIN_SIGMA = 0.01
VARIANTS = ("legacy", "main")
INNER = ("langevin", "hmc", "mh")
PRIOR_SCORES = ("gaussian", "score-t", "score-min", "exact")


class DAPSSteps(NamedTuple):
    """Constants of the annealing levels, computed in float64; leading axis = level."""

    level: Constants
    sigma: Constants
    sigma_next: Constants
    ode_sigma: Constants
    """(levels, ode_steps) sigma at which each Euler step evaluates the denoiser."""
    ode_move: Constants
    """(levels, ode_steps) 1 - sigma_next / sigma of the Euler step."""
    lr: Constants


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

    Raises:
      ValueError: another variant.
    """
    _check_variant(variant)
    sigma = daps_annealing(variant, levels, sigma_max, sigma_min)
    grid = daps_ode_grid(variant, sigma[:-1], ode_steps, ode_sigma_min)
    last = levels if variant == "legacy" else levels + 1
    number = np.arange(levels)
    rates = lr * (1 + number / last * (lr_min_ratio - 1))
    floats = (sigma[:-1], sigma[1:], grid[:, :-1], 1 - grid[:, 1:] / grid[:, :-1], rates)
    return DAPSSteps(number, *(a.astype(np.float32) for a in floats))


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
      problem: measurement to explain; its ``sigma`` is not used, the likelihood has ``tau_y``.
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

    Raises:
      ValueError: an unknown ``variant``, ``inner`` or ``prior_score``, or a projection for "mh".
    """
    _check_variant(variant)
    steps = daps_steps(variant=variant) if steps is None else steps
    if inner not in INNER or prior_score not in PRIOR_SCORES:
        options = f"inner from {', '.join(INNER)}; prior_score from {', '.join(PRIOR_SCORES)}"
        raise ValueError(f"inner={inner!r}, prior_score={prior_score!r}: choose {options}")
    if inner == "mh" and projection is not None:
        raise ValueError("inner='mh' follows no gradient: use projection=None, langevin or hmc")
    draws = {"langevin": inner_steps, "hmc": 1 + inner_steps, "mh": 2 * inner_steps}[inner] + 1
    weight = 0.5 if variant == "legacy" else 1.0

    def likelihood(x: Array) -> Array:
        residual = problem.y - problem.operator.forward(x)
        return weight * jnp.sum(residual * residual) / tau_y**2

    def step(draw: Draw, x: Array, at: DAPSSteps) -> tuple[Array, Info]:
        level = Level(x, ode(prior, x, at), at.sigma, at.lr, at.level * draws)
        if inner == "mh":
            x_y, rank, kept = metropolis(problem, level, draw, inner_steps, tau_y)
        else:
            pull = _prior_pull(prior, prior_score, level)
            x_y, rank, kept = guided_chain(
                lambda x: jax.grad(likelihood)(x) - pull(x),
                projection,
                level,
                draw,
                inner_steps,
                momentum if inner == "hmc" else None,
            )
        x = x_y + at.sigma_next * draw(level.first_draw + draws - 1, x.shape)
        return x, step_info(misfit(problem, x_y), rank, kept, x)

    return Solver(
        init=lambda noise: steps.sigma[0] * noise, step=step, steps=steps, image=lambda x: x
    )


def ode(
    prior: Prior, x: Array, at: DAPSSteps, time: Callable[[Array], Array] = time_of_sigma
) -> Array:
    """x0_hat: Euler steps of the probability-flow ODE, x <- x + (1 - sigma'/sigma)(D(x) - x).

    ``time`` maps sigma to the network's time.
    """

    def euler(x, sigma_and_move):
        sigma, move = sigma_and_move
        return x + move * (denoise(prior, x, sigma, time(sigma)) - x), None

    return jax.lax.scan(euler, x, (at.ode_sigma, at.ode_move))[0]


def _check_variant(variant: str) -> None:
    if variant not in VARIANTS:
        raise ValueError(f"variant={variant!r}: choose from {', '.join(VARIANTS)}")


def _prior_pull(prior: Prior, prior_score: str, level: Level):
    """The gradient of the log-prior that the inner sampler climbs."""
    if prior_score == "gaussian":
        return lambda x: (level.x0_hat - x) / level.sigma**2
    if prior_score == "exact":
        smallest = jnp.float32(_SCORE_MIN_SIGMA)
        return lambda x: (level.x - x) / level.sigma**2 + score(prior, x, smallest)
    at_t = prior_score == "score-t"
    x, sigma = (level.x, level.sigma) if at_t else (level.x0_hat, jnp.float32(_SCORE_MIN_SIGMA))
    fixed = score(prior, x, sigma)
    return lambda x: (level.x - x) / level.sigma**2 + fixed

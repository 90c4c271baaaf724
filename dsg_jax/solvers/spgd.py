"""SPGD (ACM Multimedia 2025) on a pixel prior, with or without DiffStateGrad.

    for each annealing level sigma, i of S, with rate = lr (1 - 0.99 i / S):
        N times (the warm-up):
            x0_hat = E[x0 | x]
            G      = grad_x ||y - A(x0_hat)||^2         through the network
            d      = x0_hat - x
            x      = x - rate P(G)                      P from the SVD of x as the level found it
        x = x + (1 - sigma_next / sigma) d              probability flow, by the last d

Nothing is drawn but the start. The last d belongs to the x before the last update, so that no level
costs a call more than its warm-up. The paper smooths the gradients. The released code computes that
and follows the gradients as they are, and so does this file: `plug_ins.smoothing` is the paper's.
DiffStateGrad was not released for SPGD.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dsg_jax.checks import NOT_NEGATIVE, UPDATES, check_fields, check_number
from dsg_jax.clock import Clock
from dsg_jax.diffusion import denoise
from dsg_jax.plug_ins import Guidance, begin, follow, last_projected
from dsg_jax.projection import full_rank
from dsg_jax.schedule import daps_annealing
from dsg_jax.solvers.guidance import (
    gradient_share,
    prior_for,
    published,
    residual,
    safe_norm,
    step_info,
)
from dsg_jax.types import Constants, Draw, Info, Prior, Problem, Solver

# Rate of the level that would follow the last, as a share of the first one's.
_LAST_RATE = 0.01


class SPGDSteps(NamedTuple):
    """Constants of the levels, high noise first; (levels,) float32 computed in float64.

    Attributes:
      rate: size of the level's gradient steps.
      move: 1 - sigma_next / sigma.
    """

    level: Constants
    sigma: Constants
    rate: Constants
    move: Constants


def spgd_steps(
    *, levels: int = 100, sigma_max: float = 100.0, sigma_min: float = 0.1, lr: float = 1.0
) -> SPGDSteps:
    """The constants of the reference's grid: poly-7 from sigma_max to sigma_min, then 0.

    Raises:
      ValueError: no levels, or more than `checks.UPDATES` allows.
    """
    check_number("levels", levels, UPDATES)
    sigma, number = daps_annealing("legacy", levels, sigma_max, sigma_min), np.arange(levels)
    rate = lr * (1 + number / levels * (_LAST_RATE - 1))
    floats = sigma[:-1], rate, 1 - sigma[1:] / sigma[:-1]
    return SPGDSteps(number, *(a.astype(np.float32) for a in floats))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class SPGDSettings:
    """What SPGD is told; `settings_for` has the published values.

    Attributes:
      steps: `spgd_steps(...)`.
      inner_steps: gradient steps per level, >= 1.
    """

    steps: SPGDSteps
    inner_steps: int = field(default=5, metadata={"static": True})

    def __post_init__(self) -> None:
        check_fields(self, inner_steps=UPDATES)


def spgd(prior: Prior, problem: Problem, projection: Guidance, settings: SPGDSettings) -> Solver:
    """SPGD as a `Solver`; the state is x at the current level (h, w, c).

    `Info` tells of the last gradient that the projection's period allows; ``misfit`` is of the last
    x0_hat.

    Args:
      prior: over pixels; variance values are dropped and x0_hat is not clipped.
      problem: measurement to explain; its ``sigma`` is not used.
      projection: None for plain SPGD; its period counts the gradient steps of a level.
      settings: levels, and how far one goes in each of them.

    Raises:
      ValueError: steps that start above the prior's noise levels.
    """
    prior, count = prior_for(problem, prior, settings.steps.sigma[0]), settings.inner_steps
    last = last_projected(projection, count)

    def guided(x: Array, sigma: Array) -> tuple[Array, tuple[Array, Array]]:
        x0 = denoise(prior, x, sigma)
        difference = residual(problem, x0)
        return jnp.sum(difference * difference), (x0 - x, safe_norm(difference))

    def step(draw: Draw, x: Array, at: SPGDSteps) -> tuple[Array, Info]:
        def warm_up(carry, i):
            x, memory, told, _ = carry
            g, (d, norm) = jax.grad(guided, has_aux=True)(x, at.sigma)
            followed, memory, rank = follow(projection, memory, i, g)
            of_this = lambda: (rank, gradient_share(followed, g))
            told = jax.lax.cond(i == last, of_this, lambda: told)
            return (x - at.rate * followed, memory, told, (d, norm)), None

        memory = begin(projection, draw, at.level, x)
        told = full_rank(x.shape), jnp.ones(())
        start = x, memory, told, (jnp.zeros_like(x), jnp.zeros(()))
        (x, _, (rank, share), (d, norm)), _ = jax.lax.scan(warm_up, start, jnp.arange(count))
        x = x + at.move * d
        return x, step_info(norm, rank, share, x, count)

    init = lambda noise: settings.steps.sigma[0] * noise
    return Solver(init=init, step=step, steps=settings.steps, image=lambda x: x)


# Step sizes of the reference's task configurations, all with 5 inner steps.
SPGD_LR = {
    "default": 1.0,  # ours: of what SPGD has no configuration for; its smallest
    "super_resolution": 7.0,
    "gaussian_deblur": 1.0,
    "motion_deblur": 1.0,
    "box_inpainting": 2.5,  # ours: its file has another method's keys; that of random inpainting
    "random_inpainting": 2.5,
    "phase_retrieval": 2.0,
    "nonlinear_deblur": 1.0,
    "hdr": 1.0,
}


def settings_for(
    task: str,
    clock: Clock,
    *,
    levels: int = 100,
    inner_steps: int = 5,
    lr: float | None = None,
    step_factor: float = 1.0,
) -> SPGDSettings:
    """The reference's settings for a task; shorter runs keep the grid's end points.

    Args:
      task: a key of `SPGD_LR`; others have its default.
      clock: the prior's; levels that it was not trained at are left out of the grid.
      levels: annealing levels
      inner_steps: inner updates per level
      lr: size of a gradient step at the first level (default: the task's)
      step_factor: multiply the gradient steps by this

    Raises:
      ValueError: a number that is not allowed.
    """
    lr = step_factor * (published(SPGD_LR, task) if lr is None else lr)
    check_number("lr", lr, NOT_NEGATIVE)
    sigma_max, sigma_min = clock.within(100.0, 0.1)
    steps = spgd_steps(levels=levels, sigma_max=sigma_max, sigma_min=sigma_min, lr=lr)
    return SPGDSettings(steps=steps, inner_steps=inner_steps)

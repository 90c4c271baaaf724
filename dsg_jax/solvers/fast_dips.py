"""FAST-DIPS (ICLR 2026) on a pixel prior, with or without DiffStateGrad.

    for each annealing level sigma:
        x0_hat = E[x0 | x]                       one call of the network, no ODE
        x_y    = ADMM from x0_hat                towards y, gradient -> P(gradient): `admm`
        x      = x_y + sigma_next * noise
    x = clip(x0_hat of the last level)

P comes from one SVD of x0_hat per level and acts before the line search, so that every step still
goes downhill. The projected method was not released. What the last level corrects is thrown away,
as in the released code: the returned image is that level's denoised estimate.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dsg_jax.checks import UPDATES, check_number
from dsg_jax.clock import Clock
from dsg_jax.diffusion import denoise
from dsg_jax.plug_ins import Guidance, begin
from dsg_jax.schedule import daps_annealing
from dsg_jax.solvers.admm import ADMM, admm
from dsg_jax.solvers.guidance import misfit, prior_for, published, step_info
from dsg_jax.types import Constants, Draw, Info, Prior, Problem, Solver


class FastDIPSSteps(NamedTuple):
    """The annealing levels, high noise first; (levels,), sigmas float32 computed in float64."""

    level: Constants
    sigma: Constants
    sigma_next: Constants


def fast_dips_steps(
    levels: int = 75, sigma_max: float = 100.0, sigma_min: float = 0.1
) -> FastDIPSSteps:
    """Sigma from ``sigma_max`` to a little above ``sigma_min``, then 0: the grid of "main" DAPS.

    Raises:
      ValueError: no levels, or more than there is memory for.
    """
    check_number("levels", levels, UPDATES)
    sigma = daps_annealing("main", levels, sigma_max, sigma_min).astype(np.float32)
    return FastDIPSSteps(np.arange(levels), sigma[:-1], sigma[1:])


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class FastDIPSSettings:
    """What FAST-DIPS is told; `settings_for` has the published values.

    Attributes:
      steps: `fast_dips_steps(...)`.
      loop: how a level's estimate is corrected.
    """

    steps: FastDIPSSteps
    loop: ADMM = ADMM(line_search="difference")


def fast_dips(
    prior: Prior, problem: Problem, projection: Guidance, settings: FastDIPSSettings
) -> Solver:
    """FAST-DIPS as a `Solver`; the state is x at the current level (h, w, c).

    Args:
      prior: over pixels.
      problem: measurement to explain; its ``sigma`` is not used.
      projection: None for plain FAST-DIPS; its period counts steps downhill.
      settings: levels, and how each of them corrects.

    Raises:
      ValueError: steps that start above the prior's noise levels.
    """
    prior = prior_for(problem, prior, settings.steps.sigma[0])

    def step(draw: Draw, x: Array, at: FastDIPSSteps) -> tuple[Array, Info]:
        x0 = denoise(prior, x, at.sigma)
        memory = begin(projection, draw, at.level, x0)
        x_y, rank, share, lengths, _ = admm(
            problem.operator.forward, problem.y, x0, at.sigma, settings.loop, projection, memory
        )
        x_y = jnp.where(at.sigma_next > 0, x_y, x0)
        x = x_y + at.sigma_next * draw(at.level, x.shape)
        return x, step_info(misfit(problem, x_y), rank, share, x, lengths.size)

    init = lambda noise: settings.steps.sigma[0] * noise
    image = lambda x: jnp.clip(x, -1, 1)
    return Solver(init=init, step=step, steps=settings.steps, image=image)


class Published(NamedTuple):
    """A task's levels T, passes K, corrections S and weight rho."""

    levels: int
    passes: int
    corrections: int
    rho: float = 200.0


# The released commands.
FAST_DIPS = {
    "default": Published(75, 3, 1),  # ours: that of super-resolution
    "super_resolution": Published(75, 3, 1),
    "box_inpainting": Published(75, 3, 1),
    "random_inpainting": Published(75, 3, 1),
    "gaussian_deblur": Published(50, 3, 2),
    "motion_deblur": Published(50, 3, 2),
    "phase_retrieval": Published(150, 2, 5),
    "nonlinear_deblur": Published(150, 2, 5),
    "hdr": Published(150, 2, 5, 5.0),
}


def settings_for(
    task: str,
    clock: Clock,
    *,
    levels: int | None = None,
    passes: int | None = None,
    corrections: int | None = None,
    rho: float | None = None,
    epsilon: float = 0.05,
) -> FastDIPSSettings:
    """The released settings for a task; shorter runs keep the grid's end points.

    Args:
      task: a key of `FAST_DIPS`; others have its default.
      clock: the prior's; levels that it was not trained at are left out of the grid.
      levels: annealing levels (default: the task's)
      passes: of ADMM per level, the first of which corrects nothing (default: the task's)
      corrections: steps downhill in each pass (default: the task's)
      rho: weight of the measurement against the estimate (default: the task's)
      epsilon: norm of y - A(x) that is left as it is

    Raises:
      ValueError: a number that `ADMM` or `fast_dips_steps` refuses.
    """
    row = published(FAST_DIPS, task)
    levels = row.levels if levels is None else levels
    return FastDIPSSettings(
        steps=fast_dips_steps(levels, *clock.within(100.0, 0.1)),
        loop=ADMM(
            rho=row.rho if rho is None else rho,
            epsilon=epsilon,
            passes=row.passes if passes is None else passes,
            corrections=row.corrections if corrections is None else corrections,
            line_search="difference",
        ),
    )

"""DiffPIR (Zhu et al., CVPR Workshops 2023) on a pixel prior, with or without DiffStateGrad.

    for sigma from the highest level down, x = y_sigma / sqrt(1 + sigma^2):
        x0_hat = E[x0 | x]
        x'     = x0_hat - P(grad ||A(x0_hat) - y||^2) / rho     rho = 2 lambda sigma_n^2 / v
        e      = (y_sigma - x') / sigma                         v   = sigma^2 / (1 + sigma^2)
        y_sigma+ = x' + sigma+ (sqrt(xi) noise + sqrt(1 - xi) e)
    the noise of the last level, 0.01, stays in the image

P comes from the SVD of x0_hat; the network is not differentiated. This is InverseBench's code: one
gradient step where the paper has the minimum of ||A(x) - y||^2 + rho / 2 ||x - x0_hat||^2, which
`data_step="exact"` is, for linear operators. The gradient step goes up to ||A||^2 / (lambda
sigma_n^2) times the way to the measurement. Above 2 only the network's next estimate can bring it
back. The published lambda 8 and sigma_n 0.05 make it 50 for a mask, where it diverges on the
bundled priors. The default here makes it 3.3, lambda sigma_n^2 = 0.3 ||A||^2: on two of their
images that restored better than 0.55.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dsg_jax.checks import POSITIVE, UNIT, check_fields
from dsg_jax.clock import Clock
from dsg_jax.diffusion import denoise
from dsg_jax.plug_ins import Guidance
from dsg_jax.projection import full_rank
from dsg_jax.schedule import VP_ENDS, vp_levels
from dsg_jax.solvers.guidance import (
    misfit,
    prior_for,
    project_step,
    published,
    regularised,
    residual,
    step_info,
)
from dsg_jax.types import Constants, Draw, Info, Prior, Problem, Solver


class DiffPIRSteps(NamedTuple):
    """Constants of the steps, high noise first; (N,) float32 computed in float64.

    Attributes:
      scale: 1 / sqrt(1 + sigma^2) of the state; ``scale_next`` is 1 at the end.
      variance: sigma^2 / (1 + sigma^2).
    """

    step: Constants
    sigma: Constants
    scale: Constants
    variance: Constants
    sigma_next: Constants
    scale_next: Constants


def diffpir_steps(steps: int = 1000, ends: tuple[float, ...] = VP_ENDS) -> DiffPIRSteps:
    """The levels of `schedule.vp_levels`: from the first of ``ends`` to the second, then the third.

    Raises:
      ValueError: no steps, or more than there is memory for.
    """
    sigma = vp_levels(steps, *ends)
    scale = 1 / np.sqrt(1 + sigma**2)
    scale_next = np.append(scale[1:-1], 1.0)
    floats = (sigma[:-1], scale[:-1], (sigma * scale)[:-1] ** 2, sigma[1:], scale_next)
    return DiffPIRSteps(np.arange(steps), *map(np.float32, floats))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class DiffPIRSettings:
    """What DiffPIR is told; `settings_for` has the published values.

    Attributes:
      steps: `diffpir_steps(...)`.
      prior_weight: lambda sigma_n^2, > 0, which the method knows as this product only. The gradient
        step contracts above ||A||^2 / 2.
      xi: share of the next level's noise that is fresh, in [0, 1].
      data_step: "gradient" is InverseBench's; "exact", the paper's, has no gradient to project.
    """

    steps: DiffPIRSteps
    prior_weight: Array | float = 0.3
    xi: Array | float = 1.0
    data_step: Literal["gradient", "exact"] = field(default="gradient", metadata={"static": True})

    def __post_init__(self) -> None:
        check_fields(self, prior_weight=POSITIVE, xi=UNIT)


def diffpir(
    prior: Prior, problem: Problem, projection: Guidance, settings: DiffPIRSettings
) -> Solver:
    """DiffPIR as a `Solver`; the state is x (h, w, c), scaled as a VP network's.

    Args:
      prior: over pixels; variance values are dropped and x0_hat is not clipped.
      problem: measurement to explain; its ``sigma`` is not used, the settings have sigma_n.
      projection: None for plain DiffPIR.
      settings: levels, and how each of them guides.

    Raises:
      ValueError: a projection for the exact step, or an operator without an adjoint; steps that
        start above the prior's noise levels.
    """
    exact, xi, first = settings.data_step == "exact", settings.xi, settings.steps
    if exact and projection is not None:
        raise ValueError(
            "data_step='exact' follows no gradient: use projection=None or data_step='gradient'"
        )
    if exact and problem.operator.adjoint is None:
        raise ValueError("data_step='exact' needs a linear measurement: use data_step='gradient'")
    prior = prior_for(problem, prior, first.sigma[0])

    def explained(draw: Draw, x0: Array, at: DiffPIRSteps) -> tuple[Array, Array, Array]:
        weight = settings.prior_weight / at.variance  # rho / 2
        if exact:
            move = regularised(problem.operator, residual(problem, x0), weight)
            return x0 + move, full_rank(x0.shape), jnp.ones(())
        gradient = jax.grad(lambda x: misfit(problem, x) ** 2)(x0)
        gradient, rank, share = project_step(projection, draw, at.step, x0, gradient)
        return x0 - gradient / (2 * weight), rank, share

    def step(draw: Draw, x: Array, at: DiffPIRSteps) -> tuple[Array, Info]:
        y = x / at.scale
        x0 = denoise(prior, y, at.sigma)
        corrected, rank, share = explained(draw, x0, at)
        fresh, old = draw(at.step, x.shape), (y - corrected) / at.sigma
        noise = jnp.sqrt(xi) * fresh + jnp.sqrt(1 - xi) * old
        x = (corrected + at.sigma_next * noise) * at.scale_next
        return x, step_info(misfit(problem, x0), rank, share, x)

    init = lambda noise: first.sigma[0] * first.scale[0] * noise
    return Solver(init=init, step=step, steps=settings.steps, image=lambda x: x)


# lambda sigma_n^2: ours, 0.3 ||A||^2. InverseBench publishes 8 x 0.05^2 = 0.02 whatever the
# operator, which only reductions by 4 bear.
DIFFPIR_PRIOR_WEIGHT = {
    "default": 0.3,
    "super_resolution": 0.02,
    "block_super_resolution": 0.02,
    "hdr": 1.2,
    "phase_retrieval": 0.075,
}


def settings_for(
    task: str,
    clock: Clock,
    *,
    steps: int = 1000,
    prior_weight: float | None = None,
    xi: float = 1.0,
    data_step: Literal["gradient", "exact"] = "gradient",
) -> DiffPIRSettings:
    """InverseBench's settings, but for the weight of the prior, which is ours.

    Args:
      task: a key of `DIFFPIR_PRIOR_WEIGHT`; others have its default.
      clock: the prior's; levels that it was not trained at are left out of the grid.
      steps: noise levels
      prior_weight: lambda sigma_n^2 (default: the task's; InverseBench: 0.02)
      xi: share of fresh noise in a step, 0 to 1
      data_step: gradient, or the exact minimum, of linear measurements

    Raises:
      ValueError: a number that is not allowed.
    """
    weight = published(DIFFPIR_PRIOR_WEIGHT, task) if prior_weight is None else prior_weight
    return DiffPIRSettings(
        steps=diffpir_steps(steps, clock.within(*VP_ENDS)),
        prior_weight=weight,
        xi=xi,
        data_step=data_step,
    )

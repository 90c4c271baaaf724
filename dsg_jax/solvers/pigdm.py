"""PiGDM (Song et al., ICLR 2023) on a pixel prior, with or without DiffStateGrad.

    for sigma from 100 down to 0.01, even in log sigma; the last step stays at 0.01:
        x0_hat = E[x0 | x]
        u      = A' (A A' + s I)^-1 (y - A x0_hat)      s = sigma_y^2 (sigma^2 + 1) / sigma^2
                 or A+ (y - A x0_hat), without noise
        G      = (d x0_hat / d x)' u
        x      = x0_hat + sqrt(1 - eta^2) (sigma+ / sigma) (x - x0_hat) + eta sigma+ noise + P(G)

P comes from the SVD of x. This is InverseBench's code. As the paper, it takes x0 given x_t for a
Gaussian of variance r^2 = sigma^2 / (sigma^2 + 1), which is in the inverse; G itself has weight 1.
The noise of the last step, eta 0.01, stays in the image.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dsg_jax.checks import UNIT, UPDATES, check_fields, check_number
from dsg_jax.clock import Clock
from dsg_jax.diffusion import denoise
from dsg_jax.plug_ins import Guidance
from dsg_jax.solvers.guidance import (
    prior_for,
    project_step,
    regularised,
    residual,
    safe_norm,
    step_info,
)
from dsg_jax.types import Constants, Draw, Info, Prior, Problem, Solver

_LEAST_NOISE = 1e-4  # of the measurement, so that the inverse exists


class PiGDMSteps(NamedTuple):
    """Constants of the steps, high noise first; (N,) float32 computed in float64."""

    step: Constants
    sigma: Constants
    sigma_next: Constants


def pigdm_steps(steps: int = 100, sigma_max: float = 100.0, sigma_min: float = 0.01) -> PiGDMSteps:
    """Noise levels from one to the other, even in their logarithm, and the last once more.

    Raises:
      ValueError: no steps, or more than there is memory for.
    """
    check_number("steps", steps, UPDATES)
    sigma = np.append(np.geomspace(sigma_max, sigma_min, steps), sigma_min)
    return PiGDMSteps(np.arange(steps), np.float32(sigma[:-1]), np.float32(sigma[1:]))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class PiGDMSettings:
    """What PiGDM is told; `settings_for` has the published values.

    Attributes:
      steps: `pigdm_steps(...)`.
      eta: share of the next level's noise that is fresh, in [0, 1].
      noisy: whether y has noise, of the problem's sigma; without, A+ is asked for, which blurs do
        not have.
    """

    steps: PiGDMSteps
    eta: Array | float = 0.2
    noisy: bool = field(default=True, metadata={"static": True})

    def __post_init__(self) -> None:
        check_fields(self, eta=UNIT)


def pigdm(prior: Prior, problem: Problem, projection: Guidance, settings: PiGDMSettings) -> Solver:
    """PiGDM as a `Solver`; the state is x at the current level (h, w, c).

    Args:
      prior: over pixels; variance values are dropped and x0_hat is not clipped.
      problem: a linear measurement; its ``sigma`` is that of the inverse.
      projection: None for plain PiGDM.
      settings: levels, and how each of them guides.

    Departs from the reference: the inverse is no matrix, see `guidance.regularised`.

    Raises:
      ValueError: an operator without an adjoint, or without a pseudo-inverse where that is asked
        for; steps that start above the prior's noise levels.
    """
    operator, inverse, eta = problem.operator, problem.operator.pseudo_inverse, settings.eta
    if operator.adjoint is None:
        raise ValueError(
            "pigdm needs a linear measurement, and this one has no adjoint: use dps or daps"
        )
    if not settings.noisy and inverse is None:
        raise ValueError("noisy=False: the operator has no pseudo-inverse, use noisy=True")
    prior = prior_for(problem, prior, settings.steps.sigma[0])
    sigma_y = jnp.maximum(problem.sigma, _LEAST_NOISE)

    def towards(difference: Array, sigma: Array) -> Array:
        if settings.noisy or inverse is None:
            return regularised(operator, difference, sigma_y**2 * (sigma**2 + 1) / sigma**2)
        return inverse(difference)

    def step(draw: Draw, x: Array, at: PiGDMSteps) -> tuple[Array, Info]:
        x0, pull_back = jax.vjp(lambda x: denoise(prior, x, at.sigma), x)
        difference = residual(problem, x0)
        (gradient,) = pull_back(towards(difference, at.sigma))
        gradient, rank, share = project_step(projection, draw, at.step, x, gradient)
        drift = jnp.sqrt(1 - eta**2) * (at.sigma_next / at.sigma) * (x - x0)
        x = x0 + drift + eta * at.sigma_next * draw(at.step, x.shape) + gradient
        return x, step_info(safe_norm(difference), rank, share, x)

    init = lambda noise: settings.steps.sigma[0] * noise
    return Solver(init=init, step=step, steps=settings.steps, image=lambda x: x)


def settings_for(
    task: str, clock: Clock, *, steps: int = 100, eta: float = 0.2, noisy: bool = True
) -> PiGDMSettings:
    """InverseBench's settings, the same for every task.

    Args:
      task: any.
      clock: the prior's; levels that it was not trained at are left out of the grid.
      steps: noise levels
      eta: share of fresh noise in a step, 0 to 1
      noisy: whether the measurement has noise (default: yes; without, not for blurs)

    Raises:
      ValueError: a number that is not allowed.
    """
    del task
    sigma_max, sigma_min = clock.within(100.0, 0.01)
    return PiGDMSettings(steps=pigdm_steps(steps, sigma_max, sigma_min), eta=eta, noisy=noisy)

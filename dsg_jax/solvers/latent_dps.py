"""Latent DPS on a latent prior, with or without DiffStateGrad.

    for every DDIM step:
        z0_hat = E[z_0 | z_t]
        z'     = DDIM step from z_t
        G      = grad_{z_t} ||y - A(D(z0_hat))||        through network, decoder and operator
        z_t-1  = z' - zeta P(G)                         P from the SVD of z_t
    x = D(z_0)

The papers call this Latent-DPS and never released it. It is defined here as the loop of PSLD's code
without the gluing term and without noise on the prediction; ReSample's first stage, the other
candidate, has no Jacobian of the network. Any operator will do, linear or not.
"""

from dataclasses import dataclass

import jax
from jax import Array

from dsg_jax.checks import NOT_NEGATIVE, check_fields
from dsg_jax.clock import Clock
from dsg_jax.diffusion import predict
from dsg_jax.plug_ins import Guidance
from dsg_jax.solvers.ddim import DDIMSteps, ddim_step, ddim_steps, first_level
from dsg_jax.solvers.guidance import (
    first_stage_of,
    misfit,
    prior_for,
    project_step,
    published,
    step_info,
)
from dsg_jax.types import Draw, Info, Prior, Problem, Solver


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class LatentDPSSettings:
    """What Latent DPS is told; `settings_for` has our values.

    Attributes:
      steps: `ddim_steps(...)` of the prior's betas; 1000 with eta = 0, as PSLD.
      zeta: size of a guidance step, >= 0; nothing else scales the gradient of the un-squared norm.
    """

    steps: DDIMSteps
    zeta: Array | float = 0.1

    def __post_init__(self) -> None:
        check_fields(self, zeta=NOT_NEGATIVE)


def latent_dps(
    prior: Prior, problem: Problem, projection: Guidance, settings: LatentDPSSettings
) -> Solver:
    """Latent DPS as a `Solver`; the state is z_t (h/f, w/f, c_z).

    Args:
      prior: a latent prior.
      problem: measurement to explain; its ``sigma`` is not used.
      projection: None for plain Latent-DPS.
      settings: constants of the steps, and how far one guides.

    Raises:
      ValueError: a pixel prior, or steps that start above the prior's noise levels.
    """
    stage = first_stage_of(prior, "latent-dps")
    prior = prior_for(problem, prior, first_level(settings.steps))

    def guided(z: Array, noise: Array, at: DDIMSteps):
        eps, _ = predict(prior, z, at.time)
        z_next, z0_hat = ddim_step(z, eps, noise, at)
        return misfit(problem, stage.decode(z0_hat)), z_next

    def step(draw: Draw, z: Array, at: DDIMSteps) -> tuple[Array, Info]:
        number = settings.steps.index[0] - at.index
        noise = draw(number, z.shape)
        (norm, z_next), gradient = jax.value_and_grad(guided, has_aux=True)(z, noise, at)
        gradient, rank, share = project_step(projection, draw, number, z, gradient)
        z = z_next - settings.zeta * gradient
        return z, step_info(norm, rank, share, z)

    init = lambda noise: noise
    return Solver(init=init, step=step, steps=settings.steps, image=stage.decode)


# Ours throughout, for no code and no number of Latent-DPS was published. Linear tasks have PSLD's
# omega, because the method is PSLD's loop without gluing; the others keep the ratios of
# `DPS_SCALE`, which gives phase retrieval three times the blurs' step.
LATENT_DPS_ZETA = {"default": 0.1, "super_resolution": 0.9, "phase_retrieval": 0.3}


def settings_for(
    task: str,
    clock: Clock,
    *,
    steps: int = 1000,
    eta: float = 0.0,
    zeta: float | None = None,
    step_factor: float = 1.0,
) -> LatentDPSSettings:
    """Our settings for a task.

    Args:
      task: a key of `LATENT_DPS_ZETA`; others have its default.
      clock: the prior's; its VP times are the schedule.
      steps: reverse steps, evenly spaced over the schedule's times
      eta: 0 is DDIM, 1 ancestral sampling
      zeta: size of a guidance step (default: the task's)
      step_factor: multiply the guidance step by this

    Raises:
      ValueError: steps that the schedule does not allow, see `ddim_steps`.
    """
    zeta = published(LATENT_DPS_ZETA, task) if zeta is None else zeta
    return LatentDPSSettings(steps=ddim_steps(clock.betas, steps, eta=eta), zeta=step_factor * zeta)

"""FlowChef (Patel et al. 2024) on a latent prior, with or without DiffStateGrad.

    z = noise
    for s from 1 down, s' the next:
        z0, z1 = both ends of the flow through z             one call of the network
        G      = grad_{z0} ||B(y - A(D(z0)))||
        z      = (1 - s') z0 + s' z1 - step_size P(G)        P from the SVD of z0
    x = D(z)

The network's Jacobian is never taken, and nothing is drawn after the start. This is the version in
the FlowDPS authors' code; the method's own repository has learning rates for each task. The
projected method was not released.
"""

from dataclasses import dataclass

import jax
from jax import Array

from dsg_jax.checks import NOT_NEGATIVE, check_fields
from dsg_jax.clock import Clock
from dsg_jax.plug_ins import Guidance
from dsg_jax.solvers.flow import FlowSteps, ends, flow_steps, pull
from dsg_jax.solvers.guidance import first_stage_of, prior_for, project_step, step_info
from dsg_jax.types import Draw, Info, Prior, Problem, Solver


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class FlowChefSettings:
    """What FlowChef is told; `settings_for` has the published values.

    Attributes:
      steps: `flow_steps(...)`.
      step_size: of the gradient of an un-squared norm, >= 0. The published one is for the latents
        of Stable Diffusion 3; on the bundled prior 1 restores 5 dB better.
    """

    steps: FlowSteps
    step_size: Array | float = 15.0

    def __post_init__(self) -> None:
        check_fields(self, step_size=NOT_NEGATIVE)


def flowchef(
    prior: Prior, problem: Problem, projection: Guidance, settings: FlowChefSettings
) -> Solver:
    """FlowChef as a `Solver`; the state is the latent z of a share of noise (h/f, w/f, c_z).

    Args:
      prior: a latent prior of any clock.
      problem: measurement to explain; its ``sigma`` is not used.
      projection: None for plain FlowChef.
      settings: steps, and how far one guides.

    Raises:
      ValueError: a pixel prior.
    """
    stage = first_stage_of(prior, "flowchef")
    prior = prior_for(problem, prior, 0.0)
    gradient_at = pull(problem, stage.decode)

    def step(draw: Draw, z: Array, at: FlowSteps) -> tuple[Array, Info]:
        z0, z1 = ends(prior, z, at.s)
        gradient, norm = gradient_at(z0)
        gradient, rank, share = project_step(projection, draw, at.index, z0, gradient)
        z = z0 + at.s_next * (z1 - z0) - settings.step_size * gradient
        return z, step_info(norm, rank, share, z)

    return Solver(init=lambda noise: noise, step=step, steps=settings.steps, image=stage.decode)


def settings_for(
    task: str, clock: Clock, *, steps: int = 28, shift: float = 4.0, step_size: float = 15.0
) -> FlowChefSettings:
    """The released settings, which are the same for every task.

    Args:
      task: not looked at.
      clock: not looked at: the grid is that of shares of noise.
      steps: from noise to latent
      shift: of the grid: the larger, the more steps are at high noise
      step_size: of a gradient step; the published one is for the latents of Stable Diffusion 3

    Raises:
      ValueError: a number that `FlowChefSettings` or `flow_steps` refuses.
    """
    del task, clock
    return FlowChefSettings(steps=flow_steps(steps, shift), step_size=step_size)

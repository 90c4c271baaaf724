"""FlowDPS (Kim et al. 2025) on a latent prior, with or without DiffStateGrad.

    z = noise
    for s from 1 down, s' the next:
        z0, z1 = both ends of the flow through z             one call of the network
        w0     = z0
        3 times: w0 = w0 - step_size P(grad ||B(y - A(D(w0)))||)         P from the SVD of z0
        zy     = (1 - s) z0 + s w0
        n      = sqrt(s') z1 + sqrt(1 - s') noise
        z      = (1 - s') zy + s' n
    x = D(z)

The network's Jacobian is never taken. The measurement is weighted by s and counts most at the
start. The projected method was not released.
"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jax import Array

from dsg_jax.checks import NOT_NEGATIVE, UPDATES, check_fields
from dsg_jax.clock import Clock
from dsg_jax.plug_ins import Guidance, begin, follow, last_projected
from dsg_jax.solvers.flow import FlowSteps, ends, flow_steps, pull
from dsg_jax.solvers.guidance import first_stage_of, gradient_share, prior_for, step_info
from dsg_jax.types import Draw, Info, Prior, Problem, Solver


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class FlowDPSSettings:
    """What FlowDPS is told; `settings_for` has the published values.

    Attributes:
      steps: `flow_steps(...)`.
      step_size: of the gradient of an un-squared norm, >= 0. The published one is for the latents
        of Stable Diffusion 3; on the bundled prior 3 restores 1 dB better, and steps below 1 miss
        the measurement.
      inner_steps: gradient steps on every clean estimate, >= 1.
    """

    steps: FlowSteps
    step_size: Array | float = 15.0
    inner_steps: int = field(default=3, metadata={"static": True})

    def __post_init__(self) -> None:
        check_fields(self, step_size=NOT_NEGATIVE, inner_steps=UPDATES)


def flowdps(
    prior: Prior, problem: Problem, projection: Guidance, settings: FlowDPSSettings
) -> Solver:
    """FlowDPS as a `Solver`; the state is the latent z of a share of noise (h/f, w/f, c_z).

    ``misfit`` in `Info` is that of the last gradient, so that no decoder call is for it alone.

    Args:
      prior: a latent prior of any clock.
      problem: measurement to explain; its ``sigma`` is not used.
      projection: None for plain FlowDPS; its period counts gradient steps.
      settings: steps, and how far one guides.

    Raises:
      ValueError: a pixel prior.
    """
    stage = first_stage_of(prior, "flowdps")
    prior = prior_for(problem, prior, 0.0)
    gradient, inner_steps = pull(problem, stage.decode), settings.inner_steps

    def step(draw: Draw, z: Array, at: FlowSteps) -> tuple[Array, Info]:
        z0, z1 = ends(prior, z, at.s)

        def towards_y(carry, i: Array):
            w0, memory = carry
            g, norm = gradient(w0)
            projected, memory, rank = follow(projection, memory, i, g)
            account = rank, gradient_share(projected, g), norm
            return (w0 - settings.step_size * projected, memory), account

        start = z0, begin(projection, draw, at.index, z0)
        (w0, _), (rank, share, norm) = jax.lax.scan(towards_y, start, jnp.arange(inner_steps))
        zy = (1 - at.s) * z0 + at.s * w0
        noise = draw(at.index, z.shape)
        noise = jnp.sqrt(at.s_next) * z1 + jnp.sqrt(1 - at.s_next) * noise
        z = zy + at.s_next * (noise - zy)
        share = share[last_projected(projection, inner_steps)]
        return z, step_info(norm[-1], rank[-1], share, z, inner_steps)

    return Solver(init=lambda noise: noise, step=step, steps=settings.steps, image=stage.decode)


def settings_for(
    task: str,
    clock: Clock,
    *,
    steps: int = 28,
    shift: float = 4.0,
    step_size: float = 15.0,
    inner_steps: int = 3,
) -> FlowDPSSettings:
    """The released settings, which are the same for every task.

    Args:
      task: not looked at.
      clock: not looked at: the grid is that of shares of noise.
      steps: from noise to latent
      shift: of the grid: the larger, the more steps are at high noise
      step_size: of a gradient step; the published one is for the latents of Stable Diffusion 3
      inner_steps: gradient steps on every clean estimate

    Raises:
      ValueError: a number that `FlowDPSSettings` or `flow_steps` refuses.
    """
    del task, clock
    grid = flow_steps(steps, shift)
    return FlowDPSSettings(steps=grid, step_size=step_size, inner_steps=inner_steps)

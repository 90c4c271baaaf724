"""FAST-DIPS (ICLR 2026) on a latent prior, with or without DiffStateGrad.

    for each annealing level sigma:
        z0_hat = E[z0 | z]                        one call of the network, no ODE
        sigma > sigma_switch:                     correct the image
            x   = clip(ADMM from D(z0_hat) towards y)
            z_y = E(x)
        else:                                     correct the latent
            z_y = ADMM from z0_hat towards y, through A(D(.))
        z = z_y + sigma_next * noise
    x = clip(D(z))

P comes from one SVD of what is corrected, D(z0_hat) or z0_hat, per level and acts before the line
search (`admm`). The projected method was not released. Unlike in pixels, what the last level
corrects is returned. The gradient passes straight through a codebook, and so does the Jacobian of
the line search.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from dsg_jax.checks import NOT_NEGATIVE, check_fields
from dsg_jax.clock import Clock
from dsg_jax.diffusion import denoise
from dsg_jax.plug_ins import Guidance, begin
from dsg_jax.solvers.admm import ADMM, admm
from dsg_jax.solvers.fast_dips import FastDIPSSteps, fast_dips_steps
from dsg_jax.solvers.guidance import first_stage_of, misfit, prior_for, published, step_info
from dsg_jax.solvers.latent_daps import timed
from dsg_jax.types import Draw, Info, Prior, Problem, Solver


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class LatentFastDIPSSettings:
    """What Latent FAST-DIPS is told; `settings_for` has the published values.

    Attributes:
      steps: `fast_dips_steps(...)`.
      sigma_switch: levels above it correct images, the others latents; >= 0.
      pixel: how an image is corrected.
      latent: how a latent is corrected.
      time_map: network time of a noise level, as for `LatentDAPSSettings`. "table" is the prior's
        own clock, "adm" the reference's.
    """

    steps: FastDIPSSteps
    sigma_switch: Array | float = 1.0
    pixel: ADMM = ADMM(passes=5, corrections=3)
    latent: ADMM = ADMM(passes=5, corrections=3)
    time_map: Literal["table", "adm", "sd"] = field(default="table", metadata={"static": True})

    def __post_init__(self) -> None:
        check_fields(self, sigma_switch=NOT_NEGATIVE)


def latent_fast_dips(
    prior: Prior, problem: Problem, projection: Guidance, settings: LatentFastDIPSSettings
) -> Solver:
    """Latent FAST-DIPS as a `Solver`; the state is the noisy latent of a level (h/f, w/f, c_z).

    Where an image is corrected, the ranks in `Info` are those of its channels, repeated or cut to
    as many as the latent has. A KL encoder samples.

    Args:
      prior: a latent prior.
      problem: measurement to explain; its ``sigma`` is not used.
      projection: None for plain Latent FAST-DIPS; its period counts steps downhill.
      settings: levels, and how each of them corrects.

    Raises:
      ValueError: a pixel prior, steps that start above the prior's noise levels, or a ``time_map``
        that its network does not take.
    """
    stage = first_stage_of(prior, "latent-fast-dips")
    prior = prior_for(problem, prior, settings.steps.sigma[0])
    prior = prior._replace(clock=timed(prior.clock, settings.time_map))
    operator, levels = problem.operator, len(settings.steps.sigma)

    def step(draw: Draw, z: Array, at: FastDIPSSteps) -> tuple[Array, Info]:
        z0 = denoise(prior, z, at.sigma)

        def correct(forward, start: Array, loop: ADMM):
            memory = begin(projection, draw, at.level, start)
            result = admm(forward, problem.y, start, at.sigma, loop, projection, memory)
            rank = jnp.resize(result.rank, z.shape[-1:])
            return result.x, (rank, result.share, result.step.size)

        def correct_image():
            x, account = correct(operator.forward, stage.decode(z0), settings.pixel)
            noise = draw(levels + at.level, z.shape)  # behind those that the reference numbers
            return stage.encode(jnp.clip(x, -1, 1), noise), account

        def correct_latent():
            through = lambda z: operator.forward(stage.decode(z))
            return correct(through, z0, settings.latent)

        is_high = at.sigma > settings.sigma_switch
        z_y, account = jax.lax.cond(is_high, correct_image, correct_latent)
        z = z_y + at.sigma_next * draw(at.level, z.shape)
        rank, share, updates = account
        return z, step_info(misfit(problem, stage.decode(z_y)), rank, share, z, updates)

    init = lambda noise: settings.steps.sigma[0] * noise
    image = lambda z: jnp.clip(stage.decode(z), -1, 1)
    return Solver(init=init, step=step, steps=settings.steps, image=image)


class Published(NamedTuple):
    """A task's levels T, passes K of both loops, and the level at which they change."""

    levels: int
    passes: int
    sigma_switch: float


# The released commands, for linear tasks and for the others; S = 3 and rho = 200 throughout.
_LINEAR, _NONLINEAR = Published(50, 5, 1.0), Published(25, 10, 5.0)
LATENT_FAST_DIPS = {
    "default": _LINEAR,  # ours: of what FAST-DIPS has no command for
    "phase_retrieval": _NONLINEAR,
    "nonlinear_deblur": _NONLINEAR,
    "hdr": _NONLINEAR,
}


def settings_for(
    task: str,
    clock: Clock,
    *,
    levels: int | None = None,
    passes: int | None = None,
    corrections: int = 3,
    rho: float = 200.0,
    epsilon: float = 0.05,
    sigma_switch: float | None = None,
    time_map: Literal["table", "adm", "sd"] = "table",
) -> LatentFastDIPSSettings:
    """The released settings for a task; shorter runs keep the grid's end points.

    Args:
      task: a key of `LATENT_FAST_DIPS`; others have its default.
      clock: the prior's; the levels start no higher than its own.
      levels: annealing levels (default: the task's)
      passes: of ADMM per level, the first of which corrects nothing (default: the task's)
      corrections: steps downhill in each pass
      rho: weight of the measurement against the estimate
      epsilon: norm of y - A(x) that is left as it is
      sigma_switch: levels above it correct images, the others latents (default: the task's)
      time_map: network time of a noise level: the prior's own clock, or the reference's forms

    Raises:
      ValueError: a number that `ADMM` or `fast_dips_steps` refuses.
    """
    row = published(LATENT_FAST_DIPS, task)
    passes = row.passes if passes is None else passes
    loop = ADMM(rho=rho, epsilon=epsilon, passes=passes, corrections=corrections)
    return LatentFastDIPSSettings(
        steps=fast_dips_steps(row.levels if levels is None else levels, *clock.within(10.0, 0.1)),
        sigma_switch=row.sigma_switch if sigma_switch is None else sigma_switch,
        pixel=loop,
        latent=loop,
        time_map=time_map,
    )

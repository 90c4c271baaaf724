"""LatentDAPS (Zhang et al. 2024) on a latent prior, with or without DiffStateGrad.

    for each annealing level sigma:
        z0_hat = probability-flow ODE from z at sigma                 a few Euler steps
        L(z)   = sum of (y - A(D(z)))^2
        g(z)   = clip(grad L, -1, 1) / tau_y^2 + (z - z0_hat) / sigma^2
        z_y    = HMC (or Langevin) started at z0_hat along P(g)       P from the SVD of z0_hat
        z      = z_y + sigma_next * noise
    x = D(z)

The likelihood's gradient is clipped entry by entry before tau_y enters; the step size therefore
sets how far a latent can move. The network's own Jacobian is never taken. Only the 2025 rewrite of
DAPS ("main") has this method, so there is one variant. Its projected form was not released.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

from dsg_jax.checks import POSITIVE, UNIT, UPDATES, check_choice, check_fields
from dsg_jax.clock import Clock
from dsg_jax.plug_ins import Guidance
from dsg_jax.solvers.daps import DAPSSteps, daps_steps, ode
from dsg_jax.solvers.guidance import (
    first_stage_of,
    misfit,
    prior_for,
    published,
    residual,
    step_info,
)
from dsg_jax.solvers.inner import TAU_Y, Inner, Level, guided_chain
from dsg_jax.times import adm_time, scaled_linear_time
from dsg_jax.types import Draw, FirstStage, Info, Prior, Problem, Solver

# Name -> times of a clock, in place of the prior's.
TIME_MAPS = {"adm": adm_time, "sd": scaled_linear_time}
# Where the published levels start.
FIRST_SIGMA = 10.0


def latent_daps_steps(
    *,
    levels: int = 50,
    ode_steps: int = 2,
    lr: float = 1e-5,
    lr_min_ratio: float = 1.0,
    tau_y: float = TAU_Y,
    sigma_max: float = FIRST_SIGMA,
    ode_sigma_min: float = 0.001,
) -> DAPSSteps:
    """The reference's latent schedule: sigma from 10 to 0.1, ODEs that end at 0.001.

    No table of a latent network reaches 0.001; below its first level it takes its time 0.
    """
    return daps_steps(
        variant="main",
        levels=levels,
        ode_steps=ode_steps,
        sigma_max=sigma_max,
        sigma_min=0.1,
        ode_sigma_min=ode_sigma_min,
        lr=lr,
        lr_min_ratio=lr_min_ratio,
        tau_y=tau_y,
    )


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class LatentDAPSSettings:
    """What LatentDAPS is told; `settings_for` has the published values.

    Attributes:
      steps: `latent_daps_steps(...)`.
      tau_y: standard deviation of the likelihood, > 0: a constant of the method, whatever the
        noise.
      momentum: HMC's momentum m, in [0, 1]; Langevin has none.
      inner: inner sampler; "hmc" is the reference's for latents.
      inner_steps: inner updates per level, >= 1.
      time_map: network time of a noise level. "table" is the prior's own clock. For parity with
        networks of VP states: "adm" is ADM's closed form, which the reference also feeds to the
        FFHQ and ImageNet latent models (sigma = 0.1 becomes 27 where their table says 6); "sd" its
        form for Stable Diffusion, `scaled_linear_time`.
    """

    steps: DAPSSteps
    tau_y: Array | float = TAU_Y
    momentum: Array | float = 0.9
    inner: Literal["hmc", "langevin"] = field(default="hmc", metadata={"static": True})
    inner_steps: int = field(default=40, metadata={"static": True})
    time_map: Literal["table", "adm", "sd"] = field(default="table", metadata={"static": True})

    def __post_init__(self) -> None:
        check_fields(self, tau_y=POSITIVE, momentum=UNIT, inner_steps=UPDATES)


def latent_daps(
    prior: Prior, problem: Problem, projection: Guidance, settings: LatentDAPSSettings
) -> Solver:
    """LatentDAPS as a `Solver`; the state is the noisy latent of a level (h/f, w/f, c_z).

    Args:
      prior: a latent prior.
      problem: measurement to explain; its ``sigma`` is not used, the likelihood has ``tau_y``.
      projection: None for plain LatentDAPS.
      settings: levels, and how each of them samples.

    Raises:
      ValueError: a pixel prior, steps that start above the prior's noise levels, or a
        ``time_map`` that its network does not take.
    """
    stage = first_stage_of(prior, "latent-daps")
    prior = prior_for(problem, prior, settings.steps.sigma[0])
    inner, inner_steps = settings.inner, settings.inner_steps
    draws = inner_steps + (2 if inner == "hmc" else 1)
    prior = prior._replace(clock=timed(prior.clock, settings.time_map))

    def step(draw: Draw, z: Array, at: DAPSSteps) -> tuple[Array, Info]:
        level = Level(z, ode(prior, z, at), at.sigma, at.lr, at.level * draws)
        z_y, rank, share = guided_chain(
            lambda z: latent_gradient(stage, problem, level, settings.tau_y, z),
            projection,
            level,
            draw,
            inner_steps,
            settings.momentum if inner == "hmc" else None,
        )
        z = z_y + at.sigma_next * draw(level.first_draw + draws - 1, z.shape)
        return z, step_info(misfit(problem, stage.decode(z_y)), rank, share, z)

    init = lambda noise: settings.steps.sigma[0] * noise
    return Solver(init=init, step=step, steps=settings.steps, image=stage.decode)


def timed(clock: Clock, time_map: str) -> Clock:
    """The clock with the times of a ``time_map``; ValueError where its network takes none such."""
    if time_map == "table":
        return clock
    if clock.scaling != "vp":
        raise ValueError(f"time_map={time_map!r} is for networks of VP states: use table")
    return replace(clock, times=TIME_MAPS[time_map])


def latent_gradient(
    stage: FirstStage, problem: Problem, level: Level, tau_y: Array | float, z: Array
) -> Array:
    """g(z), what the inner sampler descends: the clipped likelihood and the Gaussian prior."""

    def likelihood(z: Array) -> Array:
        difference = residual(problem, stage.decode(z))
        return jnp.sum(difference * difference)

    clipped = jnp.clip(jax.grad(likelihood)(z), -1, 1)
    return clipped / tau_y**2 + (z - level.x0_hat) / level.sigma**2


# Group ldm, HMC: the FFHQ and ImageNet latent models at 256 x 256 (`config/task/*.yaml`).
LATENT_DAPS_LDM = {
    "default": Inner(24, 1.35e-4, 0.023, 0.86),  # ours: that of super-resolution
    "super_resolution": Inner(24, 1.35e-4, 0.023, 0.86),
    "gaussian_deblur": Inner(35, 2.70e-6, 0.95, 0.95),
    "motion_deblur": Inner(49, 2.4e-5, 0.041, 0.45),
    "box_inpainting": Inner(15, 9.02e-6, 0.13, 0.74),
    "random_inpainting": Inner(38, 8.40e-6, 0.013, 0.92),
    "phase_retrieval": Inner(65, 2.1e-5, 0.12, 0.41),
    "nonlinear_deblur": Inner(80, 3.71e-6, 0.024, 0.91),
    "hdr": Inner(38, 4.52e-6, 0.015, 0.58),
}

# Group sd, HMC: Stable Diffusion v1.5.
LATENT_DAPS_SD = {
    "default": Inner(30, 1e-4, 1.0, 0.45),  # ours: that of super-resolution
    "super_resolution": Inner(30, 1e-4, 1.0, 0.45),
    "gaussian_deblur": Inner(40, 1e-5, 1.0, 0.9),
    "motion_deblur": Inner(30, 2e-5, 1.0, 0.85),
    "box_inpainting": Inner(58, 1.11e-6, 0.43, 0.92),
    "random_inpainting": Inner(15, 3e-5, 1.0, 0.60),
    "phase_retrieval": Inner(95, 1.10e-4, 0.027, 0.47),
    "nonlinear_deblur": Inner(60, 1e-5, 1.0, 0.80),
    "hdr": Inner(45, 1e-5, 1.0, 0.7),
}
LATENT_DAPS_GROUPS = {"ldm": LATENT_DAPS_LDM, "sd": LATENT_DAPS_SD}


def settings_for(
    task: str,
    clock: Clock,
    *,
    levels: int = 50,
    ode_steps: int = 2,
    inner: Literal["langevin", "hmc"] = "hmc",
    inner_steps: int | None = None,
    tau_y: float = TAU_Y,
    time_map: Literal["table", "adm", "sd"] = "table",
    group: Literal["ldm", "sd"] = "ldm",
) -> LatentDAPSSettings:
    """The reference's settings for a task; shorter runs keep the grids' end points.

    Args:
      task: a key of the group's table; others have its default.
      clock: the prior's; the levels start no higher than its own.
      levels: annealing levels
      ode_steps: Euler steps per level
      inner: inner sampler; the reference tunes hmc only
      inner_steps: inner updates per level (default: the task's)
      tau_y: standard deviation in the likelihood; the inner step grows with it
      time_map: network time of a noise level: the prior's own clock, or the reference's forms
      group: whose settings, the latent models' or Stable Diffusion's

    Raises:
      ValueError: a choice or a number that is not allowed.
    """
    check_choice("group", group, LATENT_DAPS_GROUPS)
    row = published(LATENT_DAPS_GROUPS[group], task)
    sigma_max, ode_sigma_min = clock.within(FIRST_SIGMA, 0.001)
    steps = latent_daps_steps(
        levels=levels,
        ode_steps=ode_steps,
        lr=row.lr,
        lr_min_ratio=row.lr_min_ratio,
        tau_y=tau_y,
        sigma_max=sigma_max,
        ode_sigma_min=0.001 if clock.scaling == "vp" else ode_sigma_min,
    )
    return LatentDAPSSettings(
        steps=steps,
        tau_y=tau_y,
        momentum=row.momentum,
        inner=inner,
        inner_steps=row.steps if inner_steps is None else inner_steps,
        time_map=time_map,
    )

"""ReSample (Song et al., ICLR 2024) on a latent prior, with or without DiffStateGrad.

    for i = N-1 .. 0, a = alpha_bar at tau_i, p = alpha_bar one time lower:
        eps   = network(z, tau_i)
        z_hat = (z - (1 - a) eps) / sqrt(a)
        z     = DDIM step of z, minus a / 2 grad_z ||y - A(D(z_hat))||     eps held constant
        where an optimisation follows (`resample_steps`):
            z_travelled, z_hat = five more DDIM steps from z
            z_y = E(argmin mean((y - A(.))^2) from D(z_hat))              pixel stage, or
            z_y = argmin mean((y - A(D(.)))^2) from z_hat                 latent stage
            z   ~ N(sqrt(p) z_y, 1 - p) N(z, s)                           resampling
    image = D(argmin mean((y - A(D(.)))^2) from z)

The minimisers are hundreds of AdamW updates (`fit.fit`). DiffStateGrad projects their
gradients by the SVD of z_travelled, taken once per optimisation.

The printed algorithms have no correction with the norm; 1 - a is the square of Tweedie's factor;
and the time travel pairs network times with constants of one index higher. All three are the
released code's, and options here.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

from dsg_jax.checks import UPDATES, check_choice, check_number
from dsg_jax.clock import Clock
from dsg_jax.diffusion import predict
from dsg_jax.plug_ins import Guidance
from dsg_jax.projection import full_rank
from dsg_jax.solvers.ddim import ddim_step, first_level
from dsg_jax.solvers.guidance import first_stage_of, misfit, prior_for, step_info
from dsg_jax.solvers.resample.fit import loss_ratio
from dsg_jax.solvers.resample.stages import (
    LATENT,
    PIXEL,
    Inputs,
    ReSampleSettings,
    estimate,
    final_fit,
    hard_consistency,
    time_travel,
)
from dsg_jax.solvers.resample.steps import NONE, ReSampleSteps, resample_steps
from dsg_jax.types import Draw, Ending, Info, Prior, Problem, Solver


def resample(
    prior: Prior, problem: Problem, projection: Guidance, settings: ReSampleSettings
) -> Solver:
    """ReSample as a `Solver`; the state is the latent z (h/f, w/f, c_z).

    `Info` tells of the optimisation that followed the step; without one, 0 ``inner_steps`` and the
    full rank. Of the last step it tells of the final optimisation. In the pixel stage the ranks are
    those of the image's channels, repeated or cut to as many as the latent has. ``misfit`` is
    ||y - A(D(z_hat))|| of the DDIM step.

    Args:
      prior: latent prior. A KL encoder gives its mean; the reference knows codebooks only.
      problem: measurement to explain; its ``sigma`` is not used.
      projection: None for plain ReSample; its period counts the updates of one optimisation. With
        the source "random" every final optimisation takes the same matrix, for it has no draws.
      settings: constants of the steps, the optimisations, and where code and papers part.

    Raises:
      ValueError: a pixel prior, or steps that start above the prior's noise levels.
    """
    first_stage = first_stage_of(prior, "resample")
    prior = prior_for(problem, prior, first_level(settings.steps.ddim))
    inputs = Inputs(prior, problem, projection, settings)

    def step(draw: Draw, z: Array, at: ReSampleSteps) -> tuple[Array, Info]:
        z, norm = guided_ddim(inputs, draw, z, at)
        travel, stay = lambda: time_travel(inputs, draw, z, at), lambda: (z, z)
        travelled = jax.lax.cond(at.stage == NONE, stay, travel)

        def consistent(in_pixels: bool):
            z_next, result = hard_consistency(inputs, draw, z, travelled, at, in_pixels=in_pixels)
            rank = jnp.resize(result.rank, z.shape[-1:])
            return z_next, result.iterations, rank, result.share, loss_ratio(result)

        leave = lambda: (z, jnp.int32(0), full_rank(z.shape), jnp.float32(1), jnp.float32(1))
        stages = (leave, lambda: consistent(True), lambda: consistent(False))
        z, updates, rank, share, ratio = jax.lax.switch(at.stage, stages)
        return z, step_info(norm, rank, share, z, updates, ratio)

    def ending(z: Array) -> Ending:
        result = final_fit(inputs, z)
        return Ending(first_stage.decode(result.w), result.iterations, loss_ratio(result))

    image = lambda z: ending(z).image
    return Solver(lambda noise: noise, step, settings.steps, image, ending)


def guided_ddim(inputs: Inputs, draw: Draw, z: Array, at: ReSampleSteps) -> tuple[Array, Array]:
    """One DDIM step with the correction: (next z, ||y - A(D(z_hat))||)."""
    prior, problem, _, settings = inputs
    decode = first_stage_of(prior, "resample").decode

    def distance(z: Array, eps: Array | None) -> tuple[Array, Array]:
        eps = predict(prior, z, at.ddim.time)[0] if eps is None else eps
        return misfit(problem, decode(estimate(settings, z, eps, at.ddim.a))), eps

    through_network = settings.dps_step == "full_jacobian"
    eps = None if through_network else predict(prior, z, at.ddim.time)[0]
    (norm, eps), gradient = jax.value_and_grad(distance, has_aux=True)(z, eps)
    moved, _ = ddim_step(z, eps, draw(at.first_draw, z.shape), at.ddim)
    return moved if settings.dps_step == "none" else moved - at.ddim.a / 2 * gradient, norm


_RELEASED = {
    "rule": "official",
    "period": 1,
    "state": "post_travel",
    "project_pixel": True,
    "project_final": True,
    "dps_step": "no_jacobian",
    "tweedie": "code",
    "index_fix": False,
}
# Where the released code ("official") and the papers part; `ReSampleSettings` explains each.
# "paper" is the code run as DiffStateGrad's appendices C.1 and C.4 say. "plorg" is the rank rule
# and algorithm 5 of the workshop paper, which leaves its frequency F open: the other paper's 5.
PRESETS: dict[str, dict[str, Any]] = {
    "official": _RELEASED,
    "paper": _RELEASED | {"period": 5, "project_pixel": False},
    "plorg": _RELEASED
    | {"rule": "per_channel", "period": 5, "project_pixel": False, "state": "pre_travel"},
}
_OF_THE_PROJECTION = ("rule", "period")


def projection_defaults(*, preset: str = "paper", **_: Any) -> dict[str, Any]:
    """The rank rule and the period of a preset of `PRESETS`; other options do not matter.

    Raises:
      ValueError: an unknown preset.
    """
    check_choice("preset", preset, PRESETS)
    return {name: PRESETS[preset][name] for name in _OF_THE_PROJECTION}


def settings_for(
    task: str,
    clock: Clock,
    *,
    steps: int = 500,
    every: int = 10,
    preset: Literal["official", "paper", "plorg"] = "paper",
    project: Literal["gradient", "update"] = "gradient",
    step_factor: float = 1.0,
    pixel_limit: int = 2000,
    latent_limit: int = 500,
) -> ReSampleSettings:
    """The reference's settings: the arguments of its `sample_condition.py`, and of DiffStateGrad's.

    They are the same for all tasks: the guidance scales in its task files are read and then
    ignored, and gamma, step sizes and limits are fixed.

    Args:
      task: not used.
      clock: the prior's; its VP times are the schedule.
      steps: DDIM steps, evenly spaced over the schedule's times
      every: an optimisation follows every so many of them
      preset: released code, paper or PLoRG, see `PRESETS`
      project: what is projected, gradients or AdamW's updates
      step_factor: multiply the learning rates of both optimisations by this
      pixel_limit: most updates of an image
      latent_limit: most updates of a latent

    Raises:
      ValueError: ``steps`` or ``every`` that `resample_steps` refuses, steps too few for any
        optimisation, or an unknown choice.
    """
    del task
    check_choice("preset", preset, PRESETS)
    check_choice("project", project, ("gradient", "update"))
    check_number("pixel_limit", pixel_limit, UPDATES)
    check_number("latent_limit", latent_limit, UPDATES)
    constants = resample_steps(clock.betas, steps, every=every)
    if not constants.stage.any():
        raise ValueError(
            f"{steps} steps leave none to optimise at every {every}: give more steps, or a smaller "
            "distance between the optimisations"
        )
    choices = {n: v for n, v in PRESETS[preset].items() if n not in _OF_THE_PROJECTION}
    return ReSampleSettings(
        steps=constants,
        pixel=PIXEL._replace(lr=step_factor * PIXEL.lr, limit=pixel_limit),
        latent=LATENT._replace(lr=step_factor * LATENT.lr, limit=latent_limit),
        project_update=project == "update",
        **choices,
    )

"""What ReSample does at its chosen steps: time travel, optimisation, stochastic resampling."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from dsg_jax.checks import check_fields
from dsg_jax.diffusion import predict
from dsg_jax.draws import normal_draws
from dsg_jax.plug_ins import Guidance, begin, unprojected
from dsg_jax.solvers.ddim import ddim_step
from dsg_jax.solvers.guidance import first_stage_of
from dsg_jax.solvers.resample.fit import Descent, Fit, fit
from dsg_jax.solvers.resample.steps import TRAVEL, ReSampleSteps
from dsg_jax.types import Draw, Prior, Problem

# The reference's optimisation of an image, for every task.
PIXEL = Descent(lr=1e-2, limit=2000, window=False)
# The reference's optimisation of a latent, for every task.
LATENT = Descent(lr=5e-3, limit=500, window=True)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class ReSampleSettings:
    """What ReSample is told; `resample.settings_for` has the published values.

    Attributes:
      steps: `resample_steps(...)` of the prior's betas.
      pixel: step size and stopping rules of the pixel stage.
      latent: the same of the latent stage and of the final optimisation.
      frozen: (N + 1,) updates after each outer step and at the end, in place of limits and rules.
      state: what is decomposed: "post_travel" is z_travelled (the released code), "pre_travel" the
        z before the time travel (both papers). In the pixel stage, its decoded image.
      dps_step: gradient of the norm: "full_jacobian" goes through the network, "none" leaves it
        out.
      tweedie: factor of eps in z_hat: "code" is 1 - a, "exact" its square root.
      project_pixel: project in the pixel stage too (the released code does, the papers do not).
      project_final: project in the final optimisation, by the SVD of its own start.
      project_update: project AdamW's updates in place of gradients, see `fit.fit`.
      index_fix: give the time travel the constants of its own times.
    """

    steps: ReSampleSteps
    pixel: Descent = PIXEL
    latent: Descent = LATENT
    frozen: Array | None = None
    state: Literal["post_travel", "pre_travel"] = field(
        default="post_travel", metadata={"static": True}
    )
    dps_step: Literal["no_jacobian", "full_jacobian", "none"] = field(
        default="no_jacobian", metadata={"static": True}
    )
    tweedie: Literal["code", "exact"] = field(default="code", metadata={"static": True})
    project_pixel: bool = field(default=False, metadata={"static": True})
    project_final: bool = field(default=True, metadata={"static": True})
    project_update: bool = field(default=False, metadata={"static": True})
    index_fix: bool = field(default=False, metadata={"static": True})

    def __post_init__(self) -> None:
        check_fields(self)


class Inputs(NamedTuple):
    """The arguments of `resample.resample`, which explains them."""

    prior: Prior
    problem: Problem
    projection: Guidance
    settings: ReSampleSettings


def estimate(settings: ReSampleSettings, z: Array, eps: Array, a: Array) -> Array:
    """z_hat = (z - (1 - a) eps) / sqrt(a), or Tweedie's with the root of 1 - a."""
    share = 1 - a if settings.tweedie == "code" else jnp.sqrt(1 - a)
    return (z - share * eps) / jnp.sqrt(a)


def time_travel(inputs: Inputs, draw: Draw, z: Array, at: ReSampleSteps) -> tuple[Array, Array]:
    """`TRAVEL` DDIM steps from z: (z_travelled, z_hat of the last).

    As in the reference the constants belong to one index higher than the network times, and so to
    more noise than z has, unless ``index_fix``.
    """
    settings = inputs.settings

    def body(z, at_j):
        k, time, constants = at_j
        eps, _ = predict(inputs.prior, z, time)
        z_hat = estimate(settings, z, eps, constants.a)
        return ddim_step(z, eps, draw(k, z.shape), constants)[0], z_hat

    aligned, lagging = slice(1, TRAVEL + 1), slice(0, TRAVEL)
    constants = jax.tree.map(lambda a: a[aligned if settings.index_fix else lagging], at.travel)
    numbers = at.first_draw + 1 + jnp.arange(TRAVEL)
    z, z_hats = jax.lax.scan(body, z, (numbers, at.travel.time[aligned], constants))
    return z, z_hats[-1]


def hard_consistency(
    inputs: Inputs,
    draw: Draw,
    x_t: Array,
    travelled: tuple[Array, Array],
    at: ReSampleSteps,
    *,
    in_pixels: bool,
) -> tuple[Array, Fit]:
    """Optimise the image or the latent after the time travel and resample: (next z, the fit)."""
    prior, problem, projection, settings = inputs
    stage = first_stage_of(prior, "resample")
    z_travelled, start = travelled
    state = z_travelled if settings.state == "post_travel" else x_t
    descent, render = settings.latent, stage.decode
    if in_pixels:
        projection = projection if settings.project_pixel else unprojected(projection)
        start, state = stage.decode(start), stage.decode(state)
        descent, render = settings.pixel, lambda x: x
    result = fit(
        problem,
        render,
        start,
        descent,
        projection=projection,
        space=begin(projection, draw, at.number, state),
        frozen=frozen_count(settings, at.number),
        project_update=settings.project_update,
    )
    z_y = stage.encode(result.w, None) if in_pixels else result.w
    noise = draw(at.first_draw + 1 + TRAVEL, x_t.shape)
    return stochastic_resampling(z_y, x_t, noise, at), result


def stochastic_resampling(z_y: Array, x_t: Array, noise: Array, at: ReSampleSteps) -> Array:
    """Bring the consistent z_y to noise level p: the product of two Gaussians, drawn from.

        N(sqrt(p) z_y, 1 - p) and N(x_t, s)
        mean = (s sqrt(p) z_y + (1 - p) x_t) / (s + 1 - p),    1 / variance = 1 / s + 1 / (1 - p)

    x_t is the z before the time travel; the larger s, the more z_y counts.
    """
    s, p = at.s, at.ddim.a_prev
    mean = (s * jnp.sqrt(p) * z_y + (1 - p) * x_t) / (s + 1 - p)
    return mean + noise * jnp.sqrt(1 / (1 / s + 1 / (1 - p)))


def final_fit(inputs: Inputs, z: Array) -> Fit:
    """The optimisation of the latent after the last step, from z itself."""
    prior, problem, projection, settings = inputs
    projection = projection if settings.project_final else unprojected(projection)
    draw = normal_draws(jax.random.key(0))
    return fit(
        problem,
        first_stage_of(prior, "resample").decode,
        z,
        settings.latent,
        projection=projection,
        space=begin(projection, draw, jnp.int32(0), z),
        frozen=frozen_count(settings, -1),
        project_update=settings.project_update,
    )


def frozen_count(settings: ReSampleSettings, place: Array | int) -> Array | None:
    """The frozen count of an optimisation, None where limits and rules decide."""
    if settings.frozen is None:
        return None
    return jnp.asarray(settings.frozen, jnp.int32)[place]

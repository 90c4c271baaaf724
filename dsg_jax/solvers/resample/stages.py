"""What ReSample does at its chosen steps: time travel, optimisation, stochastic resampling."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from dsg_jax.diffusion import predict
from dsg_jax.sample import normal_draws
from dsg_jax.solvers.ddim import ddim_step
from dsg_jax.solvers.guidance import first_stage_of
from dsg_jax.solvers.inner import shared_subspace
from dsg_jax.solvers.resample.fit import Descent, Fit, fit
from dsg_jax.solvers.resample.steps import TRAVEL, ReSampleSteps
from dsg_jax.types import Draw, Prior, Problem, Projection


class Method(NamedTuple):
    """The arguments of `resample.resample`, which explains them."""

    prior: Prior
    problem: Problem
    projection: Projection | None
    pixel: Descent
    latent: Descent
    frozen: Array | None
    state: str
    dps_step: str
    tweedie: str
    project_pixel: bool
    project_final: bool
    project_update: bool
    index_fix: bool


def estimate(method: Method, z: Array, eps: Array, a: Array) -> Array:
    """z_hat = (z - (1 - a) eps) / sqrt(a), or Tweedie's with the root of 1 - a."""
    share = 1 - a if method.tweedie == "code" else jnp.sqrt(1 - a)
    return (z - share * eps) / jnp.sqrt(a)


def time_travel(method: Method, draw: Draw, z: Array, at: ReSampleSteps) -> tuple[Array, Array]:
    """`TRAVEL` DDIM steps from z: (z_travelled, z_hat of the last).

    As in the reference the constants belong to one index higher than the network times, and so to
    more noise than z has, unless ``index_fix``.
    """

    def body(z, at_j):
        k, time, constants = at_j
        eps, _ = predict(method.prior, z, time)
        z_hat = estimate(method, z, eps, constants.a)
        return ddim_step(z, eps, draw(k, z.shape), constants)[0], z_hat

    own, lagging = slice(1, TRAVEL + 1), slice(0, TRAVEL)
    constants = jax.tree.map(lambda a: a[own if method.index_fix else lagging], at.travel)
    numbers = at.first_draw + 1 + jnp.arange(TRAVEL)
    z, z_hats = jax.lax.scan(body, z, (numbers, at.travel.time[own], constants))
    return z, z_hats[-1]


def hard_consistency(
    method: Method,
    draw: Draw,
    x_t: Array,
    travelled: tuple[Array, Array],
    at: ReSampleSteps,
    *,
    in_pixels: bool,
) -> tuple[Array, Fit]:
    """Optimise the image or the latent after the time travel and resample: (next z, the fit)."""
    stage = first_stage_of(method.prior, "resample")
    z_travelled, start = travelled
    state = z_travelled if method.state == "post_travel" else x_t
    projection, descent, render = method.projection, method.latent, stage.decode
    if in_pixels:
        projection = projection if method.project_pixel else None
        start, state = stage.decode(start), stage.decode(state)
        descent, render = method.pixel, lambda x: x
    found = fit(
        method.problem,
        render,
        start,
        descent,
        projection=projection,
        space=shared_subspace(projection, draw, at.number, state),
        frozen=None if method.frozen is None else method.frozen[at.number],
        project_update=method.project_update,
    )
    z_y = stage.encode(found.w, None) if in_pixels else found.w
    noise = draw(at.first_draw + 1 + TRAVEL, x_t.shape)
    return stochastic_resampling(z_y, x_t, noise, at), found


def stochastic_resampling(z_y: Array, x_t: Array, noise: Array, at: ReSampleSteps) -> Array:
    """Bring the consistent z_y to noise level p: the product of two Gaussians, drawn from.

        N(sqrt(p) z_y, 1 - p) and N(x_t, s)
        mean = (s sqrt(p) z_y + (1 - p) x_t) / (s + 1 - p),    1 / variance = 1 / s + 1 / (1 - p)

    x_t is the z before the time travel; the larger s, the more z_y counts.
    """
    s, p = at.s, at.ddim.a_prev
    mean = (s * jnp.sqrt(p) * z_y + (1 - p) * x_t) / (s + 1 - p)
    return mean + noise * jnp.sqrt(1 / (1 / s + 1 / (1 - p)))


def final_fit(method: Method, z: Array) -> Fit:
    """The optimisation of the latent after the last step, from z itself."""
    projection = method.projection if method.project_final else None
    draw = normal_draws(jax.random.key(0))
    return fit(
        method.problem,
        first_stage_of(method.prior, "resample").decode,
        z,
        method.latent,
        projection=projection,
        space=shared_subspace(projection, draw, jnp.int32(0), z),
        frozen=None if method.frozen is None else method.frozen[-1],
        project_update=method.project_update,
    )

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

The minimisers are hundreds of AdamW updates (`consistency.fit`). DiffStateGrad projects their
gradients by the SVD of z_travelled, taken once per optimisation.

The printed algorithms have no correction with the norm; 1 - a is the square of Tweedie's factor;
and the time travel pairs network times with constants of one index higher. All three are the
released code's, and options here.
"""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dsg_jax.diffusion import predict
from dsg_jax.projection import state_projection
from dsg_jax.solvers.ddim import ddim_step
from dsg_jax.solvers.guidance import first_stage_of, full_rank, misfit, step_info
from dsg_jax.solvers.resample.fit import Descent
from dsg_jax.solvers.resample.stages import (
    Method,
    estimate,
    final_fit,
    hard_consistency,
    time_travel,
)
from dsg_jax.solvers.resample.steps import NONE, ReSampleSteps
from dsg_jax.types import Draw, Info, Prior, Problem, Projection, Solver

PIXEL = Descent(lr=1e-2, limit=2000, window=False)
"""The reference's optimisation of an image, for every task."""
LATENT = Descent(lr=5e-3, limit=500, window=True)
"""The reference's optimisation of a latent, for every task."""

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
PRESETS: dict[str, dict[str, Any]] = {
    "official": _RELEASED,
    "paper": _RELEASED | {"period": 5, "project_pixel": False},
    "plorg": _RELEASED
    | {"rule": "per_channel", "period": 5, "project_pixel": False, "state": "pre_travel"},
}
"""Where the released code ("official") and the papers part; `resample` explains each option.

"paper" is the code run as DiffStateGrad's appendices C.1 and C.4 say. "plorg" is the rank rule and
algorithm 5 of the workshop paper, which leaves its frequency F open: the other paper's 5.
"""

_CHOICES: dict[str, Iterable[str]] = {
    "state": ("post_travel", "pre_travel"),
    "dps_step": ("no_jacobian", "full_jacobian", "none"),
    "tweedie": ("code", "exact"),
}


def resample_preset(
    preset: str = "paper", tau: float = 0.99, **choices: Any
) -> tuple[Projection, dict[str, Any]]:
    """A preset of `PRESETS`: (projection, keyword arguments of `resample`).

    ``choices`` replace options of the preset or set others of `state_projection` (sides, source,
    engine). Plain ReSample takes the keywords without the projection.

    Raises:
      ValueError: an unknown preset, or a value that `state_projection` refuses.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset={preset!r}: choose from {', '.join(PRESETS)}")
    options = PRESETS[preset] | choices
    names = ("rule", "period", "sides", "source", "engine")
    projection = state_projection(tau, **{n: options.pop(n) for n in names if n in options})
    return projection, options


def resample(
    prior: Prior,
    problem: Problem,
    projection: Projection | None = None,
    *,
    steps: ReSampleSteps,
    pixel: Descent = PIXEL,
    latent: Descent = LATENT,
    frozen: Array | None = None,
    state: str = "post_travel",
    dps_step: str = "no_jacobian",
    tweedie: str = "code",
    project_pixel: bool = False,
    project_final: bool = True,
    project_update: bool = False,
    index_fix: bool = False,
) -> Solver:
    """ReSample as a `Solver`; the state is the latent z (h/f, w/f, c_z).

    `Info` tells of the optimisation that followed the step; without one, 0 ``inner_steps`` and the
    full rank. In the pixel stage the ranks are those of the image's channels, repeated or cut to as
    many as the latent has. ``misfit`` is ||y - A(D(z_hat))|| of the DDIM step.

    Args:
      prior: latent prior. A KL encoder gives its mean; the reference knows codebooks only.
      problem: measurement to explain; its ``sigma`` is not used.
      projection: None for plain ReSample; its period counts the updates of one optimisation. With
        the source "random" every final optimisation takes the same matrix, for it has no draws.
      steps: `resample_steps(...)` of the prior's betas.
      pixel: step size and stopping rules of the pixel stage.
      latent: the same of the latent stage and of the final optimisation.
      frozen: (N + 1,) updates after each outer step and at the end, in place of limits and rules.
      state: what is decomposed: "post_travel" is z_travelled (the released code), "pre_travel" the
        z before the time travel (both papers). In the pixel stage, its decoded image.
      dps_step: gradient of the norm: "no_jacobian", "full_jacobian" (through the network), "none".
      tweedie: factor of eps in z_hat: "code" is 1 - a, "exact" its square root.
      project_pixel: project in the pixel stage too (the released code does, the papers do not).
      project_final: project in the final optimisation, by the SVD of its own start.
      project_update: project AdamW's updates in place of gradients, see `consistency.fit`.
      index_fix: give the time travel the constants of its own times.

    Raises:
      ValueError: a pixel prior, or an unknown choice.
    """
    first_stage = first_stage_of(prior, "resample")
    for name, value in (("state", state), ("dps_step", dps_step), ("tweedie", tweedie)):
        if value not in _CHOICES[name]:
            raise ValueError(f"{name}={value!r}: choose from {', '.join(_CHOICES[name])}")
    method = Method(
        prior,
        problem,
        projection,
        pixel,
        latent,
        None if frozen is None else jnp.asarray(frozen, jnp.int32),
        state,
        dps_step,
        tweedie,
        project_pixel,
        project_final,
        project_update,
        index_fix,
    )

    def step(draw: Draw, z: Array, at: ReSampleSteps) -> tuple[Array, Info]:
        z, norm = guided_ddim(method, draw, z, at)
        travel, stay = lambda: time_travel(method, draw, z, at), lambda: (z, z)
        travelled = jax.lax.cond(at.stage == NONE, stay, travel)

        def consistent(in_pixels: bool):
            z_next, found = hard_consistency(method, draw, z, travelled, at, in_pixels=in_pixels)
            rank = jnp.resize(found.rank, z.shape[-1:])
            return z_next, found.iterations, rank, found.kept

        leave = lambda: (z, jnp.int32(0), full_rank(z.shape), jnp.float32(1))
        stages = (leave, lambda: consistent(True), lambda: consistent(False))
        z, updates, rank, kept = jax.lax.switch(at.stage, stages)
        return z, step_info(norm, rank, kept, z, updates)

    image = lambda z: first_stage.decode(final_fit(method, z).w)
    return Solver(init=lambda noise: noise, step=step, steps=steps, image=image)


def guided_ddim(method: Method, draw: Draw, z: Array, at: ReSampleSteps) -> tuple[Array, Array]:
    """One DDIM step with the correction: (next z, ||y - A(D(z_hat))||)."""
    decode = first_stage_of(method.prior, "resample").decode

    def distance(z: Array, eps: Array | None) -> tuple[Array, Array]:
        eps = predict(method.prior, z, at.ddim.time)[0] if eps is None else eps
        return misfit(method.problem, decode(estimate(method, z, eps, at.ddim.a))), eps

    through_network = method.dps_step == "full_jacobian"
    eps = None if through_network else predict(method.prior, z, at.ddim.time)[0]
    (norm, eps), gradient = jax.value_and_grad(distance, has_aux=True)(z, eps)
    moved, _ = ddim_step(z, eps, draw(at.first_draw, z.shape), at.ddim)
    return moved if method.dps_step == "none" else moved - at.ddim.a / 2 * gradient, norm

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

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from dsg_jax.diffusion import table_time, time_of_sigma
from dsg_jax.solvers.daps import DAPSSteps, daps_steps, ode
from dsg_jax.solvers.guidance import first_stage_of, misfit, step_info
from dsg_jax.solvers.inner import Level, guided_chain
from dsg_jax.types import Draw, FirstStage, Info, Prior, Problem, Projection, Solver

INNER = ("hmc", "langevin")


def scaled_linear_time(betas: Array, sigma: Array) -> Array:
    """The network time T t(sigma) that DAPS gives Stable Diffusion; not clamped to the table.

    For beta(t) = (a t + b)^2 on t in [0, 1] between T beta_first and T beta_last,
    log(1 + sigma^2) = ((a t + b)^3 - b^3) / (3 a). Solved for t without the difference of two cube
    roots, which loses its digits at small sigma in the reference.
    """
    total = len(betas)
    b, end = jnp.sqrt(total * betas[0]), jnp.sqrt(total * betas[-1])
    rise = 3 * (end - b) * jnp.log1p(sigma**2)
    root = jnp.cbrt(rise + b**3)
    return total * rise / (root**2 + root * b + b**2) / (end - b)


TIME_MAPS = {
    "table": table_time,
    "adm": lambda betas, sigma: time_of_sigma(sigma),
    "sd": scaled_linear_time,
}
"""Name -> function of the betas (T,) and sigma that gives the fractional network time."""


def latent_daps_steps(
    *, levels: int = 50, ode_steps: int = 2, lr: float = 1e-5, lr_min_ratio: float = 1.0
) -> DAPSSteps:
    """The reference's latent schedule: sigma from 10 to 0.1, ODEs that end at 0.001."""
    return daps_steps(
        variant="main",
        levels=levels,
        ode_steps=ode_steps,
        sigma_max=10.0,
        sigma_min=0.1,
        ode_sigma_min=0.001,
        lr=lr,
        lr_min_ratio=lr_min_ratio,
    )


def latent_daps(
    prior: Prior,
    problem: Problem,
    projection: Projection | None = None,
    *,
    steps: DAPSSteps | None = None,
    inner_steps: int = 40,
    inner: str = "hmc",
    momentum: Array | float = 0.9,
    tau_y: Array | float = 0.01,
    time_map: str = "table",
) -> Solver:
    """LatentDAPS as a `Solver`; the state is the noisy latent of a level (h/f, w/f, c_z).

    Args:
      prior: a latent prior.
      problem: measurement to explain; its ``sigma`` is not used, the likelihood has ``tau_y``.
      projection: None for plain LatentDAPS.
      steps: `latent_daps_steps(...)`; per task from `latent_settings.latent_daps_settings`.
      inner_steps: inner updates per level (static).
      inner: "hmc", the reference's for latents, or "langevin".
      momentum: HMC's momentum m.
      tau_y: standard deviation of the likelihood, a tuning constant of the method.
      time_map: network time of a noise level. "table" looks it up in the prior's own schedule. For
        parity: "adm" is ADM's closed form, which the reference also feeds to the FFHQ and ImageNet
        latent models (sigma = 0.1 becomes 27 where their table says 6); "sd" its form for Stable
        Diffusion, `scaled_linear_time`.

    Raises:
      ValueError: a pixel prior, or an unknown ``inner`` or ``time_map``.
    """
    stage = first_stage_of(prior, "latent-daps")
    if inner not in INNER or time_map not in TIME_MAPS:
        options = f"inner from {', '.join(INNER)}; time_map from {', '.join(TIME_MAPS)}"
        raise ValueError(f"inner={inner!r}, time_map={time_map!r}: choose {options}")
    steps = latent_daps_steps() if steps is None else steps
    draws = inner_steps + (2 if inner == "hmc" else 1)
    time = partial(TIME_MAPS[time_map], prior.betas)

    def step(draw: Draw, z: Array, at: DAPSSteps) -> tuple[Array, Info]:
        level = Level(z, ode(prior, z, at, time), at.sigma, at.lr, at.level * draws)
        z_y, rank, kept = guided_chain(
            lambda z: latent_gradient(stage, problem, level, tau_y, z),
            projection,
            level,
            draw,
            inner_steps,
            momentum if inner == "hmc" else None,
        )
        z = z_y + at.sigma_next * draw(level.first_draw + draws - 1, z.shape)
        return z, step_info(misfit(problem, stage.decode(z_y)), rank, kept, z)

    return Solver(
        init=lambda noise: steps.sigma[0] * noise, step=step, steps=steps, image=stage.decode
    )


def latent_gradient(
    stage: FirstStage, problem: Problem, level: Level, tau_y: Array | float, z: Array
) -> Array:
    """g(z), what the inner sampler descends: the clipped likelihood and the Gaussian prior."""

    def likelihood(z: Array) -> Array:
        residual = problem.y - problem.operator.forward(stage.decode(z))
        return jnp.sum(residual * residual)

    clipped = jnp.clip(jax.grad(likelihood)(z), -1, 1)
    return clipped / tau_y**2 + (z - level.x0_hat) / level.sigma**2

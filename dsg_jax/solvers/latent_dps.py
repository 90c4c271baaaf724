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

import jax
from jax import Array

from dsg_jax.diffusion import predict
from dsg_jax.solvers.ddim import DDIMSteps, ddim_step
from dsg_jax.solvers.guidance import first_stage_of, misfit, project_step, step_info
from dsg_jax.types import Draw, Info, Prior, Problem, Projection, Solver


def latent_dps(
    prior: Prior,
    problem: Problem,
    projection: Projection | None = None,
    *,
    steps: DDIMSteps,
    zeta: Array | float = 0.1,
) -> Solver:
    """Latent DPS as a `Solver`; the state is z_t (h/f, w/f, c_z).

    Args:
      prior: a latent prior.
      problem: measurement to explain; its ``sigma`` is not used.
      projection: None for plain Latent-DPS.
      steps: `ddim_steps(...)`; 1000 with eta = 0, as PSLD.
      zeta: size of a guidance step (`latent_settings.LATENT_DPS_ZETA`); nothing else scales the
        gradient of the un-squared norm.

    Raises:
      ValueError: a pixel prior.
    """
    stage = first_stage_of(prior, "latent-dps")

    def guided(z: Array, noise: Array, at: DDIMSteps):
        eps, _ = predict(prior, z, at.time)
        z_next, z0_hat = ddim_step(z, eps, noise, at)
        return misfit(problem, stage.decode(z0_hat)), z_next

    def step(draw: Draw, z: Array, at: DDIMSteps) -> tuple[Array, Info]:
        number = steps.index[0] - at.index
        noise = draw(number, z.shape)
        (norm, z_next), gradient = jax.value_and_grad(guided, has_aux=True)(z, noise, at)
        gradient, rank, kept = project_step(projection, draw, number, z, gradient)
        z = z_next - zeta * gradient
        return z, step_info(norm, rank, kept, z)

    return Solver(init=lambda noise: noise, step=step, steps=steps, image=stage.decode)

"""PSLD (Rout et al., NeurIPS 2023) on a latent prior, with or without DiffStateGrad.

    for every DDIM step:
        z0_hat = E[z_0 | z_t],  x0_hat = D(z0_hat)
        z'     = DDIM step from z_t
        L_m    = ||A(x0_hat) + sigma noise - y||                the measurement
        L_g    = ||E(T y + x0_hat - T A x0_hat) - z0_hat||      the gluing
        G      = grad_{z_t} (gamma L_g + omega L_m)
        z_t-1  = z' - P(G)                                      P from the SVD of z_t
    x = D(z_0)

One forward and one backward pass a step run through network, decoder, operator and encoder; nothing
inside is held constant. There is no other step size than gamma and omega.

This is the released code. It departs from the paper's Algorithm 2: the norms are not squared, the
steps are DDIM's instead of ancestral ones, and the prediction gets fresh noise before y is compared
with it. Its two branches, for inpainting and for the other tasks, are this one formula: the first
passes the mask to A, nothing else differs. The projected PSLD was not released; here, as the papers
describe it, the whole gradient is projected by the SVD of z_t.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from dsg_jax.diffusion import predict
from dsg_jax.solvers.ddim import DDIMSteps, ddim_step
from dsg_jax.solvers.guidance import first_stage_of, project_step, safe_norm, step_info
from dsg_jax.types import Draw, Info, Operator, Prior, Problem, Projection, Solver

GLUES = ("transpose", "adjoint", "pseudo_inverse")
NORMS = {"plain": safe_norm, "squared": lambda residual: jnp.sum(residual * residual)}


class PSLDNoise(NamedTuple):
    """The draws of one step, numbered in this order."""

    ddim: Array
    """(h, w, c) latent; drawn for eta = 0 too."""
    measurement: Array | None
    """As y, for the prediction; None leaves it as it is."""
    encoding: Array | None
    """(h, w, c) latent, for the sample of a KL encoder; None takes its mean."""


def psld(
    prior: Prior,
    problem: Problem,
    projection: Projection | None = None,
    *,
    steps: DDIMSteps,
    gamma: Array | float = 0.1,
    omega: Array | float = 0.1,
    renoise: bool = True,
    glue: str = "transpose",
    sample_encoding: bool = False,
    norm: str = "plain",
) -> Solver:
    """PSLD as a `Solver`; the state is z_t (h/f, w/f, c_z).

    Args:
      prior: a latent prior.
      problem: a linear measurement; its ``sigma`` is the noise of ``renoise``.
      projection: None for plain PSLD.
      steps: `ddim_steps(...)`; the reference takes 1000 with eta = 0.
      gamma: weight of the gluing loss (`latent_settings.psld_settings`).
      omega: weight of the measurement loss.
      renoise: add fresh noise of level ``problem.sigma`` to the prediction A(x0_hat) in L_m, as the
        reference does; the loss then has a floor near sigma sqrt(2 y.size).
      glue: T. "transpose" is the reference's: pixel repetition for super-resolution, else the
        identity, so that inpainting lets the noise of the hole through. "adjoint" is the exact A',
        "pseudo_inverse" A+, with which T A is the projection that the paper's theory wants.
      sample_encoding: draw from a KL encoder instead of taking its mean (the reference does).
      norm: "plain" is the code's, "squared" the paper's.

    Raises:
      ValueError: a pixel prior, a nonlinear operator, one without the wanted ``glue``, or an
        unknown ``glue`` or ``norm``.
    """
    stage = first_stage_of(prior, "psld")
    glue_map(problem.operator, glue)
    if norm not in NORMS:
        raise ValueError(f"norm={norm!r}: choose from {', '.join(NORMS)}")

    def guided(z: Array, noise: PSLDNoise, at: DDIMSteps):
        return psld_loss(
            prior, problem, z, noise, at, gamma=gamma, omega=omega, glue=glue, norm=norm
        )

    def step(draw: Draw, z: Array, at: DDIMSteps) -> tuple[Array, Info]:
        number = steps.index[0] - at.index
        first = number * (1 + renoise + sample_encoding)
        noise = PSLDNoise(
            draw(first, z.shape),
            draw(first + 1, problem.y.shape) if renoise else None,
            draw(first + 1 + renoise, z.shape) if sample_encoding else None,
        )
        gradient, (z_next, misfit) = jax.grad(guided, has_aux=True)(z, noise, at)
        gradient, rank, kept = project_step(projection, draw, number, z, gradient)
        z = z_next - gradient
        return z, step_info(misfit, rank, kept, z)

    return Solver(init=lambda noise: noise, step=step, steps=steps, image=stage.decode)


def psld_loss(
    prior: Prior,
    problem: Problem,
    z: Array,
    noise: PSLDNoise,
    at: DDIMSteps,
    *,
    gamma: Array | float,
    omega: Array | float,
    glue: str = "transpose",
    norm: str = "plain",
) -> tuple[Array, tuple[Array, Array]]:
    """The loss gamma L_g + omega L_m at z_t: (loss, (z', ||y - A(x0_hat)||)).

    The misfit is that of the prediction itself, without ``noise.measurement``.
    """
    stage, forward = first_stage_of(prior, "psld"), problem.operator.forward
    back, size = glue_map(problem.operator, glue), NORMS[norm]
    eps, _ = predict(prior, z, at.time)
    z_next, z0_hat = ddim_step(z, eps, noise.ddim, at)
    x0_hat = stage.decode(z0_hat)
    predicted = forward(x0_hat)
    residual = predicted - problem.y
    fresh = 0.0 if noise.measurement is None else problem.sigma * noise.measurement
    glued = stage.encode(back(problem.y) + x0_hat - back(predicted), noise.encoding)
    loss = gamma * size(glued - z0_hat) + omega * size(residual + fresh)
    return loss, (z_next, safe_norm(residual))


def glue_map(operator: Operator, glue: str) -> Callable[[Array], Array]:
    """T of the gluing loss, from measurements to images; ValueError where there is none."""
    if glue not in GLUES:
        raise ValueError(f"glue={glue!r}: choose from {', '.join(GLUES)}")
    if operator.adjoint is None and operator.transpose is None:
        raise ValueError(
            "psld needs a linear measurement, and this one (phase retrieval, HDR, nonlinear "
            "deblurring) has no transpose: use resample or latent-daps"
        )
    chosen = getattr(operator, glue)
    if chosen is None:
        available = [name for name in GLUES if getattr(operator, name) is not None]
        raise ValueError(f"the operator has no {glue}: choose glue from {', '.join(available)}")
    return chosen

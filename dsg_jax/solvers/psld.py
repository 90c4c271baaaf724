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
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import Array

from dsg_jax.checks import NOT_NEGATIVE, check_choice, check_fields
from dsg_jax.clock import Clock
from dsg_jax.diffusion import predict
from dsg_jax.plug_ins import Guidance
from dsg_jax.solvers.ddim import DDIMSteps, ddim_step, ddim_steps, first_level
from dsg_jax.solvers.guidance import (
    check_measurement,
    first_stage_of,
    prior_for,
    project_step,
    published,
    safe_norm,
    step_info,
)
from dsg_jax.types import Draw, Info, Operator, Prior, Problem, Solver

Glue = Literal["transpose", "adjoint", "pseudo_inverse"]
NORMS = {"plain": safe_norm, "squared": lambda residual: jnp.sum(residual * residual)}


class PSLDNoise(NamedTuple):
    """The draws of one step, numbered in this order.

    Attributes:
      ddim: (h, w, c) latent; drawn for eta = 0 too.
      measurement: as y, for the prediction; None leaves it as it is.
      encoding: (h, w, c) latent, for the sample of a KL encoder; None takes its mean.
    """

    ddim: Array
    measurement: Array | None
    encoding: Array | None


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class PSLDSettings:
    """What PSLD is told; `settings_for` has the published values.

    Attributes:
      steps: `ddim_steps(...)` of the prior's betas; the reference takes 1000 with eta = 0.
      gamma: weight of the gluing loss, >= 0; like omega it is a step size.
      omega: weight of the measurement loss, >= 0.
      renoise: add fresh noise of level ``problem.sigma`` to the prediction A(x0_hat) in L_m, as the
        reference does; the loss then has a floor near sigma sqrt(2 y.size).
      glue: T. "transpose" is the reference's: pixel repetition for super-resolution, else the
        identity, so that inpainting lets the noise of the hole through. "adjoint" is the exact A',
        "pseudo_inverse" A+, with which T A is the projection that the paper's theory wants.
      sample_encoding: draw from a KL encoder instead of taking its mean (the reference does).
      norm: "plain" is the code's, "squared" the paper's.
    """

    steps: DDIMSteps
    gamma: Array | float = 0.1
    omega: Array | float = 0.1
    renoise: bool = field(default=True, metadata={"static": True})
    glue: Glue = field(default="transpose", metadata={"static": True})
    sample_encoding: bool = field(default=False, metadata={"static": True})
    norm: Literal["plain", "squared"] = field(default="plain", metadata={"static": True})

    def __post_init__(self) -> None:
        check_fields(self, gamma=NOT_NEGATIVE, omega=NOT_NEGATIVE)


def psld(prior: Prior, problem: Problem, projection: Guidance, settings: PSLDSettings) -> Solver:
    """PSLD as a `Solver`; the state is z_t (h/f, w/f, c_z).

    Args:
      prior: a latent prior.
      problem: a linear measurement; its ``sigma`` is the noise of ``renoise``.
      projection: None for plain PSLD.
      settings: constants of the steps, and the two losses.

    Raises:
      ValueError: a pixel prior, a nonlinear operator, one that lacks the ``glue``, or steps that
        start above the prior's noise levels.
    """
    stage = first_stage_of(prior, "psld")
    prior = prior_for(problem, prior, first_level(settings.steps))
    glue_map(problem.operator, settings.glue)
    renoise, sample_encoding = settings.renoise, settings.sample_encoding

    def guided(z: Array, noise: PSLDNoise, at: DDIMSteps):
        return psld_loss(prior, problem, settings, z, noise, at)

    def step(draw: Draw, z: Array, at: DDIMSteps) -> tuple[Array, Info]:
        number = settings.steps.index[0] - at.index
        first = number * (1 + renoise + sample_encoding)
        noise = PSLDNoise(
            draw(first, z.shape),
            draw(first + 1, problem.y.shape) if renoise else None,
            draw(first + 1 + renoise, z.shape) if sample_encoding else None,
        )
        gradient, (z_next, misfit) = jax.grad(guided, has_aux=True)(z, noise, at)
        gradient, rank, share = project_step(projection, draw, number, z, gradient)
        z = z_next - gradient
        return z, step_info(misfit, rank, share, z)

    init = lambda noise: noise
    return Solver(init=init, step=step, steps=settings.steps, image=stage.decode)


def psld_loss(
    prior: Prior,
    problem: Problem,
    settings: PSLDSettings,
    z: Array,
    noise: PSLDNoise,
    at: DDIMSteps,
) -> tuple[Array, tuple[Array, Array]]:
    """The loss gamma L_g + omega L_m at z_t: (loss, (z', ||y - A(x0_hat)||)).

    The misfit is that of the prediction itself, without ``noise.measurement``.
    """
    stage, forward = first_stage_of(prior, "psld"), problem.operator.forward
    back, size = glue_map(problem.operator, settings.glue), NORMS[settings.norm]
    eps, _ = predict(prior, z, at.time)
    z_next, z0_hat = ddim_step(z, eps, noise.ddim, at)
    x0_hat = stage.decode(z0_hat)
    predicted = forward(x0_hat)
    check_measurement(problem.y, predicted)
    residual = predicted - problem.y
    fresh = 0.0 if noise.measurement is None else problem.sigma * noise.measurement
    glued = stage.encode(back(problem.y) + x0_hat - back(predicted), noise.encoding)
    loss = settings.gamma * size(glued - z0_hat) + settings.omega * size(residual + fresh)
    return loss, (z_next, safe_norm(residual))


def glue_map(operator: Operator, glue: Glue) -> Callable[[Array], Array]:
    """T of the gluing loss, from measurements to images; ValueError where there is none."""
    if operator.adjoint is None and operator.transpose is None:
        raise ValueError(
            "psld needs a linear measurement, and this one (phase retrieval, HDR, nonlinear "
            "deblurring) has no transpose: use resample or latent-daps"
        )
    chosen = getattr(operator, glue)
    if chosen is None:
        available = [name for name in get_args(Glue) if getattr(operator, name) is not None]
        raise ValueError(f"the operator has no {glue}: choose glue from {', '.join(available)}")
    return chosen


class PSLDWeights(NamedTuple):
    """Weights of the two losses, which are also the step sizes.

    Attributes:
      gamma: gluing.
      omega: measurement.
    """

    gamma: float
    omega: float


# The FFHQ latent model at 256 x 256: `stable-diffusion/run/*.sh` of PSLD, as the other table.
PSLD_LDM = {
    "default": PSLDWeights(0.1, 0.1),  # ours: of what PSLD has no script for
    "box_inpainting": PSLDWeights(0.1, 0.1),  # inverse_bip_ldm.sh
    "random_inpainting": PSLDWeights(0.1, 0.1),  # inverse_rip_ldm.sh
    "gaussian_deblur": PSLDWeights(0.1, 0.1),  # inverse_gb_ldm.sh
    "motion_deblur": PSLDWeights(0.1, 0.1),  # inverse_mb_ldm.sh
    "super_resolution": PSLDWeights(0.1, 0.9),  # inverse_sr_ldm.sh
}
# Stable Diffusion v1.5 at 512 x 512.
PSLD_SD = {
    "default": PSLDWeights(0.1, 1.0),  # ours
    "box_inpainting": PSLDWeights(0.01, 0.1),  # inverse_bip.sh
    "random_inpainting": PSLDWeights(0.1, 1.0),  # inverse_rip.sh
    "gaussian_deblur": PSLDWeights(0.1, 1.0),  # inverse_gb.sh
    "motion_deblur": PSLDWeights(0.1, 1.0),  # inverse_mb.sh
    "super_resolution": PSLDWeights(0.1, 1.0),  # inverse.sh
}
PSLD_GROUPS = {"ldm": PSLD_LDM, "sd": PSLD_SD}


def settings_for(
    task: str,
    clock: Clock,
    *,
    steps: int = 1000,
    eta: float = 0.0,
    gamma: float | None = None,
    omega: float | None = None,
    step_factor: float = 1.0,
    glue: Glue = "transpose",
    group: Literal["ldm", "sd"] = "ldm",
) -> PSLDSettings:
    """The reference's settings for a linear task.

    Args:
      task: a key of the group's table; others have its default.
      clock: the prior's; its VP times are the schedule.
      steps: reverse steps, evenly spaced over the schedule's times
      eta: 0 is DDIM, 1 ancestral sampling
      gamma: weight of the gluing loss (default: the task's)
      omega: weight of the measurement loss (default: the task's)
      step_factor: multiply both weights, which are the step sizes, by this
      glue: what takes a measurement back to an image
      group: whose settings, the latent models' or Stable Diffusion's

    Raises:
      ValueError: steps that the schedule does not allow (see `ddim_steps`), or an unknown choice.
    """
    check_choice("group", group, PSLD_GROUPS)
    weights = published(PSLD_GROUPS[group], task)
    gamma = weights.gamma if gamma is None else gamma
    omega = weights.omega if omega is None else omega
    return PSLDSettings(
        steps=ddim_steps(clock.betas, steps, eta=eta),
        gamma=step_factor * gamma,
        omega=step_factor * omega,
        glue=glue,
    )

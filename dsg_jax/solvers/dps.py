"""DPS (Chung et al., ICLR 2023) on a pixel prior, with or without DiffStateGrad.

    for t = T-1 .. 0:
        x0_hat = clip(E[x0 | x_t])
        x'     = ancestral step from x_t with the learned variance
        G      = grad_{x_t} ||y - A(x0_hat)||
        x_t-1  = x' - scale * P(G)          P from the SVD of x_t

DiffStateGrad was not released for DPS; the state is x_t, the variable of the gradient.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from dsg_jax.checks import NOT_NEGATIVE, check_fields
from dsg_jax.clock import Clock
from dsg_jax.diffusion import clip_unit, log_variance, predict
from dsg_jax.plug_ins import Guidance
from dsg_jax.schedule import respaced_times
from dsg_jax.solvers.guidance import misfit, prior_for, project_step, published, step_info
from dsg_jax.types import Constants, Draw, Info, Prior, Problem, Solver

_DRAWS = 2  # ancestral noise, and one that the reference draws for the measurement and never uses


class DPSSteps(NamedTuple):
    """Constants of the reverse steps, high noise first; (T,) float32 computed in float64."""

    step: Constants
    time: Constants
    sqrt_recip: Constants
    sqrt_recipm1: Constants
    mean_x0: Constants
    mean_x: Constants
    log_beta: Constants
    log_beta_tilde: Constants


def dps_steps(betas: ArrayLike, times: ArrayLike | None = None) -> DPSSteps:
    """The constants for the VP times ``times`` (ascending; default: all of the clock's betas).

    A subsequence gets the betas 1 - alpha_bar_i / alpha_bar_{i-1} of its own chain.

    Raises:
      ValueError: fewer than two times, or none of the schedule's, or not in ascending order.
    """
    betas = np.asarray(betas, np.float64)
    times = np.arange(len(betas)) if times is None else np.asarray(times)
    if times.ndim != 1 or times.dtype.kind not in "iu" or len(times) < 2:
        raise ValueError(f"times={times}: give at least two whole numbers in a row")
    if (np.diff(times.astype(int)) <= 0).any() or times[0] < 0 or times[-1] >= len(betas):
        raise ValueError(
            f"times from {times[0]} to {times[-1]}: give ascending ones, each once, of the"
            f" schedule's 0 to {len(betas) - 1}"
        )
    alpha_bar = np.cumprod(1 - betas)[times]
    previous = np.append(1.0, alpha_bar[:-1])
    betas = 1 - alpha_bar / previous
    variance = betas * (1 - previous) / (1 - alpha_bar)
    constants = DPSSteps(
        step=np.arange(len(times))[::-1],
        time=times,
        sqrt_recip=np.sqrt(1 / alpha_bar),
        sqrt_recipm1=np.sqrt(1 / alpha_bar - 1),
        mean_x0=betas * np.sqrt(previous) / (1 - alpha_bar),
        mean_x=(1 - previous) * np.sqrt(1 - betas) / (1 - alpha_bar),
        log_beta=np.log(betas),
        log_beta_tilde=np.log(np.append(variance[1], variance[1:])),
    )
    high_noise_first = (a[::-1] for a in constants)
    return DPSSteps(*(a if a.dtype.kind == "i" else np.float32(a) for a in high_noise_first))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class DPSSettings:
    """What DPS is told; `settings_for` has the published values.

    Attributes:
      steps: `dps_steps(...)` of the prior's betas; the reference takes all 1000.
      scale: size of a guidance step, > 0: s of the reference's configurations.
      poisson: divide the residual norm by |y|, entry by entry, and average: the reference's term
        for Poisson noise. Entries that are 0, such as a hole's, count for nothing (there: for all).
    """

    steps: DPSSteps
    scale: Array | float = 0.3
    poisson: bool = field(default=False, metadata={"static": True})

    def __post_init__(self) -> None:
        check_fields(self, scale=NOT_NEGATIVE)


def dps(prior: Prior, problem: Problem, projection: Guidance, settings: DPSSettings) -> Solver:
    """DPS as a `Solver`; the state is x_t (h, w, c).

    Args:
      prior: over pixels; without variance values the posterior variance is used.
      problem: measurement to explain.
      projection: None for plain DPS.
      settings: constants of the steps, and how far one guides.

    Raises:
      ValueError: steps that start above the prior's noise levels.
    """
    prior = prior_for(problem, prior, settings.steps.sqrt_recipm1[0])
    weight = poisson_weight(problem.y) if settings.poisson else 1.0

    def guided(x: Array, at: DPSSteps):
        eps, v = predict(prior, x, at.time)
        x0 = clip_unit(at.sqrt_recip * x - at.sqrt_recipm1 * eps)
        norm = misfit(problem, x0)
        return norm * weight, (norm, x0, v)

    def step(draw: Draw, x: Array, at: DPSSteps) -> tuple[Array, Info]:
        (_, (norm, x0, v)), gradient = jax.value_and_grad(guided, has_aux=True)(x, at)
        noise = draw(_DRAWS * at.step, x.shape)
        std = jnp.exp(0.5 * log_variance(v, at.log_beta, at.log_beta_tilde))
        ancestral = at.mean_x0 * x0 + at.mean_x * x + jnp.where(at.time > 0, std, 0.0) * noise
        gradient, rank, share = project_step(projection, draw, at.step, x, gradient)
        x = ancestral - settings.scale * gradient
        return x, step_info(norm, rank, share, x)

    return Solver(init=lambda noise: noise, step=step, steps=settings.steps, image=lambda x: x)


def poisson_weight(y: Array) -> Array:
    """() mean of 1/|y| over the entries of y, of which those that are 0 count as 0."""
    return jnp.mean(jnp.where(y == 0, 0.0, 1 / jnp.abs(jnp.where(y == 0, 1.0, y))))


# Guidance step sizes: `configs/*_config.yaml` of the DPS repository.
DPS_SCALE = {
    "default": 0.3,  # ours: of what DPS has no configuration for
    "box_inpainting": 0.5,  # ours: none was released; that of random inpainting
    "random_inpainting": 0.5,
    "gaussian_deblur": 0.3,
    "motion_deblur": 0.3,
    "super_resolution": 0.3,
    "phase_retrieval": 1.0,
    "nonlinear_deblur": 0.3,
}


def settings_for(
    task: str,
    clock: Clock,
    *,
    steps: int | None = None,
    respacing: str | None = None,
    scale: float | None = None,
    step_factor: float = 1.0,
) -> DPSSettings:
    """The reference's settings for a task.

    Args:
      task: a key of `DPS_SCALE`; others have its default.
      clock: the prior's; its VP times are the schedule.
      steps: reverse steps, evenly spaced over the schedule's times (default: all of them)
      respacing: in place of steps, as the reference writes it: ddim25, or 30,20,10 by sections
      scale: size of a guidance step (default: the task's)
      step_factor: multiply the guidance step by this

    Raises:
      ValueError: fewer than 2 steps, or more than the schedule has times; steps and a respacing.
    """
    total = len(clock.betas)
    count = total if steps is None else steps
    if not 2 <= count <= total:
        raise ValueError(f"steps={count}: the schedule allows 2 to {total}")
    times = np.round(np.linspace(0, total - 1, count)).astype(int)
    if respacing is not None:
        if steps is not None:
            raise ValueError(f"steps={steps} and respacing={respacing!r}: give one of them")
        times = respaced_times(respacing, total)
    scale = published(DPS_SCALE, task) if scale is None else scale
    return DPSSettings(steps=dps_steps(clock.betas, times), scale=step_factor * scale)

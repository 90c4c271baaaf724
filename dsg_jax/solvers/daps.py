"""DAPS (Zhang et al. 2024) on a pixel prior, with or without DiffStateGrad.

    for each annealing level sigma:
        x0_hat = probability-flow ODE from x at sigma          a few Euler steps
        x_y    = Langevin (or HMC, MH) started at x0_hat,      gradient -> P(gradient)
                 targeting exp(-||A(x) - y||^2 / 2 tau_y^2 - ||x - x0_hat||^2 / 2 sigma^2)
        x      = x_y + sigma_next * noise

P comes from one SVD of x0_hat per level; the sampler's own noise is not projected. The projected
DAPS was not released: this follows the paper's appendix (C.4).
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dsg_jax.checks import MOST_STEPS, POSITIVE, UNIT, UPDATES, check_choice, check_fields
from dsg_jax.clock import Clock
from dsg_jax.diffusion import denoise
from dsg_jax.plug_ins import Guidance
from dsg_jax.schedule import daps_annealing, daps_ode_grid
from dsg_jax.solvers.guidance import misfit, prior_for, published, residual, step_info
from dsg_jax.solvers.inner import (
    TAU_Y,
    Inner,
    Level,
    guided_chain,
    metropolis,
    prior_pull,
    suited,
)
from dsg_jax.types import Constants, Draw, Info, Prior, Problem, Solver

VARIANTS = ("legacy", "main")
# Where the published levels start.
FIRST_SIGMA = 100.0


class DAPSSteps(NamedTuple):
    """Constants of the annealing levels, computed in float64; leading axis = level.

    Attributes:
      ode_sigma: (levels, ode_steps) sigma at which each Euler step evaluates the denoiser.
      ode_move: (levels, ode_steps) 1 - sigma_next / sigma of the Euler step.
    """

    level: Constants
    sigma: Constants
    sigma_next: Constants
    ode_sigma: Constants
    ode_move: Constants
    lr: Constants


def daps_steps(
    *,
    variant: str = "legacy",
    levels: int = 200,
    ode_steps: int = 5,
    sigma_max: float = FIRST_SIGMA,
    sigma_min: float = 0.1,
    ode_sigma_min: float = 0.01,
    lr: float = 1e-4,
    lr_min_ratio: float = 0.01,
    tau_y: float = TAU_Y,
) -> DAPSSteps:
    """Annealing levels, ODE grids and inner step sizes; the defaults are the reference's.

    ``variant`` is "legacy" (August 2024, what the papers ran) or "main" (the 2025 rewrite).

    Inner steps are scaled from the reference's tau_y to another one, see `inner.suited`.

    Raises:
      ValueError: another variant, no levels, or more than there is memory for.
    """
    check_choice("variant", variant, VARIANTS)
    if levels < 1 or ode_steps < 1 or levels * ode_steps > MOST_STEPS:
        raise ValueError(
            f"levels={levels}, ode_steps={ode_steps}: give whole numbers >= 1 whose product is at"
            f" most {MOST_STEPS:,}"
        )
    sigma = daps_annealing(variant, levels, sigma_max, sigma_min)
    grid = daps_ode_grid(variant, sigma[:-1], ode_steps, ode_sigma_min)
    last = levels if variant == "legacy" else levels + 1
    number = np.arange(levels)
    rates = lr * (1 + number / last * (lr_min_ratio - 1)) * suited(tau_y, sigma[:-1])
    floats = (sigma[:-1], sigma[1:], grid[:, :-1], 1 - grid[:, 1:] / grid[:, :-1], rates)
    return DAPSSteps(number, *(a.astype(np.float32) for a in floats))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class DAPSSettings:
    """What DAPS is told; `settings_for` has the published values.

    Attributes:
      steps: `daps_steps(...)` of the same variant.
      tau_y: standard deviation of the likelihood, > 0: a constant of the method, whatever the
        noise.
      momentum: HMC's momentum m, in [0, 1]; the other inner samplers have none.
      variant: "legacy" (August 2024, what the papers ran), or "main" (the 2025 rewrite), which
        weights the likelihood's gradient twice as much.
      inner: inner sampler; "mh", Metropolis-Hastings, has no gradient to project.
      inner_steps: inner updates per level, >= 1.
      prior_score: gradient of the log-prior: "gaussian" is the papers'.
    """

    steps: DAPSSteps
    tau_y: Array | float = TAU_Y
    momentum: Array | float = 0.9
    variant: Literal["legacy", "main"] = field(default="legacy", metadata={"static": True})
    inner: Literal["langevin", "hmc", "mh"] = field(default="langevin", metadata={"static": True})
    inner_steps: int = field(default=100, metadata={"static": True})
    prior_score: Literal["gaussian", "score-t", "score-min", "exact"] = field(
        default="gaussian", metadata={"static": True}
    )

    def __post_init__(self) -> None:
        check_fields(self, tau_y=POSITIVE, momentum=UNIT, inner_steps=UPDATES)


def daps(prior: Prior, problem: Problem, projection: Guidance, settings: DAPSSettings) -> Solver:
    """DAPS as a `Solver`; the state is x at the current level (h, w, c).

    Args:
      prior: over pixels; variance values are dropped and x0_hat is not clipped.
      problem: measurement to explain; its ``sigma`` is not used, the likelihood has ``tau_y``.
      projection: None for plain DAPS.
      settings: levels, and how each of them samples.

    Departs from the reference: a sample that is not finite is reported in `Info`, not zeroed
    together with its batch.

    Raises:
      ValueError: a projection for "mh", or steps that start above the prior's noise levels.
    """
    inner, inner_steps, tau_y = settings.inner, settings.inner_steps, settings.tau_y
    if inner == "mh" and projection is not None:
        raise ValueError("inner='mh' follows no gradient: use projection=None, langevin or hmc")
    prior = prior_for(problem, prior, settings.steps.sigma[0])
    draws = {"langevin": inner_steps, "hmc": 1 + inner_steps, "mh": 2 * inner_steps}[inner] + 1
    weight = 0.5 if settings.variant == "legacy" else 1.0

    def likelihood(x: Array) -> Array:
        difference = residual(problem, x)
        return weight * jnp.sum(difference * difference) / tau_y**2

    def step(draw: Draw, x: Array, at: DAPSSteps) -> tuple[Array, Info]:
        level = Level(x, ode(prior, x, at), at.sigma, at.lr, at.level * draws)
        if inner == "mh":
            x_y, rank, share = metropolis(problem, level, draw, inner_steps, tau_y)
        else:
            pull = prior_pull(prior, settings.prior_score, level)
            x_y, rank, share = guided_chain(
                lambda x: jax.grad(likelihood)(x) - pull(x),
                projection,
                level,
                draw,
                inner_steps,
                settings.momentum if inner == "hmc" else None,
            )
        x = x_y + at.sigma_next * draw(level.first_draw + draws - 1, x.shape)
        return x, step_info(misfit(problem, x_y), rank, share, x)

    init = lambda noise: settings.steps.sigma[0] * noise
    return Solver(init=init, step=step, steps=settings.steps, image=lambda x: x)


def ode(prior: Prior, x: Array, at: DAPSSteps) -> Array:
    """x0_hat: Euler steps of the probability-flow ODE, x <- x + (1 - sigma'/sigma)(D(x) - x)."""

    def euler(x, sigma_and_move):
        sigma, move = sigma_and_move
        return x + move * (denoise(prior, x, sigma) - x), None

    return jax.lax.scan(euler, x, (at.ode_sigma, at.ode_move))[0]


# Variant "legacy", which the papers ran: `config/task/*.yaml` of DAPS, as the other two.
DAPS_LANGEVIN = {
    "default": Inner(100, 1e-4),  # ours: of what DAPS has no configuration for
    "super_resolution": Inner(100, 1e-4),
    "gaussian_deblur": Inner(100, 1e-4),
    "motion_deblur": Inner(100, 5e-5),
    "box_inpainting": Inner(100, 5e-5),
    "random_inpainting": Inner(100, 1e-4),
    "phase_retrieval": Inner(100, 5e-5),
    "nonlinear_deblur": Inner(100, 5e-5),
    "hdr": Inner(100, 2e-5),
}
DAPS_LANGEVIN_MAIN = DAPS_LANGEVIN | {"nonlinear_deblur": Inner(200, 1e-5)}
# Variant "main", group pixel_hmc.
DAPS_HMC = {
    "default": Inner(12, 1.04e-4, 0.012, 0.90),  # ours: that of super-resolution
    "super_resolution": Inner(12, 1.04e-4, 0.012, 0.90),
    "gaussian_deblur": Inner(82, 4.04e-5, 0.011, 0.10),
    "motion_deblur": Inner(96, 3.69e-5, 0.01, 0.11),
    "box_inpainting": Inner(84, 1.15e-5, 0.014, 0.003),
    "random_inpainting": Inner(11, 3.56e-5, 0.015, 0.80),
    "phase_retrieval": Inner(62, 9.75e-6, 0.019, 0.73),
    "nonlinear_deblur": Inner(85, 1.20e-5, 0.012, 0.46),
    "hdr": Inner(100, 2.18e-5, 0.013, 0.23),
}


def settings_for(
    task: str,
    clock: Clock,
    *,
    variant: Literal["legacy", "main"] = "legacy",
    inner: Literal["langevin", "hmc"] = "langevin",
    levels: int = 200,
    ode_steps: int = 5,
    inner_steps: int | None = None,
    tau_y: float = TAU_Y,
) -> DAPSSettings:
    """The reference's settings for a task; shorter runs keep the grids' end points.

    Args:
      task: a key of the tables; others have their default.
      clock: the prior's; levels that it was not trained at are left out of the grids.
      variant: version of the reference: legacy is what the papers ran
      inner: inner sampler
      levels: annealing levels
      ode_steps: Euler steps per level
      inner_steps: inner updates per level (default: the task's)
      tau_y: standard deviation in the likelihood, such as the noise's; the inner step grows with it

    Raises:
      ValueError: a choice or a number that `DAPSSettings` or `daps_steps` refuses.
    """
    langevin = DAPS_LANGEVIN_MAIN if variant == "main" else DAPS_LANGEVIN
    row = published(DAPS_HMC if inner == "hmc" else langevin, task)
    names = "sigma_max", "sigma_min", "ode_sigma_min"
    ends = dict(zip(names, clock.within(FIRST_SIGMA, 0.1, 0.01), strict=True))
    grid: dict = {"variant": variant, "levels": levels, "ode_steps": ode_steps} | ends
    return DAPSSettings(
        steps=daps_steps(**grid, lr=row.lr, lr_min_ratio=row.lr_min_ratio, tau_y=tau_y),
        tau_y=tau_y,
        momentum=row.momentum,
        variant=variant,
        inner=inner,
        inner_steps=row.steps if inner_steps is None else inner_steps,
    )

"""PnP-DM (Wu et al., NeurIPS 2024) on a pixel prior, with or without DiffStateGrad.

    for coupling rho_i, falling to rho_min:                split Gibbs sampling
        z ~ exp(-||A(z) - y||^2 / 2 tau_y^2 - ||z - x||^2 / 2 rho_i^2)
              exact, by the spectrum of A, where the operator has one
              else Langevin from z = x:    g = grad_z ||A(z) - y||^2 / 2 tau_y^2
                                           z <- z - lr (P(g) + (z - x) / rho_i^2) + sqrt(2 lr) noise
        x ~ p(x | z = x + rho_i noise)                     reverse diffusion from rho_i to 0

P comes from one SVD of x per outer step and projects the gradient of the likelihood: what it leaves
out keeps its Gaussian coupling to x. The exact step has no gradient to project. Two codes were
released: "public" is the authors', "inversebench" the benchmark's; `reverse` has their slips.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dsg_jax.checks import POSITIVE, UPDATES, check_choice, check_fields, check_number
from dsg_jax.clock import Clock
from dsg_jax.plug_ins import Guidance
from dsg_jax.solvers.guidance import misfit, prior_for, published, residual, step_info
from dsg_jax.solvers.inner import TAU_Y, Level, gaussian_draw, guided_chain
from dsg_jax.solvers.reverse import ReverseGrid, inversebench_grid, public_grid, reverse
from dsg_jax.types import Constants, Draw, Info, Prior, Problem, Solver

Form = Literal["public", "inversebench"]
Mode = Literal["vp_sde", "ve_sde", "edm_sde", "iddpm_sde", "vp", "ve", "edm", "iddpm"]
# A likelihood narrower than this counts as this: float32 has no more.
LEAST_TAU_Y = 1e-4


class PnPDMSteps(NamedTuple):
    """Constants of the outer steps; leading axis = outer step.

    Attributes:
      level: number of the step.
      rho: standard deviation of the coupling of z and x.
      first: where the prior step starts in its grid.
      draws: of all prior steps before.
    """

    level: Constants
    rho: Constants
    first: Constants
    draws: Constants


def pnpdm_steps(
    form: str,
    grid: ReverseGrid,
    *,
    levels: int = 100,
    rho_max: float = 10.0,
    rho_min: float = 0.3,
    decay: float = 0.9,
) -> PnPDMSteps:
    """rho_i = max(rho_max decay^i, rho_min), and where the prior step starts.

    The state has noise rho_i. "public" starts at the first level strictly below, "inversebench" at
    the last one that is not below.

    Raises:
      ValueError: another form, no levels, or a coupling beyond the grid's levels.
    """
    check_choice("form", form, get_args(Form))
    check_number("levels", levels, UPDATES)
    sigma = grid.sigma.astype(np.float64)
    if not rho_max <= sigma[0] * (1 + 1e-6):
        raise ValueError(
            f"rho_max={rho_max:g}: give at most the highest noise level of the prior step,"
            f" {sigma[0]:.4g}"
        )
    if not sigma[-1] < rho_min <= rho_max:
        raise ValueError(
            f"rho_min={rho_min:g}: give one above the lowest noise level of the prior step,"
            f" {sigma[-1]:.4g}, and of at most {rho_max:.4g}"
        )
    rho = np.maximum(rho_max * decay ** np.arange(levels), rho_min)
    below = np.sum(sigma >= rho[:, None], axis=1)
    first = below if form == "public" else np.maximum(below - 1, 0)
    count = np.count_nonzero(grid.noise) and len(sigma) - (form == "public") - first
    draws = np.cumsum(np.append(0, count * np.ones(levels, int)))[:-1]
    return PnPDMSteps(np.arange(levels), rho.astype(np.float32), first, draws)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class PnPDMSettings:
    """What PnP-DM is told; `settings_for` has the published values.

    Attributes:
      steps: `pnpdm_steps(...)` of the same grid.
      grid: of the prior step, by `reverse.public_grid` or `reverse.inversebench_grid`.
      lr: Langevin's step, > 0. Below the ``tau_y`` of `inner.TAU_Y`, for which it was chosen, it
        shrinks with tau_y^2: the codes' would diverge.
      tau_y: standard deviation of the likelihood, > 0; None is the problem's ``sigma``.
      likelihood: "auto", exact where the operator has a spectrum, or "langevin".
      inner_steps: Langevin updates per outer step, >= 1.
      project_coupling: project the gradient's whole, as DAPS does; the complement then walks at
        random, by sqrt(2 lr inner_steps).
    """

    steps: PnPDMSteps
    grid: ReverseGrid
    lr: Array | float = 1e-4
    tau_y: Array | float | None = None
    likelihood: Literal["auto", "langevin"] = field(default="auto", metadata={"static": True})
    inner_steps: int = field(default=100, metadata={"static": True})
    project_coupling: bool = field(default=False, metadata={"static": True})

    def __post_init__(self) -> None:
        check_fields(self, lr=POSITIVE, tau_y=POSITIVE, inner_steps=UPDATES)


def pnpdm(prior: Prior, problem: Problem, projection: Guidance, settings: PnPDMSettings) -> Solver:
    """PnP-DM as a `Solver`; the state is x (h, w, c), of no noise.

    Args:
      prior: over pixels; variance values are dropped and nothing is clipped.
      problem: measurement to explain, and its noise, which the likelihood has unless told another.
      projection: None for plain PnP-DM.
      settings: couplings, and the samplers of z and x.

    Departs from the references: a sample that is not finite is reported in `Info`, not zeroed.

    Raises:
      ValueError: a projection where z is drawn exactly, or steps that start above the prior's
        noise levels.
    """
    exact = settings.likelihood == "auto" and problem.operator.spectral is not None
    if exact and projection is not None:
        raise ValueError(
            "pnpdm draws exactly from the likelihood of this operator and follows no gradient to"
            " project or smooth: give --likelihood langevin, or --projection none alone"
        )
    prior = prior_for(problem, prior, settings.grid.sigma[settings.steps.first[0]])
    tau_y = jnp.maximum(problem.sigma if settings.tau_y is None else settings.tau_y, LEAST_TAU_Y)
    lr = settings.lr * jnp.minimum(1, (tau_y / TAU_Y) ** 2)
    updates = 0 if exact else settings.inner_steps

    def likelihood(z: Array) -> Array:
        difference = residual(problem, z)
        return jnp.sum(difference * difference) / (2 * tau_y**2)

    def langevin(draw: Draw, level: Level):
        slope, coupling = jax.grad(likelihood), lambda z: (z - level.x) / level.sigma**2
        whole = lambda z: slope(z) + coupling(z)
        gradient, pull = (whole, None) if settings.project_coupling else (slope, coupling)
        return guided_chain(gradient, projection, level, draw, updates, pull=pull)

    def step(draw: Draw, x: Array, at: PnPDMSteps) -> tuple[Array, Info]:
        level = Level(x, x, at.rho, lr, at.level * max(updates, 1) + at.draws)
        if exact:
            z, rank, share = gaussian_draw(problem, level, draw, tau_y)
        else:
            z, rank, share = langevin(draw, level)
        next_draw = level.first_draw + max(updates, 1)
        x = reverse(prior, settings.grid, z, at.first, draw, next_draw)
        return x, step_info(misfit(problem, x), rank, share, x, updates)

    init = jnp.zeros_like if exact else lambda noise: noise
    return Solver(init=init, step=step, steps=settings.steps, image=lambda x: x)


# Langevin's step, `tasks/*` of the public code and the benchmark's configuration.
PNPDM_LR = {
    "default": 1e-4,
    "hdr": 2e-5,  # ours: a fifth, as DAPS', for x -> 2 x curves the likelihood four times as much
}
# Where the coupling ends in the public code's scripts.
PNPDM_RHO_MIN = {"default": 0.3, "phase_retrieval": 0.1}
# Couplings' number and factor. The benchmark also has a likelihood of its own and ends at 0.1.
PNPDM_LEVELS = {"public": 100, "inversebench": 200}
_DECAY = 0.9
# Levels of ADM's network, between which the public code's grids lie, the lower one rounded as its
# float32 does; and the benchmark's own.
PNPDM_ENDS = {"public": (152.167, 0.010484), "inversebench": (100.0, 0.01)}


def settings_for(
    task: str,
    clock: Clock,
    *,
    form: Form = "public",
    likelihood: Literal["auto", "langevin"] | None = None,
    mode: Mode | None = None,
    levels: int | None = None,
    reverse_steps: int = 100,
    inner_steps: int = 100,
    rho_min: float | None = None,
    step_factor: float = 1.0,
    corrected: bool = False,
    project_coupling: bool = False,
) -> PnPDMSettings:
    """The references' settings for a task; shorter runs keep the couplings' end points.

    Args:
      task: a key of the tables; others have their default.
      clock: the prior's; levels that it was not trained at are left out of the grids.
      form: of the method, the authors' code or the benchmark's
      likelihood: of the public form: auto: exact where the operator has a spectrum, else langevin
        (default: auto)
      mode: reverse diffusion of the public form: a schedule, as an SDE or ODE (default: vp_sde)
      levels: outer steps (default: the form's, 100 or 200)
      reverse_steps: points of the reverse diffusion's grid
      inner_steps: inner updates per level
      rho_min: last coupling of image and estimate (default: the task's; inversebench: 0.1)
      step_factor: multiply the guidance step by this
      corrected: without the slips of the released codes in the reverse diffusion
      project_coupling: project the pull towards the last image too

    Raises:
      ValueError: a choice or a number that is not allowed, or one that the benchmark's form lacks.
    """
    check_choice("form", form, get_args(Form))
    public = form == "public"
    for name, value in {"mode": mode, "likelihood": likelihood}.items():
        if value is not None and not public:
            raise ValueError(f"{name}={value!r} is of form='public', {form} has its own: drop one")
    ends: tuple = clock.within(*PNPDM_ENDS[form])
    if public:
        grid = public_grid(mode or "vp_sde", reverse_steps, ends, corrected=corrected)
    else:
        grid = inversebench_grid(reverse_steps, ends, corrected=corrected)
    count = PNPDM_LEVELS[form]
    levels = count if levels is None else levels
    check_number("levels", levels, UPDATES)
    lowest = published(PNPDM_RHO_MIN, task) if public else 0.1
    return PnPDMSettings(
        steps=pnpdm_steps(
            form,
            grid,
            levels=levels,
            rho_max=min(10.0, float(grid.sigma[0])),
            rho_min=lowest if rho_min is None else rho_min,
            decay=_DECAY ** (count / levels),
        ),
        grid=grid,
        lr=step_factor * published(PNPDM_LR, task),
        tau_y=None if public else TAU_Y,
        likelihood=likelihood or ("auto" if public else "langevin"),
        inner_steps=inner_steps,
        project_coupling=project_coupling,
    )

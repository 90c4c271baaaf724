"""RED-diff (Mardani et al., ICLR 2024) on a pixel prior, with or without DiffStateGrad.

    mu = 0
    for sigma from the highest level down:
        y_sigma = mu + sigma noise
        e       = (y_sigma - E[x0 | y_sigma]) / sigma           the network, not differentiated
        G       = w P(grad ||A(mu) - y||^2) + lambda (e - noise)
        mu      = Adam(mu, G)                                   one Adam for the whole run
    x = mu

P comes from the SVD of mu, and is of the measurement's gradient alone, before Adam; the first step
has mu = 0, no subspace, and is not projected. This is InverseBench's code. It gives the denoiser
y_sigma / sqrt(1 + sigma^2), which scales its input once more: `scaling="twice"`.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from dsg_jax.checks import NOT_NEGATIVE, POSITIVE, check_fields
from dsg_jax.clock import Clock
from dsg_jax.diffusion import denoise
from dsg_jax.plug_ins import Guidance
from dsg_jax.projection import full_rank
from dsg_jax.schedule import VP_ENDS, vp_levels
from dsg_jax.solvers.guidance import misfit, prior_for, project_step, step_info
from dsg_jax.types import Constants, Draw, Info, Prior, Problem, Solver


class REDDiffSteps(NamedTuple):
    """Constants of the steps, high noise first; (N,) float32 computed in float64."""

    step: Constants
    sigma: Constants
    scale: Constants


def red_diff_steps(steps: int = 1000, ends: tuple[float, ...] = VP_ENDS) -> REDDiffSteps:
    """The levels of `schedule.vp_levels` from the first of ``ends`` to the second.

    Raises:
      ValueError: no steps, or more than there is memory for.
    """
    sigma = vp_levels(steps, *ends)[:-1]
    return REDDiffSteps(np.arange(steps), *map(np.float32, (sigma, 1 / np.sqrt(1 + sigma**2))))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class REDDiffSettings:
    """What RED-diff is told; `settings_for` has the published values.

    Attributes:
      steps: `red_diff_steps(...)`.
      learning_rate: Adam's, > 0.
      observation_weight: w, >= 0.
      regularisation: lambda, >= 0.
      schedule: "constant", or "linear" for lambda sigma in the place of lambda.
      scaling: how often the denoiser's input is scaled by 1 / sqrt(1 + sigma^2): "once" is the
        formula, "twice" the released code.
    """

    steps: REDDiffSteps
    learning_rate: Array | float = 0.02
    observation_weight: Array | float = 1.0
    regularisation: Array | float = 0.25
    schedule: Literal["constant", "linear"] = field(default="constant", metadata={"static": True})
    scaling: Literal["once", "twice"] = field(default="once", metadata={"static": True})

    def __post_init__(self) -> None:
        check_fields(self, learning_rate=POSITIVE)
        check_fields(self, observation_weight=NOT_NEGATIVE, regularisation=NOT_NEGATIVE)


class REDDiffState(NamedTuple):
    """The image mu (h, w, c), and Adam's moments of it."""

    mu: Array
    moments: optax.OptState


def red_diff(
    prior: Prior, problem: Problem, projection: Guidance, settings: REDDiffSettings
) -> Solver:
    """RED-diff as a `Solver`; the state is a `REDDiffState`.

    Args:
      prior: over pixels; variance values are dropped and x0_hat is not clipped.
      problem: measurement to explain; its ``sigma`` is not used.
      projection: None for plain RED-diff.
      settings: levels, and the weights of the two terms.

    Raises:
      ValueError: steps that start above the prior's noise levels.
    """
    prior = prior_for(problem, prior, settings.steps.sigma[0])
    # Given Python floats, optax rounds 1 - b after the subtraction, see `resample.fit`.
    adam = optax.adam(settings.learning_rate, jnp.float32(0.9), jnp.float32(0.99))

    def predicted_noise(y: Array, at: REDDiffSteps) -> Array:
        y = at.scale * y if settings.scaling == "twice" else y
        return (y - denoise(prior, y, at.sigma)) / at.sigma

    def step(draw: Draw, state: REDDiffState, at: REDDiffSteps) -> tuple[REDDiffState, Info]:
        mu, noise = state.mu, draw(at.step, state.mu.shape)
        pull = settings.regularisation * (predicted_noise(mu + at.sigma * noise, at) - noise)
        pull = at.sigma * pull if settings.schedule == "linear" else pull
        whole = jax.grad(lambda mu: misfit(problem, mu) ** 2)(mu)
        of_no_subspace = whole, full_rank(mu.shape), jnp.ones(())
        projected = project_step(projection, draw, at.step, mu, whole)
        gradient, rank, share = jax.tree.map(
            lambda raw, new: jnp.where(jnp.any(mu != 0), new, raw), of_no_subspace, projected
        )
        gradient = settings.observation_weight * gradient + pull
        change, moments = adam.update(gradient, state.moments)
        norm, mu = misfit(problem, mu), mu + change
        return REDDiffState(mu, moments), step_info(norm, rank, share, mu)

    init = lambda noise: REDDiffState(jnp.zeros_like(noise), adam.init(noise))
    return Solver(init=init, step=step, steps=settings.steps, image=lambda state: state.mu)


def settings_for(
    task: str,
    clock: Clock,
    *,
    steps: int = 1000,
    learning_rate: float = 0.02,
    observation_weight: float = 1.0,
    regularisation: float = 0.25,
    schedule: Literal["constant", "linear"] = "constant",
    scaling: Literal["once", "twice"] = "once",
) -> REDDiffSettings:
    """InverseBench's settings, the same for every task, but for the scaling.

    Args:
      task: any.
      clock: the prior's; levels that it was not trained at are left out of the grid.
      steps: noise levels, each an update of the image
      learning_rate: of Adam
      observation_weight: weight of the measurement
      regularisation: weight of the prior
      schedule: of that weight: constant, or growing as the noise level
      scaling: of the denoiser's input: once is the formula, twice the released code

    Raises:
      ValueError: a number that is not allowed.
    """
    del task
    return REDDiffSettings(
        steps=red_diff_steps(steps, clock.within(*VP_ENDS)),
        learning_rate=learning_rate,
        observation_weight=observation_weight,
        regularisation=regularisation,
        schedule=schedule,
        scaling=scaling,
    )

"""SITCOM (Alkhouri et al., ICML 2025) on a pixel prior, with or without DiffStateGrad.

    for t = (N-1) c, .., c, 0               c = floor(T / N)
        v = x_t
        up to K times:                      the input of the network is what is optimised
            x0_hat = clip(E[x0 | v])
            L      = ||A(x0_hat) - y||^2
            stop if the noise alone explains L
            v      = Adam(v, P(grad_v L))   P from the SVD of x_t, Adam starts anew at every t
        inpainting: x0_hat = clip(x0_hat - s grad ||A(x0_hat) - y||^2)
        x_t-c  = sqrt(alpha_bar) x0_hat + sqrt(1 - alpha_bar) noise
    x = x0_hat of the last step

P comes before Adam's moments, so that the update itself leaves the subspace; the extra step is not
projected. x0_hat belongs to v before its last update, which is never used. Released are the script
with noise, above, and one without, which takes the norm itself, never stops and has no extra step.
Both save the x0_hat of the run that is nearest to the truth: that is no part of the method.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike

from dsg_jax.checks import NOT_NEGATIVE, POSITIVE, UPDATES, check_fields
from dsg_jax.clock import Clock
from dsg_jax.diffusion import clip_unit, predict
from dsg_jax.plug_ins import Guidance, begin, follow, rank_of
from dsg_jax.solvers.guidance import (
    gradient_share,
    misfit,
    prior_for,
    published,
    step_info,
)
from dsg_jax.types import Constants, Draw, Info, Prior, Problem, Solver

_DRAWS = 3  # a placeholder, noise of the same level, and that of the next one, which alone is used
_MARGIN = 0.001  # what the stop allows above the noise level


class SITCOMSteps(NamedTuple):
    """Constants of the outer steps, high noise first; (N,) float32 computed in float64.

    Attributes:
      signal: sqrt(alpha_bar) of x_t, ``noise`` its sqrt(1 - alpha_bar).
      next_signal: the same of x_t-c, and of x_0 at the end, where the time would be below 0.
    """

    step: Constants
    time: Constants
    signal: Constants
    noise: Constants
    next_signal: Constants
    next_noise: Constants


def sitcom_steps(betas: ArrayLike, steps: int = 20) -> SITCOMSteps:
    """The constants of ``steps`` outer steps; the first time is T - c, not T - 1.

    Raises:
      ValueError: no steps, or more than the schedule has times.
    """
    alpha_bar = np.cumprod(1 - np.asarray(betas, np.float64))
    if not 1 <= steps <= len(alpha_bar):
        raise ValueError(f"steps={steps}: SITCOM's schedule allows 1 to {len(alpha_bar)}")
    stride = len(alpha_bar) // steps
    times = stride * np.arange(steps)[::-1]
    here, after = alpha_bar[times], alpha_bar[np.maximum(times - stride, 0)]
    parts = (np.float32(np.sqrt(a)) for a in (here, 1 - here, after, 1 - after))
    return SITCOMSteps(np.arange(steps), times, *parts)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class SITCOMSettings:
    """What SITCOM is told; `settings_for` has the published values.

    Attributes:
      steps: `sitcom_steps(...)` of the prior's betas.
      learning_rate: Adam's, > 0.
      noise_level: standard deviation of y's noise, >= 0, by which an optimisation stops: below
        (noise_level + 0.001)^2 for every entry of y. None is the problem's sigma. The holes of a
        mask count, as in the script: where y has no noise there, give the level times the root of
        the share that is seen.
      pixel_step: s, >= 0, the weight of the extra step; 0 leaves it out.
      script: "noise" or "noise_free", the released scripts. Without noise there is no stop.
      inner_steps: K, evaluations of the network at every t at most.
    """

    steps: SITCOMSteps
    learning_rate: Array | float = 0.02
    noise_level: Array | float | None = None
    pixel_step: Array | float = 0.0
    script: Literal["noise", "noise_free"] = field(default="noise", metadata={"static": True})
    inner_steps: int = field(default=30, metadata={"static": True})

    def __post_init__(self) -> None:
        check_fields(self, learning_rate=POSITIVE, inner_steps=UPDATES)
        check_fields(self, noise_level=NOT_NEGATIVE, pixel_step=NOT_NEGATIVE)


class SITCOMState(NamedTuple):
    """x_t (h, w, c), and the x0_hat of the step that made it: the restored image at the end."""

    x: Array
    x0: Array


class _Search(NamedTuple):
    """An optimisation of v; after a stop the updates are one less than the evaluations.

    Attributes:
      x0: x0_hat before the last update.
      told: ranks and ||P(G)|| / ||G|| of the last update.
    """

    v: Array
    moments: optax.OptState
    memory: Any
    x0: Array
    evaluations: Array
    updates: Array
    told: tuple[Array, Array]


def sitcom(
    prior: Prior, problem: Problem, projection: Guidance, settings: SITCOMSettings
) -> Solver:
    """SITCOM as a `Solver`; the state is a `SITCOMState`.

    Args:
      prior: over pixels; variance values are dropped.
      problem: measurement to explain; its ``sigma`` says when to stop, unless the settings do.
      projection: None for plain SITCOM; its period counts updates of v.
      settings: constants of the steps and the optimisation.

    Departs from the reference: a sample stops by itself, not with its batch.

    Raises:
      ValueError: steps that start above the prior's noise levels.
    """
    prior = prior_for(problem, prior, settings.steps.noise[0] / settings.steps.signal[0])
    noise_free = settings.script == "noise_free"
    level = problem.sigma if settings.noise_level is None else settings.noise_level
    enough = -1.0 if noise_free else (level + _MARGIN) ** 2 * problem.y.size
    # Given Python floats, optax rounds 1 - b after the subtraction, see `resample.fit`.
    adam = optax.adam(settings.learning_rate, jnp.float32(0.9), jnp.float32(0.999))

    def loss(v: Array, at: SITCOMSteps) -> tuple[Array, Array]:
        eps, _ = predict(prior, v, at.time)
        x0 = clip_unit((v - at.noise * eps) / at.signal)
        norm = misfit(problem, x0)
        return norm if noise_free else norm**2, x0

    def search(x: Array, memory: Any, at: SITCOMSteps) -> _Search:
        def evaluate(s: _Search) -> _Search:
            (value, x0), g = jax.value_and_grad(loss, has_aux=True)(s.v, at)
            projected, memory, rank = follow(projection, s.memory, s.evaluations, g)
            change, moments = adam.update(projected, s.moments)
            moved = s.v + change, s.updates + 1, (rank, gradient_share(projected, g))
            stay_or_move = lambda old, new: jnp.where(value < enough, old, new)
            v, updates, told = jax.tree.map(stay_or_move, (s.v, s.updates, s.told), moved)
            return _Search(v, moments, memory, x0, s.evaluations + 1, updates, told)

        told, none = (rank_of(memory, x.shape), jnp.float32(1)), jnp.int32(0)
        first = _Search(x, adam.init(x), memory, x, none, none, told)
        more = lambda s: (s.evaluations < settings.inner_steps) & (s.evaluations == s.updates)
        return jax.lax.while_loop(more, evaluate, first)

    def step(draw: Draw, state: SITCOMState, at: SITCOMSteps) -> tuple[SITCOMState, Info]:
        result = search(state.x, begin(projection, draw, at.step, state.x), at)
        pull = jax.grad(lambda x0: misfit(problem, x0) ** 2)(result.x0)
        x0 = clip_unit(result.x0 - settings.pixel_step * pull)
        x = at.next_signal * x0 + at.next_noise * draw(_DRAWS * at.step + 2, x0.shape)
        return SITCOMState(x, x0), step_info(misfit(problem, x0), *result.told, x, result.updates)

    init = lambda noise: SITCOMState(noise, noise)
    return Solver(init=init, step=step, steps=settings.steps, image=lambda state: state.x0)


# Weight of the extra step: `conditioning.params.scale` of the scripts' YAML files. Only the script
# for noise inpaints, and it takes the step for no other task.
SITCOM_PIXEL_STEP = {"default": 0.0, "box_inpainting": 0.5, "random_inpainting": 0.5}


def settings_for(
    task: str,
    clock: Clock,
    *,
    script: Literal["noise", "noise_free"] = "noise",
    steps: int = 20,
    inner_steps: int = 30,
    learning_rate: float = 0.02,
    noise_level: float | None = None,
    pixel_step: float | None = None,
) -> SITCOMSettings:
    """The reference's settings for a task.

    Args:
      task: a key of `SITCOM_PIXEL_STEP`; others have its default.
      clock: the prior's; its VP times are the schedule.
      script: released script, for measurements with noise or without
      steps: outer steps
      inner_steps: evaluations of the network per outer step at most
      learning_rate: of Adam
      noise_level: noise at which an optimisation stops (default: sigma; the script: 0.05)
      pixel_step: weight of a step on the pixels themselves (default: 0.5 for inpainting, else 0)

    Raises:
      ValueError: steps that the schedule does not allow, or a noise_level without a stop.
    """
    noise_free = script == "noise_free"
    if noise_free and noise_level is not None:
        raise ValueError(
            f"noise_level={noise_level}: script='noise_free' never stops, drop one of them"
        )
    default = 0.0 if noise_free else published(SITCOM_PIXEL_STEP, task)
    return SITCOMSettings(
        steps=sitcom_steps(clock.betas, steps),
        learning_rate=learning_rate,
        noise_level=noise_level,
        pixel_step=default if pixel_step is None else pixel_step,
        script=script,
        inner_steps=inner_steps,
    )

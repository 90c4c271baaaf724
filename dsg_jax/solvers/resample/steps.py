"""The constants of ReSample's outer steps: which are followed by an optimisation, and of what."""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from dsg_jax.solvers.ddim import DDIMSteps, ddim_steps
from dsg_jax.types import Constants

# DDIM steps of one time travel.
TRAVEL = 5
NONE, PIXEL_STAGE, LATENT_STAGE = 0, 1, 2
_GAMMA = 40.0


class ReSampleSteps(NamedTuple):
    """Constants of the N outer steps, high noise first; leading axis = outer step.

    Attributes:
      number: 0 .. N-1.
      travel: (N, TRAVEL + 1) the DDIM constants from the step's own index downwards.
      stage: what is optimised after the step: `NONE`, `PIXEL_STAGE` or `LATENT_STAGE`.
      s: variance of the stochastic resampling, gamma (1 - p) / (1 - a) (1 - a / p), gamma = 40.
      first_draw: number of the step's first draw.
    """

    number: Constants
    ddim: DDIMSteps
    travel: DDIMSteps
    stage: Constants
    s: Constants
    first_draw: Constants


def resample_steps(betas: ArrayLike, count: int = 500, *, every: int = 10) -> ReSampleSteps:
    """The outer steps of ReSample on ``count`` DDIM times of a schedule.

    With N steps, index i counting down to 0, an optimisation follows where 0 < i <= N - N // 3 and
    ``every`` divides i: of the image while i >= N // 3, of the latent below. For 500 steps these
    are 330, 320, ..., 10, the last 16 of them on the latent.

    An outer step takes one draw; an optimised one `TRAVEL` more for its time travel and one for the
    resampling. At eta = 0 only the last is not multiplied by zero.

    Args:
      betas: (T,) of the prior's clock.
      count: see `ddim_steps`.
      every: distance of the optimised indices.

    Raises:
      ValueError: a ``count`` without DDIM times, or ``every`` < `TRAVEL`.
    """
    if every < TRAVEL:
        raise ValueError(f"every={every}: the time travel takes {TRAVEL} steps, give at least that")
    ddim = ddim_steps(betas, count)
    total = len(ddim.index)
    number, split = np.arange(total), total // 3
    chosen = (ddim.index > 0) & (ddim.index <= total - split) & (ddim.index % every == 0)
    stage = np.where(chosen, np.where(ddim.index >= split, PIXEL_STAGE, LATENT_STAGE), NONE)
    draws = np.where(chosen, 1 + TRAVEL + 1, 1)
    below = np.minimum(number[:, None] + np.arange(TRAVEL + 1), total - 1)
    a, p = ddim.a, ddim.a_prev
    return ReSampleSteps(
        number=number,
        ddim=ddim,
        travel=DDIMSteps(*(values[below] for values in ddim)),
        stage=stage,
        s=np.float32(_GAMMA) * (1 - p) / (1 - a) * (1 - a / p),
        first_draw=np.cumsum(draws) - draws,
    )


def even_counts(steps: ReSampleSteps, pixel: int, latent: int) -> np.ndarray:
    """(N + 1,) frozen counts for `resample`: ``pixel`` or ``latent`` at each stage and at the end.

    A batch whose samples all make the same number of updates leaves no sample waiting.
    """
    return np.append(np.array([0, pixel, latent])[np.asarray(steps.stage)], latent)

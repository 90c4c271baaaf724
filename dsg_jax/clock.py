"""A prior's clock: when its network is asked, in what scaling, and what it answers.

One noisy image y = x0 + sigma n has three scalings; sigma is the ratio of noise to signal:

    VE      y                            EDM (Karras et al. 2022), NCSN++
    VP      x = y / sqrt(1 + sigma^2)    ADM, DDPM, latent diffusion: alpha_bar = 1 / (1 + sigma^2)
    flow    z = y / (1 + sigma)          SD3, FLUX: z = (1 - s) x0 + s n, s = sigma / (1 + sigma)

Solvers count time in VP: step t of `Clock.betas`. Of a VP network that is its own time. The others
know levels alone, and `vp_betas` spreads the solvers' times over the levels they were trained at.
`diffusion` asks the network by this and converts what it answers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from dsg_jax.checks import check_choice
from dsg_jax.schedule import BETA_D, BETA_MIN, linear_betas, vp_betas
from dsg_jax.times import adm_level, adm_time, edm_time, flow_time, table_level, table_time

Times = Callable[[Array, Array], Array]
Levels = Callable[[Array, Array], tuple[Array, Array]]

# What a network answers; `diffusion` has the formulas. "ve" is -n of a VE state (NCSN++), "edm" the
# mixture of Karras et al. 2022, "flow" the velocity n - x0.
Prediction = Literal["eps", "v", "x0", "edm", "ve", "flow"]
PREDICTIONS: tuple[str, ...] = get_args(Prediction)
_SCALINGS = dict(zip(PREDICTIONS, ("vp", "vp", "vp", "ve", "ve", "flow"), strict=True))

_static: Any = partial(field, metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Clock:
    """The noise levels of a prior, and how its network is asked at them.

    Attributes:
      betas: (T,) float32 in (0, 1), variances of a forward process: the solvers' times 0..T-1.
      times: betas and () sigma -> () time of the network.
      levels: betas and () VP time -> () sigma, and () alpha_bar = 1 / (1 + sigma^2).
      sigma_min: lowest level that the network was trained at. The ends of solvers' grids may lie
        below; a table's network then takes its time 0.
      sigma_max: highest level that it was trained at; no solver starts above.
      prediction: what the network answers.
      sigma_data: standard deviation of the images that EDM's coefficients assume.
    """

    betas: Array
    times: Times = _static()
    levels: Levels = _static()
    sigma_min: float = _static()
    sigma_max: float = _static()
    prediction: Prediction = _static(default="eps")
    sigma_data: float = _static(default=0.5)

    @property
    def scaling(self) -> Literal["vp", "ve", "flow"]:
        """Of the state that the network takes."""
        return _SCALINGS[self.prediction]  # type: ignore[return-value]

    def within(self, *sigmas: float) -> tuple[float, ...]:
        """The levels, those outside the trained range moved to its ends."""
        return tuple(min(max(sigma, self.sigma_min), self.sigma_max) for sigma in sigmas)

    def time(self, sigma: Array) -> Array:
        """The network's time of a noise level."""
        return self.times(self.betas, sigma)

    def sigma(self, t: Array) -> Array:
        """The noise level of a VP time, possibly fractional."""
        return self.levels(self.betas, t)[0]

    def alpha_bar(self, t: Array) -> Array:
        """1 / (1 + sigma^2) at a VP time, precise where it is small too."""
        return self.levels(self.betas, t)[1]


def adm_clock(prediction: Prediction = "eps") -> Clock:
    """ADM's 1000 linear betas with the closed form of their SDE; also EDM's "VP" preconditioning.

    Levels are asked for in closed form, as DAPS does; steps are those of the table, as DPS's.

    Raises:
      ValueError: another prediction than "eps" and "v".
    """
    check_choice("parametrisation", prediction, ("eps", "v"))
    ends = 0.01, math.sqrt(math.expm1(BETA_MIN + BETA_D / 2))
    return _clock(linear_betas(), adm_time, adm_level, ends, prediction)


def table_clock(
    betas: ArrayLike, prediction: Prediction = "eps", *, times: Times = table_time
) -> Clock:
    """The clock of a network trained at the T times of a table of variances.

    Args:
      betas: (T,); a 1, of zero terminal signal, counts as 0.999.
      prediction: "eps", "v" or "x0".
      times: `times.table_time`, or `times.nearest_time` for iDDPM's networks.

    Raises:
      ValueError: other variances, or no such prediction.
    """
    check_choice("parametrisation", prediction, ("eps", "v", "x0"))
    betas = np.minimum(np.asarray(betas, np.float64), 0.999)
    if betas.ndim != 1 or len(betas) < 2 or not (betas > 0).all():
        raise ValueError(f"betas of shape {betas.shape}: give at least two variances in (0, 1]")
    stored = betas.astype(np.float32).astype(np.float64)
    sigmas = np.sqrt(np.expm1(-np.cumsum(np.log1p(-stored))))
    return _clock(betas, times, table_level, (sigmas[0], sigmas[-1]), prediction)


def edm_clock(
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    prediction: Prediction = "edm",
    *,
    sigma_data: float = 0.5,
    times: Times = edm_time,
) -> Clock:
    """The clock of a network of VE states: EDM's, the consistency models' and NCSN++'s.

    Args:
      sigma_min: lowest level; 0.02 for NCSN++.
      sigma_max: highest level; 100 for NCSN++.
      prediction: "edm", or "ve" for NCSN++.
      sigma_data: as in `Clock`.
      times: `times.edm_time`; `times.consistency_time` for the ADMs of the consistency models,
        `times.ve_time` for NCSN++.

    Raises:
      ValueError: not 0 < sigma_min < sigma_max, or no such prediction.
    """
    check_choice("parametrisation", prediction, ("edm", "ve"))
    ends = sigma_min, sigma_max
    return _clock(vp_betas(*ends), times, table_level, ends, prediction, sigma_data)


def flow_clock(sigma_min: float = 1e-3, sigma_max: float = 999.0) -> Clock:
    """The clock of a network that answers the velocity n - x0 at the time 1000 s (SD3, FLUX).

    A shift of the times (SD3's 3) moves sampling grids, and not the prior.

    Raises:
      ValueError: not 0 < sigma_min < sigma_max.
    """
    ends = sigma_min, sigma_max
    return _clock(vp_betas(*ends), flow_time, table_level, ends, "flow")


def clock_of(schedule: Clock | ArrayLike) -> Clock:
    """A clock as it is; of (T,) variances, ADM's if they are ADM's, else that of their table."""
    if isinstance(schedule, Clock):
        return schedule
    betas, adm = np.asarray(schedule, np.float64), linear_betas()
    is_adm = betas.shape == adm.shape and np.allclose(betas, adm, rtol=1e-6, atol=0)
    return adm_clock() if is_adm else table_clock(betas)


def _clock(
    betas: np.ndarray,
    times: Times,
    levels: Levels,
    ends: tuple[float, float],
    prediction: Prediction,
    sigma_data: float = 0.5,
) -> Clock:
    return Clock(
        betas=jnp.asarray(betas, jnp.float32),
        times=times,
        levels=levels,
        sigma_min=float(ends[0]),
        sigma_max=float(ends[1]),
        prediction=prediction,
        sigma_data=sigma_data,
    )

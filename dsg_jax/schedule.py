"""Noise schedules: variances by name, and the sigma grids of DAPS. Host-side numpy in float64."""

from collections.abc import Callable

import numpy as np

from dsg_jax.checks import UPDATES, check_number

# The variance-preserving SDE behind ADM's betas: log(1 + sigma^2) = BETA_MIN u + BETA_D u^2 / 2 at
# the SDE's time u in [0, 1].
BETA_MIN, BETA_D = 0.1, 19.9


def linear_betas(start: float = 1e-4, end: float = 0.02, steps: int = 1000) -> np.ndarray:
    """beta_t, linear (Ho et al. 2020); the defaults are ADM's; (steps,) float64."""
    return np.linspace(start, end, steps)


def scaled_linear_betas(
    start: float = 0.0015, end: float = 0.0195, steps: int = 1000
) -> np.ndarray:
    """Latent diffusion's beta_t, linear in the square root (Rombach et al. 2022); float64.

    The defaults are the FFHQ and ImageNet models'; Stable Diffusion has 0.00085 and 0.012.
    """
    return np.linspace(start**0.5, end**0.5, steps) ** 2


def cosine_betas(steps: int = 1000) -> np.ndarray:
    """IDDPM's beta_t (Nichol & Dhariwal 2021), capped at 0.999; diffusers' squaredcos_cap_v2."""
    f = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - f[1:] / f[:-1], 0.999)


def sigmoid_betas(start: float = 1e-4, end: float = 0.02, steps: int = 1000) -> np.ndarray:
    """Diffusers' beta_t of that name: the logistic curve from -6 to 6; (steps,) float64."""
    return start + (end - start) / (1 + np.exp(-np.linspace(-6, 6, steps)))


def zero_snr_betas(betas: np.ndarray) -> np.ndarray:
    """The beta_t that end in no signal at all (Lin et al. 2024), the last one 1; (steps,) float64.

    sqrt(alpha_bar) is shifted until its last value is 0, and scaled until its first is what it was.
    """
    root = np.sqrt(np.cumprod(1 - np.asarray(betas, np.float64)))
    alpha_bar = np.square((root - root[-1]) * root[0] / (root[0] - root[-1]))
    return 1 - alpha_bar / np.append(1.0, alpha_bar[:-1])


# Names of schedules in cards -> their functions.
SCHEDULES: dict[str, Callable[..., np.ndarray]] = {
    "linear": linear_betas,
    "scaled_linear": scaled_linear_betas,
    "cosine": cosine_betas,
    "sigmoid": sigmoid_betas,
}


def respaced_times(respacing: str, total: int) -> np.ndarray:
    """The times that guided-diffusion's ``timestep_respacing`` chooses of 0..total-1, ascending.

    Args:
      respacing: "ddim25": 25 times at equal whole distances from 0 on. "30,20,10": the schedule in
        three equal sections, of which so many times each, evenly from its first to its last.
      total: how many times the schedule has.

    Raises:
      ValueError: another form, no whole distance that gives so many, or more than there are.
    """
    kind, _, count = respacing.rpartition("ddim")
    counts = (count if "ddim" in respacing else respacing).split(",")
    if kind or not all(part.strip().isdecimal() for part in counts) or "0" in counts:
        raise ValueError(f"respacing={respacing!r}: give one like 'ddim25' or '30,20,10'")
    sections = [int(part) for part in counts]
    if "ddim" in respacing:
        ranges = (np.arange(0, total, stride) for stride in range(1, total))
        even = next((times for times in ranges if [len(times)] == sections), None)
        if even is None:
            raise ValueError(
                f"respacing={respacing!r}: no whole distance takes so many of {total} times"
            )
        return even
    times, start = [], 0
    for i, section in enumerate(sections):
        size = total // len(sections) + (i < total % len(sections))
        if section > size:
            raise ValueError(f"respacing={respacing!r}: section {i + 1} has {size} times only")
        place, stride = 0.0, (size - 1) / max(1, section - 1)
        for _ in range(section):  # added up, as the reference does: rounding decides at halves
            times.append(start + round(place))
            place += stride
        start += size
    return np.array(times)


def vp_betas(sigma_min: float, sigma_max: float, steps: int = 1000) -> np.ndarray:
    """VP steps from one noise level to another, even in the time of ADM's SDE; (steps,) float64.

    Published step sizes of DPS, PSLD and ReSample count on about that many steps at each level.

    Raises:
      ValueError: not 0 < sigma_min < sigma_max.
    """
    if not 0 < sigma_min < sigma_max < np.inf:
        raise ValueError(f"noise levels from {sigma_min} to {sigma_max}: give 0 < lowest < highest")
    first, last = sde_time(np.array([sigma_min, sigma_max]))
    u = np.linspace(first, last, steps)
    return -np.expm1(-np.diff(_sde_integral(u), prepend=0.0))


# Levels of ADM's SDE at its times 1 and 0.001, and InverseBench's last one.
VP_ENDS = 152.16697028394637, 0.010485992786702987, 0.01


def vp_levels(steps: int, sigma_max: float, sigma_min: float, sigma_end: float) -> np.ndarray:
    """InverseBench's "vp" grid, even in the time of ADM's SDE; (steps + 1,) float64.

    Raises:
      ValueError: no steps, or more than there is memory for.
    """
    check_number("steps", steps, UPDATES)
    first, last = sde_time(np.array([sigma_max, sigma_min]))
    u = np.linspace(first, last, steps)
    return np.append(sde_level(u), sigma_end)


def sde_level(u: np.ndarray) -> np.ndarray:
    """The noise levels of ADM's SDE at its times u in [0, 1]."""
    return np.sqrt(np.expm1(_sde_integral(u)))


def sde_time(sigma: np.ndarray) -> np.ndarray:
    """The time u in [0, 1] at which ADM's SDE has these noise levels."""
    return (np.sqrt(BETA_MIN**2 + 2 * BETA_D * np.log1p(sigma**2)) - BETA_MIN) / BETA_D


def _sde_integral(u: np.ndarray) -> np.ndarray:
    return BETA_MIN * u + BETA_D * u**2 / 2


def poly7(sigma_max: np.ndarray | float, sigma_min: float, points: np.ndarray) -> np.ndarray:
    """EDM's grid (Karras et al. 2022, rho = 7): sigma_max at point 0, sigma_min at point 1."""
    high, low = np.asarray(sigma_max) ** (1 / 7), sigma_min ** (1 / 7)
    return (high + points * (low - high)) ** 7


def daps_annealing(variant: str, levels: int, sigma_max: float, sigma_min: float) -> np.ndarray:
    """Annealing sigmas of DAPS with the final 0; (levels + 1,) float64.

    ``legacy`` ends its grid at sigma_min and appends 0; ``main`` replaces the grid's last point by
    0, so that its last positive level lies above sigma_min.
    """
    points = np.linspace(0, 1, levels if variant == "legacy" else levels + 1)
    sigma = poly7(sigma_max, sigma_min, points)
    return np.append(sigma if variant == "legacy" else sigma[:-1], 0.0)


def daps_ode_grid(variant: str, sigma: np.ndarray, steps: int, sigma_min: float) -> np.ndarray:
    """Sigmas of the probability-flow ODE from every level; (levels, steps + 1) float64.

    ``legacy`` takes its last Euler step from sigma_min to 0, ``main`` stops at sigma_min.
    """
    if variant == "legacy":
        grid = poly7(sigma[:, None], sigma_min, np.linspace(0, 1, steps))
        return np.concatenate([grid, np.zeros((len(sigma), 1))], axis=1)
    return poly7(sigma[:, None], sigma_min, np.linspace(0, 1, steps + 1))

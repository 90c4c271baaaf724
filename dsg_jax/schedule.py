"""Noise schedules: the ADM betas and the sigma grids of DAPS. Host-side numpy in float64."""

import numpy as np


def linear_betas(steps: int = 1000) -> np.ndarray:
    """ADM's beta_t, linear from 1e-4 to 0.02 (Ho et al. 2020); (steps,) float64."""
    return np.linspace(1e-4, 0.02, steps)


def scaled_linear_betas(
    start: float = 0.0015, end: float = 0.0195, steps: int = 1000
) -> np.ndarray:
    """Latent diffusion's beta_t, linear in the square root (Rombach et al. 2022); float64.

    The defaults are the FFHQ and ImageNet models'; Stable Diffusion has 0.00085 and 0.012.
    """
    return np.linspace(start**0.5, end**0.5, steps) ** 2


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

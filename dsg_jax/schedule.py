"""Noise schedules: the ADM betas and the sigma grids of DAPS. Host-side numpy in float64."""

import numpy as np


def linear_betas(steps: int = 1000) -> np.ndarray:
    """ADM's beta_t, linear from 1e-4 to 0.02 (Ho et al. 2020); (steps,) float64."""
    return np.linspace(1e-4, 0.02, steps)

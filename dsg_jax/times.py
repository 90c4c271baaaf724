"""Noise level to network time, and VP time to noise level: one formula for every family.

All take a schedule's betas (T,) first, used or not, because a `clock.Clock` holds one of each.
"""

import jax
import jax.numpy as jnp
from jax import Array

from dsg_jax.schedule import BETA_D, BETA_MIN


def adm_time(betas: Array, sigma: Array) -> Array:
    """ADM's fractional time of a noise level, 999 t(sigma), in closed form, as DAPS maps it."""
    del betas
    root = jnp.sqrt(BETA_MIN**2 + 2 * BETA_D * jnp.log1p(sigma**2))
    return 999 * (root - BETA_MIN) / BETA_D


def table_time(betas: Array, sigma: Array) -> Array:
    """The fractional time at which a schedule's own table has noise level sigma, clamped to it.

    Interpolates log sigma between the T times.
    """
    return jnp.interp(jnp.log(sigma), _log_sigmas(betas), jnp.arange(len(betas), dtype=jnp.float32))


def nearest_time(betas: Array, sigma: Array) -> Array:
    """The whole time of the table whose level is nearest; -1 if that is no noise at all (iDDPM)."""
    grid = jnp.append(jnp.zeros(1), jnp.exp(_log_sigmas(betas)))
    return jnp.argmin(jnp.abs(grid - sigma)).astype(jnp.float32) - 1


def scaled_linear_time(betas: Array, sigma: Array) -> Array:
    """The network time T t(sigma) that DAPS gives Stable Diffusion; not clamped to the table.

    For beta(t) = (a t + b)^2 on t in [0, 1] between T beta_first and T beta_last,
    log(1 + sigma^2) = ((a t + b)^3 - b^3) / (3 a). Solved for t without the difference of two cube
    roots, which loses its digits at small sigma in the reference.
    """
    total = len(betas)
    b, end = jnp.sqrt(total * betas[0]), jnp.sqrt(total * betas[-1])
    rise = 3 * (end - b) * jnp.log1p(sigma**2)
    root = jnp.cbrt(rise + b**3)
    return total * rise / (root**2 + root * b + b**2) / (end - b)


def edm_time(betas: Array, sigma: Array) -> Array:
    """c_noise of EDM (Karras et al. 2022): log(sigma) / 4."""
    del betas
    return jnp.log(sigma) / 4


def consistency_time(betas: Array, sigma: Array) -> Array:
    """c_noise of the ADMs of the consistency models (Song et al. 2023): 250 log(sigma)."""
    del betas
    return 250 * jnp.log(sigma)


def ve_time(betas: Array, sigma: Array) -> Array:
    """c_noise of NCSN++ as EDM wraps it: log(sigma / 2)."""
    del betas
    return jnp.log(sigma / 2)


def flow_time(betas: Array, sigma: Array) -> Array:
    """The time 1000 s of flow matching, s = sigma / (1 + sigma)."""
    del betas
    return 1000 * sigma / (1 + sigma)


def adm_level(betas: Array, t: Array) -> tuple[Array, Array]:
    """Sigma and alpha_bar = 1 / (1 + sigma^2) at ADM's time: the inverse of `adm_time`."""
    del betas
    u = t / 999
    integral = BETA_MIN * u + BETA_D * u**2 / 2
    return jnp.sqrt(jnp.expm1(integral)), jnp.exp(-integral)


def table_level(betas: Array, t: Array) -> tuple[Array, Array]:
    """Sigma and alpha_bar = 1 / (1 + sigma^2) at a fractional time: inverse of `table_time`."""
    times = jnp.arange(len(betas), dtype=jnp.float32)
    log_sigma = jnp.interp(t, times, _log_sigmas(betas))
    return jnp.exp(log_sigma), jax.nn.sigmoid(-2 * log_sigma)


def _log_sigmas(betas: Array) -> Array:
    log_alpha_bar = jnp.cumsum(jnp.log1p(-betas))
    return 0.5 * (jnp.log(-jnp.expm1(log_alpha_bar)) - log_alpha_bar)

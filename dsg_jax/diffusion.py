"""What a noise-prediction network says about a noisy state."""

import jax
import jax.numpy as jnp
from jax import Array

from dsg_jax.types import Prior

_BETA_MIN, _BETA_D = 0.1, 19.9  # the variance-preserving SDE behind ADM's 1000 linear betas


def check_parametrisation(name: str) -> None:
    """Refuse what a network's output cannot be: anything but "eps", the noise, or "v".

    Raises:
      ValueError: it is something else.
    """
    if name not in ("eps", "v"):
        raise ValueError(f"parametrisation={name!r}: choose from eps, v")


def predict(prior: Prior, x: Array, t: Array) -> tuple[Array, Array | None]:
    """Predicted noise (h, w, c) and, if the network has them, the variance values (h, w, c)."""
    out = prior.network(x, t)
    channels = x.shape[-1]
    return out[..., :channels], out[..., channels:] if out.shape[-1] > channels else None


def log_variance(v: Array | None, log_beta: Array, log_beta_tilde: Array) -> Array:
    """The learned log-variance (Nichol & Dhariwal 2021): v in [-1, 1] interpolates the two bounds.

    A network without variance values takes the lower bound, the posterior variance beta tilde.
    """
    if v is None:
        return log_beta_tilde
    f = (v + 1) / 2
    return f * log_beta + (1 - f) * log_beta_tilde


def clip_unit(x: Array) -> Array:
    """Clip to [-1, 1] with gradient 1 on the closed interval (`jnp.clip` halves it at the ends)."""
    return jnp.where((x >= -1) & (x <= 1), x, jnp.where(x > 1, 1.0, -1.0))


def time_of_sigma(sigma: Array) -> Array:
    """The fractional network time of noise level sigma, 999 t(sigma), as DAPS maps it."""
    root = jnp.sqrt(_BETA_MIN**2 + 2 * _BETA_D * jnp.log1p(sigma**2))
    return 999 * (root - _BETA_MIN) / _BETA_D


def table_time(betas: Array, sigma: Array) -> Array:
    """The fractional time at which a schedule's own table has noise level sigma, clamped to it.

    Interpolates log sigma between the T times. `time_of_sigma` is the closed form for ADM's betas
    alone, which the reference also feeds to latent networks with another schedule.
    """
    return jnp.interp(jnp.log(sigma), _log_sigmas(betas), jnp.arange(len(betas), dtype=jnp.float32))


def table_alpha_bar(betas: Array, t: Array) -> Array:
    """1 / (1 + sigma^2) at the fractional time t: the inverse of `table_time`."""
    times = jnp.arange(len(betas), dtype=jnp.float32)
    return jax.nn.sigmoid(-2 * jnp.interp(t, times, _log_sigmas(betas)))


def _log_sigmas(betas: Array) -> Array:
    log_alpha_bar = jnp.cumsum(jnp.log1p(-betas))
    return 0.5 * (jnp.log(-jnp.expm1(log_alpha_bar)) - log_alpha_bar)


def denoise(prior: Prior, x: Array, sigma: Array, t: Array | None = None) -> Array:
    """E[x0 | x0 + sigma n = x] from the noise predictor (DAPS' VP preconditioning), unclipped.

    ``t`` is the network time of sigma; by default that of ADM's schedule.
    """
    t = time_of_sigma(sigma) if t is None else t
    eps, _ = predict(prior, x / jnp.sqrt(1 + sigma**2), t)
    return x - sigma * eps


def score(prior: Prior, x: Array, sigma: Array) -> Array:
    """The score of the noisy marginal, (denoise(x) - x) / sigma^2."""
    return (denoise(prior, x, sigma) - x) / sigma**2


def continuous_alpha_bar(t: Array) -> Array:
    """1 / (1 + sigma^2) at the network time t: the inverse of `time_of_sigma`."""
    u = t / 999
    return jnp.exp(-(_BETA_MIN * u + _BETA_D * u**2 / 2))

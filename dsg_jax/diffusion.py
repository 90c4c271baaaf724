"""What a prior says about a noisy state, in three questions: `predict`, `denoise` and `velocity`.

Networks answer in their own terms. These are turned into E[x0] = D or E[noise] = e exactly, and as
late as the question allows, because D says nothing of e at sigma 0 and e nothing of D at infinity.
`clock` has the scalings y, x and z.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from dsg_jax.types import Prior

# Prediction -> E[noise] from the output, the VP state and alpha_bar.
_NOISE: dict[str, Callable[[Array, Array, Array], Array]] = {
    "eps": lambda out, x, a: out,
    "v": lambda out, x, a: jnp.sqrt(a) * out + jnp.sqrt(1 - a) * x,  # Salimans & Ho 2022
}

# Prediction -> c_skip, c_out and 1 / c_in of sigma and sigma_data, with F the network:
#     D(y, sigma) = c_skip y + c_out F(c_in y, time of sigma)
_PRECONDITIONING: dict[str, Callable[[Array, float], tuple]] = {
    "x0": lambda s, d: (0.0, 1.0, jnp.sqrt(1 + s**2)),
    "edm": lambda s, d: (
        d**2 / (s**2 + d**2),
        s * d / jnp.sqrt(s**2 + d**2),
        jnp.sqrt(s**2 + d**2),
    ),
    "ve": lambda s, d: (1.0, s, 1.0),
    "flow": lambda s, d: (1 / (1 + s), -s / (1 + s), 1 + s),
}


def predict(prior: Prior, x: Array, t: Array) -> tuple[Array, Array | None]:
    """E[noise | x] of a VP state at a VP time, and variance values if the network has them.

    Args:
      prior: any; D is (x - sqrt(1 - alpha_bar) e) / sqrt(alpha_bar).
      x: (h, w, c) sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) noise.
      t: () time on the prior's clock, 0..T-1, possibly fractional.

    Returns:
      (h, w, c), and (h, w, c) or None.
    """
    clock, channels = prior.clock, x.shape[-1]
    if clock.prediction in _NOISE:
        out = prior.network(x, t)
        values = out[..., channels:] if out.shape[-1] > channels else None
        return _NOISE[clock.prediction](out[..., :channels], x, clock.alpha_bar(t)), values
    sigma = clock.sigma(t)
    y = jnp.sqrt(1 + sigma**2) * x
    time = t if clock.scaling == "vp" else clock.time(sigma)
    return (y - _denoised(prior, y, sigma, time)) / sigma, None


def denoise(prior: Prior, y: Array, sigma: Array) -> Array:
    """E[x0 | y] of the VE state y = x0 + sigma noise (h, w, c); unclipped."""
    time = prior.clock.time(sigma)
    if prior.clock.prediction in _NOISE:
        eps, _ = predict(prior, y / jnp.sqrt(1 + sigma**2), time)
        return y - sigma * eps
    return _denoised(prior, y, sigma, time)


def _denoised(prior: Prior, y: Array, sigma: Array, time: Array) -> Array:
    skip, gain, scale = _PRECONDITIONING[prior.clock.prediction](sigma, prior.clock.sigma_data)
    return skip * y + gain * prior.network(y / scale, time)[..., : y.shape[-1]]


def velocity(prior: Prior, z: Array, s: Array) -> Array:
    """E[noise - x0 | z] of the flow state z = (1 - s) x0 + s noise (h, w, c); s in (0, 1].

    At s = 1 the state is noise alone, and its level infinite: networks that do not answer in
    velocities are then asked at the highest level that they were trained at, and so above it.
    """
    if prior.clock.prediction == "flow":
        return prior.network(z, 1000 * s)[..., : z.shape[-1]]
    top = prior.clock.sigma_max / (1 + prior.clock.sigma_max)
    known = jnp.minimum(s, top)
    return (z - denoise(prior, z / (1 - known), known / (1 - known))) / s


def score(prior: Prior, y: Array, sigma: Array) -> Array:
    """The score of the noisy marginal, (denoise(y) - y) / sigma^2."""
    return (denoise(prior, y, sigma) - y) / sigma**2


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

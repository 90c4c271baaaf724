"""Noise models: how a measurement y is made from a true image."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer

from dsg_jax.types import Operator

_DOMAINS = ("symmetric", "unit")


def measure(
    key: Array,
    operator: Operator,
    x: Array,
    sigma: Array | float,
    *,
    noise_domain: str = "symmetric",
    output_domain: str = "symmetric",
) -> Array:
    """Gaussian measurement y = A(x) + s n, n ~ N(0, I), unclipped.

    n covers all of A(x), the holes of a mask included. s is `noise_level` of the other arguments;
    by default s = sigma on A(x)'s own scale, as in every reference code.

    Args:
      key: a random key.
      operator: A.
      x: (h, w, c) in [-1, 1].
      sigma: noise level, see ``noise_domain``.
      noise_domain: the scale that ``sigma`` is meant for, see `noise_level`.
      output_domain: the scale of A(x), see `noise_level`.

    Raises:
      ValueError: what `noise_level` refuses.
    """
    level = noise_level(sigma, noise_domain, output_domain)
    clean = operator.forward(x)
    return clean + level * jax.random.normal(key, clean.shape, clean.dtype)


def noise_level(
    sigma: Array | float, noise_domain: str = "symmetric", output_domain: str = "symmetric"
) -> Array | float:
    """Standard deviation in the units of y; what `Problem.sigma` wants.

    The papers speak of images in [0, 1] but the codes add ``sigma`` to A(x), which for most tasks
    has the scale of [-1, 1].

    Args:
      sigma: noise level.
      noise_domain: "symmetric" takes ``sigma`` as it is; "unit" means ``sigma`` for [0, 1] images,
        which doubles it wherever A(x) has the scale of [-1, 1].
      output_domain: the scale of A(x): "symmetric", or "unit" for phase retrieval with
        ``unit_range`` (`tasks.TASKS` tells).

    Raises:
      ValueError: another domain, or a negative ``sigma``.
    """
    for domain in (noise_domain, output_domain):
        if domain not in _DOMAINS:
            raise ValueError(f"unknown noise domain {domain!r}; choose from {', '.join(_DOMAINS)}")
    if not isinstance(sigma, Tracer) and not sigma >= 0:
        raise ValueError(f"sigma must not be negative, got {sigma}")
    return 2 * sigma if (noise_domain, output_domain) == ("unit", "symmetric") else sigma


def poisson_noise(key: Array, y: Array, rate: Array | float) -> Array:
    """Photon noise on a clean measurement y of the scale [-1, 1] (DPS).

        v = clip((y + 1) / 2, 0, 1),   k ~ Poisson(255 rate v),   2 k / (255 rate) - 1 clipped

    Not differentiable, and meaningless for Fourier magnitudes, whose scale is another.

    Args:
      key: a random key of JAX's default kind (threefry), which `jax.random.poisson` asks for.
      y: clean measurement, any shape.
      rate: photons per grey level; larger is cleaner.

    Raises:
      ValueError: ``rate`` <= 0.
    """
    if not isinstance(rate, Tracer) and not rate > 0:
        raise ValueError(f"rate must be positive, got {rate}")
    expected = 255 * rate * jnp.clip((y + 1) / 2, 0, 1)
    photons = jax.random.poisson(key, expected).astype(y.dtype)
    return jnp.clip(2 * photons / (255 * rate) - 1, -1, 1)

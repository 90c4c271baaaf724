"""Priors whose noise prediction, samples and posteriors are known: mixtures of Gaussians.

The images are 8 x 8 with three channels, smooth up to a little noise. A solver cannot tell such a
prior from a network; unlike a network it is exactly right.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from dsg_jax.diffusion import continuous_alpha_bar, table_alpha_bar
from dsg_jax.schedule import linear_betas, scaled_linear_betas
from dsg_jax.types import Constants, FirstStage, Prior

SHAPE = (8, 8, 3)
FLOOR = 0.05
"""Standard deviation of the noise that every pixel has on top of the smooth part."""


class Mixture(NamedTuple):
    """p(x) = sum_k w_k N(m_k, U diag(d_k) U' + f^2 I) for images of n = h w c entries."""

    weights: Constants
    """(k,) w, positive with sum 1."""
    means: Constants
    """(k, h, w, c) m."""
    basis: Constants
    """(n, r) U, orthonormal columns shared by the components."""
    variances: Constants
    """(k, r) d."""
    floor: Constants
    """() f."""


def smooth_basis(shape: tuple[int, int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Low frequencies of the cosine transform in grey and two colours: (U, relative variances).

    Grey has the frequencies u + v <= 6, each colour u + v <= 2 with a fifth of the variance; the
    variance falls as 1 / (1 + u^2 + v^2). U is (n, 40) with orthonormal columns.
    """
    h, w, c = shape
    if c != 3:
        raise ValueError(f"shape {shape}: the colours of the prior want three channels")
    colours = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
    columns, variances = [], []
    for number, colour in enumerate(colours):
        highest, share = (6, 1.0) if number == 0 else (2, 0.2)
        for u in range(highest + 1):
            for v in range(highest + 1 - u):
                wave = np.multiply.outer(np.outer(_cosine(u, h), _cosine(v, w)), colour)
                columns.append(wave.ravel())
                variances.append(share / (1 + u**2 + v**2))
    return np.stack(columns, axis=1), np.array(variances)


def _cosine(frequency: int, count: int) -> np.ndarray:
    wave = np.cos(np.pi * frequency * (np.arange(count) + 0.5) / count)
    return wave / np.linalg.norm(wave)


def _mixture(weights: list[float], means: np.ndarray, std: float) -> Mixture:
    """Components that differ in their means; ``std`` is the mean standard deviation of a pixel."""
    basis, relative = smooth_basis()
    scale = (std**2 - FLOOR**2) * len(basis) / relative.sum()
    variances = np.tile(scale * relative, (len(weights), 1))
    return Mixture(np.array(weights), means, basis, variances, np.array(FLOOR))


def gaussian() -> Mixture:
    """One Gaussian of mean 0 whose pixels have standard deviation 0.25.

    Written as two equal components, so that both priors have the same arrays and share programs.
    """
    return _mixture([0.5, 0.5], np.zeros((2, *SHAPE)), 0.25)


def spots() -> Mixture:
    """Two kinds of image: with a bright spot in the middle (60 %) or with a dark one.

    Under a hole in the middle both are possible, and the posterior has two modes.
    """
    side = np.arange(SHAPE[0]) - (SHAPE[0] - 1) / 2
    spot = 0.4 * np.exp(-np.add.outer(side**2, side**2) / 2)
    bright = np.repeat(spot[..., None], SHAPE[2], axis=2)
    return _mixture([0.6, 0.4], np.stack([bright, -bright]), 0.2)


PRIORS = {"gaussian": gaussian, "spots": spots}
"""Name -> the prior."""


def exact_eps(mixture: Mixture, alpha_bar: Array, x: Array) -> Array:
    """E[noise | x_t] for x_t = sqrt(a) x0 + sqrt(1 - a) noise, a = alpha_bar; (h, w, c).

    eps = -sqrt(1 - a) grad log p_t(x_t),   p_t = sum_k w_k N(sqrt(a) m_k, S_k)
    S_k = a U diag(d_k) U' + v I,           v = a f^2 + 1 - a
    S_k^-1 = (I - U diag(g_k) U') / v,      g_k = a d_k / (a d_k + v)
    """
    a, root = alpha_bar, jnp.sqrt(alpha_bar)
    v = a * mixture.floor**2 + 1 - a
    flat, means = x.ravel(), mixture.means.reshape(len(mixture.weights), -1)
    inside = mixture.basis.T @ flat - root * (means @ mixture.basis)
    spread = a * mixture.variances + v
    gain = a * mixture.variances / spread
    # |x|^2 is left out of the exponent: all components have it, and it would cost digits.
    distance = a * jnp.sum(means**2, 1) - 2 * root * (means @ flat) - jnp.sum(gain * inside**2, 1)
    log_density = -0.5 * (distance / v + jnp.sum(jnp.log(spread), 1))
    share = jax.nn.softmax(jnp.log(mixture.weights) + log_density)
    explained = mixture.basis @ (share @ (gain * inside))
    return jnp.sqrt(1 - a) * ((flat - root * (share @ means) - explained) / v).reshape(x.shape)


def _eps_by_table(mixture: Mixture, betas: Array, x: Array, t: Array) -> Array:
    return exact_eps(mixture, table_alpha_bar(betas, jnp.asarray(t, jnp.float32)), x)


def _eps_by_closed_form(mixture: Mixture, x: Array, t: Array) -> Array:
    return exact_eps(mixture, continuous_alpha_bar(jnp.asarray(t, jnp.float32)), x)


def pixel_prior(mixture: Mixture, clock: str = "table") -> Prior:
    """The prior for solvers on pixels, with ADM's linear schedule.

    Args:
      mixture: the distribution of the images.
      clock: what noise level a network time stands for: "table", that of the schedule (DPS), or
        "closed form", that of `time_of_sigma` (DAPS). They differ by a few percent near time 0.

    Raises:
      ValueError: another clock.
    """
    mixture, betas = _on_device(mixture), jnp.asarray(linear_betas(), jnp.float32)
    networks = {
        "table": Partial(_eps_by_table, mixture, betas),
        "closed form": Partial(_eps_by_closed_form, mixture),
    }
    if clock not in networks:
        raise ValueError(f"clock={clock!r}: choose from {', '.join(networks)}")
    return Prior(networks[clock], betas)


def latent_prior(mixture: Mixture) -> Prior:
    """The same images as a latent prior: D(z) = s z and E(x) = x / s, so that z has variance 1.

    Its first stage loses nothing, so the latent solvers have the posterior of the pixel solvers.
    The schedule is that of the latent diffusion models.
    """
    s = pixel_std(mixture)
    latents = mixture._replace(
        means=mixture.means / s, variances=mixture.variances / s**2, floor=mixture.floor / s
    )
    betas = jnp.asarray(scaled_linear_betas(), jnp.float32)
    scale = jnp.float32(s)
    stage = FirstStage(Partial(_decode, scale), Partial(_encode, scale), 1)
    return Prior(Partial(_eps_by_table, _on_device(latents), betas), betas, stage)


def _decode(scale: Array, z: Array) -> Array:
    return scale * z


def _encode(scale: Array, x: Array, noise: Array | None) -> Array:
    del noise  # nothing is lost, so there is nothing to sample
    return x / scale


def _on_device(mixture: Mixture) -> Mixture:
    return Mixture(*(jnp.asarray(a, jnp.float32) for a in mixture))


def pixel_std(mixture: Mixture) -> float:
    """Root mean square over the entries of an image of their standard deviation under the prior."""
    count = len(mixture.basis)
    means = mixture.means.reshape(-1, count)
    within = mixture.weights @ mixture.variances.sum(axis=1) / count + mixture.floor**2
    between = mixture.weights @ means**2 - (mixture.weights @ means) ** 2
    return float(np.sqrt(within + between.mean()))


def covariance(mixture: Mixture, component: int) -> np.ndarray:
    """U diag(d_k) U' + f^2 I of one component; (n, n) float64."""
    basis = mixture.basis
    smooth = (basis * mixture.variances[component]) @ basis.T
    return smooth + mixture.floor**2 * np.eye(len(basis))


def draw_images(random: np.random.Generator, mixture: Mixture, count: int) -> np.ndarray:
    """``count`` independent samples of the prior; (count, h, w, c) float64, not clipped."""
    component = random.choice(len(mixture.weights), size=count, p=mixture.weights)
    size, shape = mixture.basis.shape, mixture.means.shape[1:]
    waves = random.standard_normal((count, size[1])) * np.sqrt(mixture.variances[component])
    smooth = waves @ mixture.basis.T
    noise = mixture.floor * random.standard_normal((count, size[0]))
    return mixture.means[component] + (smooth + noise).reshape(count, *shape)

"""Priors whose noise prediction, samples and posteriors are known: mixtures of Gaussians.

A solver cannot tell such a prior from a network; unlike a network it is exactly right, so that what
is wrong with the samples is the solver's doing. `mixture_posterior` has what they should be.

    mixture = smooth_mixture([0.6, 0.4], means, std=0.2)   # two kinds of image
    prior = mixture_prior(mixture)                         # for any solver on pixels
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from dsg_jax.checks import check_choice
from dsg_jax.clock import Clock, adm_clock, table_clock
from dsg_jax.schedule import linear_betas, scaled_linear_betas
from dsg_jax.types import Constants, FirstStage, Prior


class Mixture(NamedTuple):
    """p(x) = sum_k w_k N(m_k, U diag(d_k) U' + f^2 I) for images of n = h w c entries.

    On the host the arrays are numpy's in float64; inside a prior they are jax's in float32.

    Attributes:
      weights: (k,) w, positive with sum 1.
      means: (k, h, w, c) m.
      basis: (n, r) U, orthonormal columns shared by the components.
      variances: (k, r) d.
      floor: () f, positive: the noise that every entry has on top of the part that U spans.
    """

    weights: Constants
    means: Constants
    basis: Constants
    variances: Constants
    floor: Constants


def smooth_basis(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Low frequencies of the cosine transform in grey and two colours, and their variances.

    Grey has the frequencies u + v <= 6, each colour u + v <= 2 with a fifth of the variance; the
    variance falls as 1 / (1 + u^2 + v^2).

    Args:
      shape: (h, w, 3) of the images, sides of at least 7.

    Returns:
      U, (n, 40) with orthonormal columns, and the relative variances (40,).

    Raises:
      ValueError: other than three channels.
    """
    h, w, c = shape
    if c != 3 or min(h, w) < 7:
        raise ValueError(f"shape {shape}: give (h, w, 3) with sides of at least 7")
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


def smooth_mixture(
    weights: Sequence[float], means: np.ndarray, std: float, floor: float = 0.05
) -> Mixture:
    """Smooth images up to a little noise; the components differ in their means alone.

    Args:
      weights: (k,) shares of the components, positive with sum 1.
      means: (k, h, w, 3) in [-1, 1], sides of at least 7; see `smooth_basis`.
      std: standard deviation of an entry within a component, root mean square over the image.
      floor: the part of it that is independent noise, so that all covariances are invertible.

    Raises:
      ValueError: not 0 < floor < std, or images of another shape.
    """
    if not 0 < floor < std:
        raise ValueError(f"std={std}, floor={floor}: give 0 < floor < std")
    h, w, c = means.shape[1:]
    basis, relative = smooth_basis((h, w, c))
    scale = (std**2 - floor**2) * len(basis) / relative.sum()
    variances = np.tile(scale * relative, (len(weights), 1))
    return Mixture(np.array(weights), means, basis, variances, np.array(floor))


def exact_eps(mixture: Mixture, alpha_bar: Array, x: Array) -> Array:
    """E[noise | x_t] for x_t = sqrt(a) x0 + sqrt(1 - a) noise, a = alpha_bar.

    eps = -sqrt(1 - a) grad log p_t(x_t),   p_t = sum_k w_k N(sqrt(a) m_k, S_k)
    S_k = a U diag(d_k) U' + v I,           v = a f^2 + 1 - a
    S_k^-1 = (I - U diag(g_k) U') / v,      g_k = a d_k / (a d_k + v)

    Args:
      mixture: the distribution of the images x0.
      alpha_bar: () in (0, 1).
      x: (h, w, c) noisy image x_t.

    Returns:
      (h, w, c).
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


def _eps(mixture: Mixture, clock: Clock, x: Array, t: Array) -> Array:
    return exact_eps(mixture, clock.alpha_bar(jnp.asarray(t, jnp.float32)), x)


def mixture_prior(mixture: Mixture, clock: Literal["table", "closed form"] = "table") -> Prior:
    """The mixture as a prior for solvers on pixels, with ADM's linear schedule.

    Args:
      mixture: the distribution of the images.
      clock: what noise level a network time stands for: "table", that of the schedule, or "closed
        form", `clock.adm_clock`, whose DPS takes the table's. They differ by a few percent near 0.

    Raises:
      ValueError: another clock.
    """
    check_choice("clock", clock, ("table", "closed form"))
    chosen = table_clock(linear_betas()) if clock == "table" else adm_clock()
    return Prior(Partial(_eps, _on_device(mixture), chosen), chosen)


def mixture_latent_prior(mixture: Mixture) -> Prior:
    """The same images as a latent prior: D(z) = s z and E(x) = x / s, so that z has variance 1.

    Its first stage loses nothing, so the latent solvers have the posterior of the pixel solvers;
    latents have the shape of the images. The schedule is that of the latent diffusion models.
    """
    s = pixel_std(mixture)
    latents = mixture._replace(
        means=mixture.means / s, variances=mixture.variances / s**2, floor=mixture.floor / s
    )
    clock, scale = table_clock(scaled_linear_betas()), jnp.float32(s)
    stage = FirstStage(Partial(_decode, scale), Partial(_encode, scale), 1)
    return Prior(Partial(_eps, _on_device(latents), clock), clock, stage)


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

"""The posterior of a Gaussian mixture after a linear measurement, in closed form. Host, float64.

    y = A x + sigma noise,   x ~ sum_k w_k N(m_k, S_k)
    V_k = A S_k A' + sigma^2 I,   K_k = S_k A' V_k^-1
    p(x | y) = sum_k v_k N(m_k + K_k (y - A m_k), S_k - K_k A S_k),   v_k ~ w_k N(y; A m_k, V_k)

Bishop, Pattern Recognition and Machine Learning, equations 2.113 to 2.117, for every component.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dsg_jax.priors.mixture import Mixture, covariance
from dsg_jax.types import Operator


class Posterior(NamedTuple):
    """The posteriors of b measurements by one operator; images are flat, n entries.

    Attributes:
      weights: (b, k) v.
      means: (b, k, n).
      covariances: (k, n, n); they do not depend on y.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


def operator_matrix(operator: Operator, shape: tuple[int, ...]) -> np.ndarray:
    """A of a linear operator as a matrix.

    Args:
      operator: linear; all images of the basis go through it at once.
      shape: (h, w, c) of the images.

    Returns:
      (m, n) float64 for measurements of m and images of n entries, both flat in C order.
    """
    count = int(np.prod(shape))
    columns = jax.vmap(lambda e: operator.forward(e.reshape(shape)).ravel())(jnp.eye(count))
    return np.asarray(columns, np.float64).T


def exact_posterior(mixture: Mixture, matrix: np.ndarray, y: np.ndarray, sigma: float) -> Posterior:
    """The posteriors of several measurements by one operator.

    Args:
      mixture: the prior of the images, of n entries; float64.
      matrix: (m, n) A, see `operator_matrix`.
      y: (b, m) measurements, flat.
      sigma: standard deviation of their noise, positive.
    """
    means, covariances, log_weights = [], [], []
    for k, weight in enumerate(mixture.weights):
        prior = covariance(mixture, k)
        spread = matrix @ prior @ matrix.T + sigma**2 * np.eye(len(matrix))
        gain = np.linalg.solve(spread, matrix @ prior).T
        surprise = y - matrix @ mixture.means[k].ravel()
        means.append(mixture.means[k].ravel() + surprise @ gain.T)
        after = prior - gain @ matrix @ prior
        covariances.append((after + after.T) / 2)
        distance = np.sum(surprise * np.linalg.solve(spread, surprise.T).T, axis=1)
        log_weights.append(np.log(weight) - 0.5 * (distance + np.linalg.slogdet(spread)[1]))
    logs = np.stack(log_weights, axis=1)
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    return Posterior(weights, np.stack(means, axis=1), np.stack(covariances))


def posterior_moments(posterior: Posterior) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of every entry, components included; each (b, n)."""
    mean = np.einsum("bk,bkn->bn", posterior.weights, posterior.means)
    within = posterior.weights @ np.diagonal(posterior.covariances, axis1=1, axis2=2)
    between = np.einsum("bk,bkn->bn", posterior.weights, posterior.means**2) - mean**2
    return mean, within + between


def least_known(posterior: Posterior) -> np.ndarray:
    """The direction (n,) that measurements know least: of the largest posterior variance.

    The covariances are averaged over the measurements, differences of the components included.
    """
    mean, _ = posterior_moments(posterior)
    off = posterior.means - mean[:, None]
    between = np.einsum("bk,bki,bkj->ij", posterior.weights, off, off) / len(mean)
    within = np.tensordot(posterior.weights.mean(axis=0), posterior.covariances, axes=1)
    return np.linalg.eigh(within + between)[1][:, -1]


def draw_posterior(random: np.random.Generator, posterior: Posterior, count: int) -> np.ndarray:
    """``count`` independent samples for every measurement; (b, count, n)."""
    b, components, n = posterior.means.shape
    roots = np.linalg.cholesky(posterior.covariances)
    cumulative = np.cumsum(posterior.weights, axis=1)[:, None, :-1]
    chosen = np.sum(random.uniform(size=(b, count, 1)) > cumulative, axis=2)
    noise = random.standard_normal((b, count, n))
    samples = np.empty((b, count, n))
    for k in range(components):
        here, rows = chosen == k, np.nonzero(chosen == k)[0]
        samples[here] = posterior.means[rows, k] + noise[here] @ roots[k].T
    return samples

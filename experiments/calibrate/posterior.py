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
from jax import Array
from jax.tree_util import Partial

from dsg_jax.operators.blur import same
from dsg_jax.types import Operator
from experiments.calibrate.priors import Mixture, covariance


class Posterior(NamedTuple):
    """The posteriors of b measurements by one operator; images are flat, n entries."""

    weights: np.ndarray
    """(b, k) v."""
    means: np.ndarray
    """(b, k, n)."""
    covariances: np.ndarray
    """(k, n, n); they do not depend on y."""


def matrix_of(operator: Operator, shape: tuple[int, ...]) -> np.ndarray:
    """A of a linear operator as a matrix (y.size, x.size), both flat in C order; float64."""
    count = int(np.prod(shape))
    columns = jax.vmap(lambda e: operator.forward(e.reshape(shape)).ravel())(jnp.eye(count))
    return np.asarray(columns, np.float64).T


def _blurred_and_masked(mask: Array, left: Array, right: Array, x: Array) -> Array:
    return mask * jnp.einsum("ih,hwc,jw->ijc", left, x, right)


def _masked_and_blurred(mask: Array, left: Array, right: Array, y: Array) -> Array:
    return jnp.einsum("ih,ijc,jw->hwc", left, mask * y, right)


def one_form(operator: Operator, shape: tuple[int, int, int]) -> Operator:
    """A mask or a separable blur as A(X) = m (L X R'), with the same arrays for both.

    One program of a solver then serves all tasks. The "transpose" stays the identity.

    Raises:
      ValueError: an operator of another kind.
    """
    arrays = tuple(getattr(operator.forward, "args", ()))
    h, w, _ = shape
    identities = jnp.eye(h), jnp.eye(w)
    forms = {((h, w, 1),): (*arrays, *identities), ((h, h), (w, w)): (jnp.ones((h, w, 1)), *arrays)}
    kind = tuple(a.shape for a in arrays)
    if kind not in forms:
        raise ValueError(f"an operator with arrays of shapes {kind} is neither mask nor blur")
    form = forms[kind]
    return Operator(
        Partial(_blurred_and_masked, *form), Partial(_masked_and_blurred, *form), Partial(same)
    )


def exact_posterior(mixture: Mixture, matrix: np.ndarray, y: np.ndarray, sigma: float) -> Posterior:
    """The posteriors of measurements y (b, m), of which ``matrix`` (m, n) and sigma are known."""
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


def moments(posterior: Posterior) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of every entry, components included; each (b, n)."""
    mean = np.einsum("bk,bkn->bn", posterior.weights, posterior.means)
    within = posterior.weights @ np.diagonal(posterior.covariances, axis1=1, axis2=2)
    between = np.einsum("bk,bkn->bn", posterior.weights, posterior.means**2) - mean**2
    return mean, within + between


def least_known(posterior: Posterior) -> np.ndarray:
    """The direction (n,) of largest posterior variance, averaged over the measurements."""
    mean, _ = moments(posterior)
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

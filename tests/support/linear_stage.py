"""A latent prior of linear maps, for which every gradient can be written down."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from dsg_jax.clock import table_clock
from dsg_jax.schedule import scaled_linear_betas
from dsg_jax.types import FirstStage, Prior

LATENT, IMAGE = (4, 4, 1), (8, 8, 1)
EPS_GAIN = 0.3


def _both_axes(left, right, x, noise=None):
    out = jnp.einsum("ih,hwc,jw->ijc", left, x, right)
    return out if noise is None else out + noise


def _eps(gain, z, t):
    return gain * z


def linear_prior() -> Prior:
    """D(z) = L z R', E(x) = P x Q' (plus the noise, if it is given), eps(z, t) = 0.3 z."""
    random = np.random.RandomState(0)
    decode = [jnp.asarray(random.randn(8, 4), jnp.float32) for _ in range(2)]
    encode = [jnp.asarray(random.randn(4, 8) / 4, jnp.float32) for _ in range(2)]
    stage = FirstStage(Partial(_both_axes, *decode), Partial(_both_axes, *encode), 2)
    network = Partial(_eps, jnp.float32(EPS_GAIN))
    return Prior(network, table_clock(scaled_linear_betas()), stage)


def matrix(linear, shape: tuple[int, ...]) -> np.ndarray:
    """The matrix of a linear map of arrays, flattened in C order; float64."""
    count = int(np.prod(shape))
    columns = jax.vmap(lambda e: linear(e.reshape(shape)).ravel())(jnp.eye(count))
    return np.asarray(columns, np.float64).T

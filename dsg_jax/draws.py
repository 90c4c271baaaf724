"""Numbered standard normal draws: the numbers of `jax.random`, several times faster on a CPU.

There jax keeps its generator's rounds in a loop of their own. Written out, XLA fuses them with what
makes normal numbers of the bits.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from dsg_jax.types import Draw

# Threefry-2x32 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def normal_draws(key: Array) -> Draw:
    """Numbered standard normal draws of one run: draw k depends on the key and on k only."""
    return Partial(numbered_normal, key)


def numbered_normal(key: Array, k: Array, shape: tuple[int, ...]) -> Array:
    """`jax.random.normal(jax.random.fold_in(key, k), shape)`, bit by bit.

    Keys of another generator than jax's default, and its older order of counting, are left to jax.
    """
    is_default = str(jax.random.key_impl(key)) == "threefry2x32"
    is_in_order = jax.config.jax_threefry_partitionable  # type: ignore[attr-defined]
    if not (is_default and is_in_order):
        return jax.random.normal(jax.random.fold_in(key, k), shape)
    words, size = jax.random.key_data(key), math.prod(shape)
    draw = lambda words, k: flat_normal(threefry(words, k.astype(jnp.uint32)), size)
    # A branch is never fused with what uses its result. On a CPU that loop would draw the numbers
    # again, channel by channel, in vectors of three.
    apart = lambda words, k: jax.lax.cond(k >= 0, draw, lambda *_: jnp.zeros(size), words, k)
    flat = jax.lax.platform_dependent(words, jnp.asarray(k), cpu=apart, default=draw)
    return flat.reshape(shape)


def flat_normal(key: tuple[Array, Array], size: int) -> Array:
    """(size,) standard normal numbers of a key's two words."""
    first, second = threefry(key, jax.lax.iota(jnp.uint32, size))
    # 23 bits are the mantissa of a number in [1, 2), which becomes one in (-1, 1).
    mantissa = ((first ^ second) >> np.uint32(9)) | np.uint32(0x3F800000)
    unit = jax.lax.bitcast_convert_type(mantissa, jnp.float32) - 1
    low = np.nextafter(np.float32(-1), np.float32(0))
    uniform = jnp.maximum(low, unit * (np.float32(1) - low) + low)
    return np.float32(np.sqrt(2)) * jax.lax.erf_inv(uniform)


def threefry(key: Array | tuple[Array, Array], count: Array) -> tuple[Array, Array]:
    """Two arrays of 32 random bits an element, for the two words of a key and a counter, uint32."""
    words = key[0], key[1], key[0] ^ key[1] ^ _PARITY
    x, y = words[0], count + words[1]  # the counter's high word is 0
    for i in range(5):
        for rotation in _ROTATIONS[i % 2]:
            x = x + y
            y = x ^ ((y << np.uint32(rotation)) | (y >> np.uint32(32 - rotation)))
        x, y = x + words[(i + 1) % 3], y + words[(i + 2) % 3] + np.uint32(i + 1)
    return x, y

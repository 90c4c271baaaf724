"""Numbered draws are jax's own numbers, bit by bit, whoever makes them."""

import jax
import numpy as np
import pytest

from dsg_jax.draws import normal_draws

SHAPES = ((1,), (5,), (16 * 16 * 3,), (7, 5, 3), ())


def by_jax(key, k, shape):
    return jax.random.normal(jax.random.fold_in(key, k), shape)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_bits_of_jax(impl, shape):
    keys = jax.random.split(jax.random.key(3, impl=impl), 4)
    numbers = (0, 1, 4095, 2**30 + 7)
    batch = jax.jit(jax.vmap(lambda key, k: normal_draws(key)(k, shape), in_axes=(0, None)))
    for k in numbers:
        expected = jax.vmap(lambda key, k=k: by_jax(key, k, shape))(keys)
        np.testing.assert_array_equal(batch(keys, k), expected)


def test_bits_of_an_older_order(monkeypatch):
    key = jax.random.key(0)
    with jax.threefry_partitionable(False):
        np.testing.assert_array_equal(normal_draws(key)(2, (9, 2, 3)), by_jax(key, 2, (9, 2, 3)))

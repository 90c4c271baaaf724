"""The networks' layers against lax, Flax and their own inverses."""

from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from dsg_jax.networks.layers import (
    GroupNorm,
    attention,
    conv_general_dilated,
    pixel_shuffle,
    pixel_unshuffle,
)

LAYOUT = ("NHWC", "HWIO", "NHWC")


@pytest.mark.parametrize(
    "size, stride, padding, options",
    [
        (1, 1, ((0, 0), (0, 0)), {}),
        (3, 1, ((1, 1), (1, 1)), {}),
        (3, 1, ((0, 2), (3, 0)), {}),
        (4, 1, ((1, 2), (2, 1)), {}),
        (3, 2, ((1, 1), (1, 1)), {}),
        (3, 1, "SAME", {}),
        (3, 1, ((2, 2), (2, 2)), {"rhs_dilation": (2, 2)}),
        (3, 1, ((1, 1), (1, 1)), {"lhs_dilation": (2, 2)}),
        (3, 1, ((1, 1), (1, 1)), {"feature_group_count": 2}),
    ],
)
def test_convolution_and_gradients_equal_lax(size, stride, padding, options):
    rng = np.random.RandomState(2)
    channels = 4 // options.get("feature_group_count", 1)
    x = rng.standard_normal((2, 9, 7, 4)).astype(np.float32)
    kernel = rng.standard_normal((size, size, channels, 6)).astype(np.float32)

    def value_and_gradients(conv, x, kernel):
        def forward(x, kernel):
            return conv(x, kernel, (stride, stride), padding, dimension_numbers=LAYOUT, **options)

        out, vjp = jax.vjp(forward, x, kernel)
        return out, vjp(jnp.cos(out))

    ours = value_and_gradients(conv_general_dilated, x, kernel)
    plain = value_and_gradients(lax.conv_general_dilated, x, kernel)
    chex.assert_trees_all_close(ours, plain, rtol=1e-4, atol=1e-4)


def test_convolution_gradient_inside_scan_and_vmap():
    rng = np.random.RandomState(3)
    x = rng.standard_normal((2, 1, 6, 5, 4)).astype(np.float32)
    kernel = (0.1 * rng.standard_normal((3, 3, 4, 4))).astype(np.float32)

    def loss(conv, kernel, x):
        def body(h, _):
            pad = ((1, 1), (1, 1))
            return jnp.tanh(conv(h, kernel, (1, 1), pad, dimension_numbers=LAYOUT)), None

        return jnp.sum(lax.scan(body, x, length=3)[0] ** 2)

    gradients = [
        jax.vmap(jax.grad(partial(loss, conv), argnums=(0, 1)), in_axes=(None, 0))(kernel, x)
        for conv in (conv_general_dilated, lax.conv_general_dilated)
    ]
    chex.assert_trees_all_close(*gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mean", [0.0, 100.0])
def test_group_norm_equals_flax(mean):
    rng = np.random.RandomState(4)
    x = (mean + rng.standard_normal((2, 5, 7, 24))).astype(np.float32)
    params = {
        "params": {name: rng.standard_normal(24).astype(np.float32) for name in ("scale", "bias")}
    }
    theirs = nn.GroupNorm(num_groups=8, epsilon=1e-5, use_fast_variance=False)
    chex.assert_trees_all_close(
        GroupNorm(8).apply(params, x), theirs.apply(params, x), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_pixel_shuffle_inverts_unshuffle(factor):
    x = np.arange(2 * 6 * 12 * 4, dtype=np.float32).reshape(2, 6, 12, 4)
    chex.assert_shape(pixel_unshuffle(x, factor), (2, 6 // factor, 12 // factor, 4 * factor**2))
    np.testing.assert_array_equal(pixel_shuffle(pixel_unshuffle(x, factor), factor), x)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_attention_and_its_gradients(dtype, tolerance):
    """Against softmax as jax differentiates it, in float32; more keys than queries."""
    shapes = ((2, 5, 3, 4), (2, 7, 3, 4), (2, 7, 3, 4))
    keys = jax.random.split(jax.random.key(0), 4)
    draws = (jax.random.normal(a, b, dtype) for a, b in zip(keys[:3], shapes, strict=True))
    q, k, v = (2 * draw.astype(jnp.float32) for draw in draws)  # a bfloat16 number, if it is one
    pattern = jax.random.normal(keys[3], shapes[0])

    def plain(q, k, v):
        weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k))
        return jnp.einsum("bhqk,bkhd->bqhd", weights, v)

    def value_and_gradients(function, *inputs):
        value, pull = jax.vjp(function, *inputs)
        return value, *pull(pattern.astype(value.dtype))

    ours = value_and_gradients(attention, *(a.astype(dtype) for a in (q, k, v)))
    for ours_one, plain_one in zip(ours, value_and_gradients(plain, q, k, v), strict=True):
        assert ours_one.dtype == dtype
        scale = float(jnp.max(jnp.abs(plain_one)))
        np.testing.assert_allclose(
            ours_one.astype(jnp.float32), plain_one, rtol=0, atol=tolerance * scale
        )

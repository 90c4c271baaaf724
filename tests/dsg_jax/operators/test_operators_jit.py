"""The operators as pytrees under jit, vmap and grad, and their messages."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.operators.linear import (
    blur,
    gaussian_blur,
    hdr,
    identity,
    inpainting,
    phase_retrieval,
    super_resolution,
)
from dsg_jax.operators.spectral import block_average, circular_blur, fourier_subsampling

KERNEL = np.random.RandomState(5).rand(9, 9).astype(np.float32)


def mask_of(shape, seed=0):
    return (np.random.RandomState(seed).rand(*shape[:2]) > 0.6).astype(np.float32)


SHAPE = (32, 24, 3)
BUILDERS = {
    "identity": lambda i: identity(),
    "inpainting": lambda i: inpainting(mask_of(SHAPE, i)),
    "blur_fft": lambda i: blur(SHAPE, KERNEL / (i + 1)),
    "blur_direct": lambda i: blur(SHAPE, KERNEL[i : i + 3, :3]),
    "gaussian_blur": lambda i: gaussian_blur(SHAPE, 15, 1.0 + i),
    "circular_blur": lambda i: circular_blur(SHAPE, KERNEL / (i + 1)),
    "block_average": lambda i: block_average(SHAPE, 4),
    "fourier": lambda i: fourier_subsampling(SHAPE, mask_of(SHAPE, i)),
    "super_resolution": lambda i: super_resolution(SHAPE, 4),
    "phase_retrieval": lambda i: phase_retrieval(SHAPE, unit_range=i > 0),
    "hdr": lambda i: hdr(2.0 + i),
}


def normal(seed, shape):
    return jnp.asarray(np.random.RandomState(seed).standard_normal(shape), jnp.float32)


def half_square(operator, x, y):
    return 0.5 * jnp.sum((operator.forward(x) - y) ** 2)


@pytest.mark.parametrize("name", BUILDERS)
def test_jit_vmap_and_grad(name):
    operator, x = BUILDERS[name](1), 0.4 * normal(9, (3, *SHAPE))
    forward = jax.jit(lambda o, x: o.forward(x))
    one_by_one = jnp.stack([forward(operator, image) for image in x])
    batched = jax.vmap(forward, (None, 0))(operator, x)
    chex.assert_trees_all_close(batched, one_by_one, atol=1e-5)
    y = one_by_one[0] + 0.1

    @jax.jit
    def derivatives(operator, x, tangent, y):
        gradient = jax.grad(half_square, argnums=1)(operator, x, y)
        return gradient, jax.jvp(lambda x: half_square(operator, x, y), (x,), (tangent,))[1]

    gradient, slope = derivatives(operator, x[0], x[1], y)
    np.testing.assert_allclose(slope, jnp.vdot(gradient, x[1]), rtol=1e-4, atol=1e-5)
    chex.assert_type([batched, gradient], jnp.float32)


@pytest.mark.parametrize("name", BUILDERS)
def test_operators_of_a_shape_share_one_program(name):
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def gradient(operator, x):
        back = () if operator.adjoint is None else operator.adjoint(operator.forward(x))
        return jax.grad(half_square, argnums=1)(operator, x, 0.0), back

    x = normal(10, SHAPE)
    for i in range(3):
        chex.assert_tree_all_finite(gradient(BUILDERS[name](i), x))


@pytest.mark.parametrize("name", ["inpainting", "blur_fft", "blur_direct", "gaussian_blur"])
def test_vmap_over_operators(name):
    built = [BUILDERS[name](i) for i in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *built)
    x = normal(11, SHAPE)
    there_and_back = jax.jit(lambda o: o.adjoint(o.forward(x)))
    together = jax.vmap(there_and_back)(stacked)
    apart = jnp.stack([there_and_back(o) for o in built])
    chex.assert_trees_all_close(together, apart, rtol=1e-5, atol=1e-4)


def test_operators_can_be_built_under_jit():
    x = normal(12, SHAPE)
    kernel, mask = jnp.asarray(KERNEL), jnp.asarray(mask_of(x.shape))
    inside = jax.jit(lambda k, m: inpainting(m).forward(blur(x.shape, k).forward(x)))(kernel, mask)
    blurred = jax.jit(lambda o, x: o.forward(x))(blur(x.shape, KERNEL), x)
    outside = inpainting(mask).forward(blurred)
    chex.assert_trees_all_close(inside, outside, atol=1e-4)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: blur((16, 64, 3), np.ones((33, 33))), ["33", "16", "pads by 16", "at most 31"]),
        (lambda: gaussian_blur((12, 64, 3), 61, 3.0), ["25", "pads by 12", "side 12"]),
        (lambda: gaussian_blur((64, 64, 3), 60), ["odd", "60"]),
        (lambda: gaussian_blur((64, 64, 3), 61, 0.0), ["std", "0.0"]),
        (lambda: blur((16, 16, 3), np.ones((4, 4))), ["odd", "(4, 4)"]),
        (lambda: blur((16, 16, 3), np.ones((3, 3, 1))), ["two-dimensional", "(3, 3, 1)"]),
        (lambda: blur((16, 16, 3), np.ones((3, 3)), "wavelet"), ["wavelet", "fft"]),
        (
            lambda: blur((16, 16, 3), KERNEL).forward(jnp.ones((20, 16, 3))),
            ["(16, 16)", "(20, 16)"],
        ),
        (lambda: inpainting(np.full((4, 4), 0.5)), ["0.5"]),
        (lambda: inpainting(np.ones((4, 4, 3))), ["(4, 4, 3)"]),
        (lambda: super_resolution((30, 32, 3), 4), ["factor 4", "(30, 32)"]),
        (lambda: super_resolution((32, 32, 3), 0), ["factor 0"]),
        (lambda: phase_retrieval((32, 32, 3), pad=-1), ["(-1, -1)"]),
        (lambda: hdr(0.0), ["0.0"]),
    ],
)
def test_bad_settings_are_named(build, words):
    with pytest.raises(ValueError) as error:
        build()
    for word in words:
        assert word in str(error.value)

"""The operators against their definitions and their own algebra."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.operators.kernels import gaussian_kernel
from dsg_jax.operators.linear import (
    blur,
    cubic_matrix,
    gaussian_blur,
    identity,
    inpainting,
    phase_retrieval,
    super_resolution,
)
from dsg_jax.operators.spectral import block_average, circular_blur, fourier_subsampling

KERNEL = np.random.RandomState(5).rand(9, 9).astype(np.float32)
SHAPES = [(32, 32, 3), (24, 40, 3), (36, 20, 2)]  # two channels: complex in Fourier space


def mask_of(shape, seed=0):
    return (np.random.RandomState(seed).rand(*shape[:2]) > 0.6).astype(np.float32)


LINEAR = {
    "identity": lambda shape: identity(),
    "inpainting": lambda shape: inpainting(mask_of(shape)),
    "gaussian_blur": lambda shape: gaussian_blur(shape, 15, 2.0),
    "blur_fft": lambda shape: blur(shape, KERNEL / KERNEL.sum(), "fft"),
    "blur_fft_oblong": lambda shape: blur(shape, KERNEL[:7, :3], "fft"),
    "blur_direct": lambda shape: blur(shape, KERNEL[:5, :5], "direct"),
    "circular_blur": lambda shape: circular_blur(shape, KERNEL[:7, :3]),
    "block_average_4": lambda shape: block_average(shape, 4),
    "fourier": lambda shape: fourier_subsampling(shape, mask_of(shape)),
    "super_resolution_4": lambda shape: super_resolution(shape, 4),
    "super_resolution_2": lambda shape: super_resolution(shape, 2),
}
PSEUDO_INVERTIBLE = ["identity", "inpainting", "super_resolution_4", "super_resolution_2"]
PSEUDO_INVERTIBLE += ["block_average_4", "fourier"]
SPECTRAL = ["identity", "inpainting", "circular_blur", "block_average_4", "fourier"]


def normal(seed, shape):
    return jnp.asarray(np.random.RandomState(seed).standard_normal(shape), jnp.float32)


def half_square(operator, x, y):
    return 0.5 * jnp.sum((operator.forward(x) - y) ** 2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", LINEAR)
def test_adjoint_is_the_exact_transpose(name, shape):
    operator = LINEAR[name](shape)
    x = normal(1, shape)
    y = normal(2, jax.eval_shape(operator.forward, x).shape)

    @jax.jit
    def both(operator, x, y):
        by_autodiff = jax.linear_transpose(operator.forward, x)(y)[0]
        return operator.forward(x), operator.adjoint(y), by_autodiff, operator.transpose(y)

    ax, back, by_autodiff, repeated = both(operator, x, y)
    left, right = np.vdot(np.float64(ax), np.float64(y)), np.vdot(np.float64(x), np.float64(back))
    scale = np.linalg.norm(np.float64(ax)) * np.linalg.norm(np.float64(y))
    assert abs(left - right) <= 1e-6 * scale
    chex.assert_trees_all_close(back, by_autodiff, atol=1e-5)
    chex.assert_shape([back, repeated], shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", PSEUDO_INVERTIBLE)
def test_moore_penrose(name, shape):
    operator = LINEAR[name](shape)
    x = normal(3, shape)
    y = operator.forward(x)
    z = normal(4, y.shape)
    chex.assert_trees_all_close(operator.forward(operator.pseudo_inverse(y)), y, atol=1e-5)
    inverse = operator.pseudo_inverse(z)
    again = operator.pseudo_inverse(operator.forward(inverse))
    chex.assert_trees_all_close(again, inverse, atol=1e-5)
    row_space = operator.adjoint(z)
    chex.assert_trees_all_close(
        operator.pseudo_inverse(operator.forward(row_space)), row_space, atol=1e-5
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", SPECTRAL)
def test_functions_of_the_spectrum(name, shape):
    """A'A itself, the solution of (A'A / s^2 + 1 / r^2) z = x, and a root of a function."""
    operator, x = LINEAR[name](shape), normal(3, shape)
    normal_map = lambda z: operator.adjoint(operator.forward(z))
    chex.assert_trees_all_close(operator.spectral(lambda e: e, x), normal_map(x), atol=2e-4)
    z = operator.spectral(lambda e: 1 / (e / 0.5**2 + 1 / 2**2), x)
    chex.assert_trees_all_close(normal_map(z) / 0.5**2 + z / 2**2, x, atol=2e-4)
    root = lambda e: jnp.sqrt(1 + e)
    twice = operator.spectral(root, operator.spectral(root, x))
    chex.assert_trees_all_close(twice, x + normal_map(x), atol=2e-4)


def test_circular_blur_and_block_average_equal_their_definitions():
    x = normal(6, (20, 24, 2))
    shifts = [(i - 3, j - 1) for i in range(7) for j in range(3)]
    expected = sum(KERNEL[i + 3, j + 1] * np.roll(x, (-i, -j), (0, 1)) for i, j in shifts)
    value = circular_blur(x.shape, KERNEL[:7, :3]).forward(x)
    np.testing.assert_allclose(value, expected, atol=2e-5)
    means = np.stack([np.asarray(x)[i::4, j::4] for i in range(4) for j in range(4)]).mean(0)
    np.testing.assert_allclose(block_average(x.shape, 4).forward(x), means, atol=1e-6)


def test_subsampling_keeps_coefficients_of_the_centred_transform():
    x, mask = np.asarray(normal(6, (6, 9, 2))), mask_of((6, 9))
    centred = lambda z: np.fft.fftshift(np.fft.fft2(z, norm="ortho"))
    y = np.asarray(fourier_subsampling(x.shape, mask).forward(jnp.asarray(x)))
    expected = mask * centred(x[..., 0] + 1j * x[..., 1])
    np.testing.assert_allclose(y[..., 0] + 1j * y[..., 1], expected, atol=1e-6)
    grey = np.asarray(fourier_subsampling((6, 9, 1), mask).forward(jnp.asarray(x[..., :1])))
    np.testing.assert_allclose(
        grey[..., 0] + 1j * grey[..., 1], mask * centred(x[..., 0]), atol=1e-6
    )
    whole = fourier_subsampling(x.shape, np.ones((6, 9)))
    np.testing.assert_allclose(np.linalg.norm(whole.forward(x)), np.linalg.norm(x), rtol=1e-6)


@pytest.mark.parametrize("name", ["blur_fft", "blur_direct", "super_resolution_2", "gaussian_blur"])
def test_transpose_of_the_reference_is_not_the_adjoint(name):
    operator = LINEAR[name](SHAPES[0])
    y = operator.forward(normal(1, SHAPES[0]))
    assert not np.allclose(operator.transpose(y), operator.adjoint(y), atol=1e-2)


def correlate(x, kernel):
    """Reflect padding and correlation by their definition, in float64."""
    r, s = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = np.pad(np.float64(x), ((r, r), (s, s), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape, axis=(0, 1))
    return np.einsum("hwcij,ij->hwc", windows, np.float64(kernel))


@pytest.mark.parametrize("method", ["fft", "direct", "auto"])
@pytest.mark.parametrize("size", [(1, 1), (3, 3), (5, 5), (7, 9), (19, 31)])
def test_blur_equals_its_definition(method, size):
    x, kernel = normal(6, (20, 24, 2)), np.random.RandomState(7).randn(*size).astype(np.float32)
    expected = correlate(x, kernel)
    value = jax.jit(lambda o, x: o.forward(x))(blur(x.shape, kernel, method), x)
    np.testing.assert_allclose(value, expected, atol=1e-6 * np.abs(expected).max() * size[0])


def test_gaussian_blur_equals_the_blur_by_its_kernel():
    x = normal(8, (40, 33, 3))
    kernel = gaussian_kernel(61, 3.0).astype(np.float32)[15:46, 15:46]
    separable = gaussian_blur(x.shape, 61, 3.0)
    full = blur(x.shape, kernel)
    apply = jax.jit(lambda o, x: (o.forward(x), o.adjoint(x)))
    chex.assert_trees_all_close(apply(separable, x), apply(full, x), atol=1e-6)


@pytest.mark.parametrize(
    "build",
    [
        lambda shape: gaussian_blur(shape, 15, 2.0),
        lambda shape: blur(shape, KERNEL / KERNEL.sum()),
        lambda shape: blur(shape, KERNEL[:3, :3] / KERNEL[:3, :3].sum()),
        lambda shape: super_resolution(shape, 4),
    ],
)
def test_constants_stay(build):
    y = build((16, 24, 3)).forward(jnp.full((16, 24, 3), 0.37))
    chex.assert_trees_all_close(y, jnp.full_like(y, 0.37), atol=1e-6)


def test_gaussian_matrix_has_the_known_spectrum():
    matrix = np.float64(gaussian_blur((256, 256, 1)).forward.args[0])
    values = np.linalg.svd(matrix, compute_uv=False)
    assert values[0] == pytest.approx(1.00221, abs=1e-5)
    assert ((values > 1e-3).sum(), (values > 1e-2).sum()) == (101, 83)


def test_cubic_matrix_of_256_to_64():
    matrix = cubic_matrix(256, 4)
    half = np.array([987, 745, 399, 93, -49, -75, -45, -7]) / 4096
    expected = np.concatenate([half[::-1], half])
    for i in (2, 30, 61):
        np.testing.assert_allclose(matrix[i, 4 * i - 6 : 4 * i + 10], expected, atol=1e-15)
        assert np.count_nonzero(matrix[i]) == 16
    first = np.zeros(256)
    np.add.at(first, [5, 4, 3, 2, 1, 0, *range(10)], expected)
    np.testing.assert_allclose(matrix[0], first, atol=1e-15)
    last = np.zeros(256)
    np.add.at(last, [*range(246, 256), 255, 254, 253, 252, 251, 250], expected)
    np.testing.assert_allclose(matrix[63], last, atol=1e-15)
    values = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(values[[0, -1]], [0.5, 0.34852], atol=1e-5)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-14)


@pytest.mark.parametrize("factor", [1, 2, 3, 5, 8])
def test_every_factor_is_well_conditioned(factor):
    assert np.linalg.cond(cubic_matrix(4 * factor, factor)) < 2


def test_super_resolution_by_one_is_the_identity():
    x = normal(1, (6, 5, 1))
    chex.assert_trees_all_equal(super_resolution(x.shape, 1).forward(x), x)


def test_phase_retrieval_known_entries():
    x = jnp.asarray(np.random.RandomState(1).rand(256, 256, 1) * 2 - 1, jnp.float32)
    forward = jax.jit(lambda o, x: o.forward(x))
    y = forward(phase_retrieval(x.shape), x)
    chex.assert_shape(y, (384, 384, 1))
    np.testing.assert_allclose(y[192, 192, 0], np.sum(np.float64(x) + 1) / 2 / 384, rtol=1e-6)
    turned = forward(phase_retrieval(x.shape), x[::-1, ::-1])
    chex.assert_trees_all_close(turned, y, atol=2e-5)
    shape = (24, 40, 3)
    chex.assert_shape(phase_retrieval(shape).forward(jnp.zeros(shape)), (36, 60, 3))


@pytest.mark.parametrize("unit_range", [True, False])
def test_phase_retrieval_has_a_zero_gradient_at_zero(unit_range):
    black = jnp.full((8, 12, 2), -1.0 if unit_range else 0.0)
    operator = phase_retrieval(black.shape, unit_range=unit_range)
    y = jax.jit(lambda o, x: o.forward(x))(operator, black)
    chex.assert_trees_all_equal(y, jnp.zeros_like(y))
    gradient = jax.jit(jax.grad(half_square, argnums=1))(operator, black, y + 1)
    chex.assert_trees_all_equal(gradient, jnp.zeros_like(gradient))

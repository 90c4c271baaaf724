"""The classical baselines: exact where theory says so, better than the measurement elsewhere."""

import numpy as np
import pytest
from scipy.ndimage import correlate

from dsg_jax.metrics import psnr
from dsg_jax.operators.linear import blur, super_resolution
from experiments.quality.classical import best_balance, bicubic, biharmonic, tikhonov, wiener


def scene(h: int, w: int) -> np.ndarray:
    """Waves, a disc and an edge in three colours, inside [-0.8, 0.8]."""
    i, j = np.mgrid[:h, :w].astype(np.float32)
    disc = (i - h / 3) ** 2 + (j - w / 2) ** 2 < (h / 5) ** 2
    waves = np.sin(0.23 * i) * np.cos(0.19 * j)
    edge = j > 0.7 * w
    channels = [0.5 * waves + 0.3 * disc, 0.5 * waves - 0.3 * edge, 0.6 * disc - 0.2 * waves]
    return np.stack(channels, axis=2).astype(np.float32)


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.RandomState(0).standard_normal(shape).astype(np.float32)


def motion_kernel() -> np.ndarray:
    """An oblique streak from the centre to one corner: far from symmetric."""
    kernel = np.zeros((9, 9))
    kernel[range(4, 9), range(4, 9)] = [3, 2, 2, 1, 1]
    return kernel / kernel.sum()


def gaussian_kernel() -> np.ndarray:
    taps = np.exp(-0.5 * (np.arange(-4, 5) / 1.2) ** 2)
    return np.outer(taps, taps) / taps.sum() ** 2


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_bicubic_keeps_constants_and_ramps(factor):
    constant = np.full((6, 5, 3), 0.3, np.float32)
    np.testing.assert_allclose(bicubic(constant, factor), 0.3, atol=1e-6)
    ramp = np.broadcast_to(np.linspace(-0.5, 0.5, 12, dtype=np.float32)[:, None, None], (12, 9, 1))
    fine = bicubic(ramp, factor)
    assert fine.shape == (12 * factor, 9 * factor, 1)
    centres = (np.arange(12 * factor) + 0.5) / factor - 0.5  # in units of small pixels
    expected = (-0.5 + centres / 11)[2 * factor : -2 * factor, None, None]
    np.testing.assert_allclose(
        fine[2 * factor : -2 * factor],
        np.broadcast_to(expected, (8 * factor, 9 * factor, 1)),
        atol=1e-6,
    )


def test_bicubic_beats_repetition():
    x = scene(64, 48)
    y = np.asarray(super_resolution(x.shape, 4).forward(x))
    repeated = y.repeat(4, axis=0).repeat(4, axis=1)
    assert psnr(bicubic(y, 4), x) > psnr(repeated, x) + 1


def test_biharmonic_is_exact_for_cubics():
    """x^3 and x y have no biharmonic part, so a hole in them is restored exactly."""
    i, j = np.mgrid[:24, :20] / 12 - 1
    x = np.stack([0.7 * i**3, 0.8 * i * j, 0.5 * j**2 * i + 0.2 * j], axis=2).astype(np.float32)
    mask = np.ones((24, 20), np.uint8)
    mask[8:15, 7:12] = 0
    hole = np.where(mask[..., None], x, np.nan)  # the values in the hole are not read
    np.testing.assert_allclose(biharmonic(hole, mask), x, atol=2e-5)
    np.testing.assert_allclose(biharmonic(hole, mask[..., None]), x, atol=2e-5)


def test_biharmonic_fills_random_holes():
    x = scene(32, 40)
    mask = (np.random.RandomState(1).rand(32, 40) < 0.3).astype(np.float32)
    y = (x + 0.01 * noise(x.shape)) * mask[..., None]
    filled = biharmonic(y, mask)
    np.testing.assert_array_equal(filled[mask == 1], y[mask == 1])
    assert psnr(filled, x) > psnr(y, x) + 5


def blurred(x: np.ndarray, kernel: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(blur(x.shape, kernel).forward(x)) + sigma * noise(x.shape)


@pytest.mark.parametrize("sigma", [0.01, 0.05])
def test_wiener_beats_the_measurement(sigma):
    x, kernel = scene(64, 56), gaussian_kernel()
    y = blurred(x, kernel, sigma)
    restored = wiener(y, kernel, best_balance([x], [y], kernel))
    assert restored.shape == x.shape and restored.dtype == np.float32
    assert psnr(restored, x) > psnr(y, x) + 1


def test_wiener_inverts_a_mild_blur_without_noise():
    taps = np.array([0.1, 0.8, 0.1])
    kernel, x = np.outer(taps, taps), scene(40, 48)
    restored = wiener(blurred(x, kernel, 0.0), kernel, 1e-9)
    np.testing.assert_allclose(restored[4:-4, 4:-4], x[4:-4, 4:-4], atol=2e-3)
    np.testing.assert_allclose(wiener(x, np.ones((1, 1)), 1e-12), x, atol=1e-5)


def test_wiener_takes_the_kernel_as_a_correlation():
    x, kernel = scene(64, 56), motion_kernel()
    y = blurred(x, kernel, 0.01)
    right, flipped = (wiener(y, k, 0.1)[9:-9, 9:-9] for k in (kernel, kernel[::-1, ::-1]))
    assert psnr(right, x[9:-9, 9:-9]) > psnr(flipped, x[9:-9, 9:-9]) + 2


@pytest.mark.parametrize("sigma", [0.01, 0.05])
@pytest.mark.parametrize("name", ["gauss", "motion"])
def test_tikhonov_beats_the_measurement_and_wiener(name, sigma):
    kernel = gaussian_kernel() if name == "gauss" else motion_kernel()
    x = scene(64, 56)
    y = blurred(x, kernel, sigma)
    balance = best_balance([x], [y], kernel, restore=tikhonov)
    restored = tikhonov(y, kernel, balance)
    assert restored.shape == x.shape and restored.dtype == np.float32
    assert psnr(restored, x) > psnr(y, x) + 1
    periodic = wiener(y, kernel, best_balance([x], [y], kernel))
    # The same estimate but for the border, where a motion kernel makes the difference.
    assert psnr(restored, x) > psnr(periodic, x) + (0.5 if name == "motion" else -0.2)


def test_tikhonov_solves_its_normal_equations():
    """Against the dense solution: K and the Laplacian L as matrices of a small image."""
    x, kernel = scene(7, 6)[..., :1], gaussian_kernel()[2:-2, 2:-2]
    y = blurred(x, kernel, 0.02)
    unit = np.eye(42).reshape(42, 7, 6)
    stencil = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]])
    matrices = [
        np.stack([correlate(e, k, mode="mirror").ravel() for e in unit], axis=1)
        for k in (kernel, stencil)
    ]
    normal = matrices[0].T @ matrices[0] + 0.05 * matrices[1].T @ matrices[1]
    expected = np.linalg.solve(normal, matrices[0].T @ y.ravel())
    np.testing.assert_allclose(tikhonov(y, kernel, 0.05).ravel(), expected, atol=2e-4)


def test_best_balance_grows_with_the_noise():
    x, kernel = scene(48, 48), gaussian_kernel()
    measured = [blurred(x, kernel, sigma) for sigma in (0.003, 0.03, 0.3)]
    chosen = [best_balance([x, x[::-1]], [y, y[::-1]], kernel) for y in measured]
    assert chosen == sorted(chosen) and chosen[0] < chosen[-1]


def test_best_balance_is_the_best_of_the_mean():
    """Images of different sizes, each with its own kernel."""
    kernels = np.stack([motion_kernel(), gaussian_kernel()])
    images = [scene(32, 32), scene(48, 40)]
    measured = [blurred(x, k, 0.02) for x, k in zip(images, kernels)]
    candidates = (1e-3, 1e-2, 1e-1, 1.0)
    means = [
        np.mean([psnr(wiener(y, k, b), x) for x, y, k in zip(images, measured, kernels)])
        for b in candidates
    ]
    chosen = best_balance(images, measured, kernels, candidates)
    assert chosen == candidates[int(np.argmax(means))]

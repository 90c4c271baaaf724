"""The classical baselines: exact where theory says so, better than the measurement elsewhere."""

from functools import partial

import numpy as np
import pytest
from scipy.ndimage import correlate

from dsg_jax.metrics import psnr
from dsg_jax.operators import blur, hdr, identity, super_resolution
from dsg_jax.types import Problem
from experiments.classical import best_balance, bicubic, biharmonic, tikhonov, wiener


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
        fine[2 * factor : -2 * factor], np.broadcast_to(expected, (8 * factor, 9 * factor, 1)),
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


def blurred(x: np.ndarray, kernel: np.ndarray, sigma: float) -> Problem:
    operator = blur(x.shape, kernel)
    return Problem(operator, operator.forward(x) + sigma * noise(x.shape), sigma)


@pytest.mark.parametrize("sigma", [0.01, 0.05])
def test_wiener_beats_the_measurement(sigma):
    x, restore = scene(64, 56), partial(wiener_with, gaussian_kernel())
    y = blurred(x, gaussian_kernel(), sigma).y
    restored = restore(y, best_balance(restore, [y], [x]))
    assert restored.shape == x.shape and restored.dtype == np.float32
    assert psnr(restored, x) > psnr(y, x) + 1


def wiener_with(kernel: np.ndarray, y: np.ndarray, balance: float) -> np.ndarray:
    return wiener(y, kernel, balance)


def test_wiener_inverts_a_mild_blur_without_noise():
    taps = np.array([0.1, 0.8, 0.1])
    kernel, x = np.outer(taps, taps), scene(40, 48)
    restored = wiener(blurred(x, kernel, 0.0).y, kernel, 1e-9)
    np.testing.assert_allclose(restored[4:-4, 4:-4], x[4:-4, 4:-4], atol=2e-3)
    np.testing.assert_allclose(wiener(x, np.ones((1, 1)), 1e-12), x, atol=1e-5)


def test_wiener_takes_the_kernel_as_a_correlation():
    x, kernel = scene(64, 56), motion_kernel()
    y = blurred(x, kernel, 0.01).y
    right, flipped = (wiener(y, k, 0.1)[9:-9, 9:-9] for k in (kernel, kernel[::-1, ::-1]))
    assert psnr(right, x[9:-9, 9:-9]) > psnr(flipped, x[9:-9, 9:-9]) + 2


@pytest.mark.parametrize("sigma", [0.01, 0.05])
@pytest.mark.parametrize("kernel", [gaussian_kernel(), motion_kernel()], ids=["gauss", "motion"])
def test_tikhonov_beats_wiener(kernel, sigma):
    x, filtered = scene(64, 56), partial(wiener_with, kernel)
    problem = blurred(x, kernel, sigma)
    restored = tikhonov(problem, best_balance(tikhonov, [problem], [x]))
    assert restored.shape == x.shape and restored.dtype == np.float32
    assert psnr(restored, x) > psnr(problem.y, x) + 1
    periodic = filtered(problem.y, best_balance(filtered, [problem.y], [x]))
    # The same estimate but for the border, where a motion kernel makes the difference.
    assert psnr(restored, x) > psnr(periodic, x) + (0.5 if kernel[8, 8] > 0.05 else -0.2)


def test_tikhonov_solves_its_normal_equations():
    """Against the dense solution: A and the Laplacian L as matrices of a small image."""
    x = scene(7, 6)[..., :1]
    problem = blurred(x, gaussian_kernel()[2:-2, 2:-2], 0.02)
    unit = np.eye(42, dtype=np.float32).reshape(42, 7, 6, 1)
    a = np.stack([np.asarray(problem.operator.forward(e)).ravel() for e in unit], axis=1)
    stencil = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]])
    smooth = np.stack([correlate(e[..., 0], stencil, mode="mirror").ravel() for e in unit], axis=1)
    y = np.asarray(problem.y, np.float64).ravel()
    expected = np.linalg.solve(a.T @ a + 0.05 * smooth.T @ smooth, a.T @ y)
    np.testing.assert_allclose(tikhonov(problem, 0.05).ravel(), expected, atol=2e-4)


def test_tikhonov_for_super_resolution():
    x = scene(64, 48)
    operator = super_resolution(x.shape, 4)
    problem = Problem(operator, operator.forward(x), 0.0)
    assert psnr(tikhonov(problem, 1e-3), x) > psnr(bicubic(problem.y, 4), x)


def test_best_balance_grows_with_the_noise():
    x, restore = scene(48, 48), partial(wiener_with, gaussian_kernel())
    chosen = [best_balance(restore, [y, y[::-1]], [x, x[::-1]])
              for y in (blurred(x, gaussian_kernel(), s).y for s in (0.003, 0.03, 0.3))]
    assert chosen == sorted(chosen) and chosen[0] < chosen[-1]


def test_best_balance_is_the_best_of_the_mean():
    images, restore = [scene(32, 32), scene(48, 40)], partial(wiener_with, gaussian_kernel())
    measured = [blurred(x, gaussian_kernel(), s).y for x, s in zip(images, (0.01, 0.1))]
    candidates = (1e-3, 1e-2, 1e-1, 1.0)
    means = [np.mean([psnr(restore(y, b), x) for x, y in zip(images, measured)])
             for b in candidates]
    chosen = best_balance(restore, measured, images, candidates)
    assert chosen == candidates[int(np.argmax(means))]


def test_refused_inputs():
    image, kernel = np.zeros((8, 8, 3)), np.ones((3, 3)) / 9
    with pytest.raises(ValueError, match="positive integer, got 1.5"):
        bicubic(image, 1.5)
    with pytest.raises(ValueError, match=r"\(h, w, c\), got \(8, 8\)"):
        bicubic(image[..., 0], 2)
    with pytest.raises(ValueError, match=r"mask of shape \(4, 4\)"):
        biharmonic(image, np.ones((4, 4)))
    with pytest.raises(ValueError, match="only 0"):
        biharmonic(image, np.full((8, 8), 0.5))
    with pytest.raises(ValueError, match="at least one 1"):
        biharmonic(image, np.zeros((8, 8)))
    with pytest.raises(ValueError, match=r"odd sides, got \(4, 3\)"):
        wiener(image, np.ones((4, 3)), 0.1)
    with pytest.raises(ValueError, match="balance must be positive, got 0"):
        wiener(image, kernel, 0)
    with pytest.raises(ValueError, match="1 images and 0 measurements"):
        best_balance(tikhonov, [], [image])
    with pytest.raises(ValueError, match="balance must be positive, got -1"):
        tikhonov(Problem(identity(), image, 0.0), -1)
    with pytest.raises(ValueError, match="no adjoint"):
        tikhonov(Problem(hdr(), image, 0.0), 0.1)

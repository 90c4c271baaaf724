"""Masks and kernels against the reference's draws."""

import numpy as np
import pytest

from dsg_jax.operators.kernels import (
    box_mask,
    gaussian_kernel,
    gaussian_taps,
    mirrored_index,
    motion_kernel,
    random_mask,
    reduce_kernel,
    reference_motion_kernel,
)
from support.golden_case import load

# One grey level of the brightest pixel: Pillow versions may round a pixel differently.
GREY_LEVEL = 1 / 255
TAPS = [
    0.1329845386,
    0.1257979835,
    0.1064856940,
    0.08065919990,
    0.05467157825,
    0.03315998842,
    0.01799750019,
    0.008740878048,
    0.003798769940,
    0.001477324778,
    0.0005141076058,
    0.0001600947659,
    0.00004461134277,
]


def rng(seed):
    return np.random.RandomState(seed)


def test_gaussian_taps():
    taps = gaussian_taps(61, 3.0)
    np.testing.assert_allclose(taps[30:43], TAPS, rtol=1e-9)
    np.testing.assert_allclose(taps[30:17:-1], TAPS, rtol=1e-9)
    assert not taps[:18].any() and not taps[43:].any()


@pytest.mark.parametrize(("case", "size", "std"), [("k61", 61, 3.0), ("k9", 9, 1.5)])
def test_gaussian_kernel_equals_the_reference(case, size, std):
    _, arrays = load(f"operators/gaussian_{case}_small")
    np.testing.assert_allclose(gaussian_kernel(size, std), arrays["kernel"], atol=1e-16)


@pytest.mark.parametrize(("size", "std"), [(1, 0.3), (3, 5.0), (31, 2.0)])
def test_gaussian_kernel_is_normalised_and_symmetric(size, std):
    kernel = gaussian_kernel(size, std)
    assert kernel.sum() == pytest.approx(1, abs=1e-14)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-17)
    np.testing.assert_array_equal(kernel, kernel.T)


def test_mirrored_index():
    expected = [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0]
    np.testing.assert_array_equal(mirrored_index(np.arange(-4, 7), 3), expected)


def test_golden_motion_kernel():
    _, arrays = load("operators/motion_k61_big")
    kernel = reference_motion_kernel(31)
    np.testing.assert_allclose(kernel, arrays["kernel"], atol=GREY_LEVEL * kernel.max())


@pytest.mark.parametrize(
    ("seed", "second", "peak", "where", "taps", "energy"),
    [
        (42, True, 0.06693877, (29, 28), 37, 0.0459602),
        (42, False, 0.01677107, (14, 34), 150, 0.01244633),
        (0, True, 0.01891253, (32, 34), 162, 0.01217538),
    ],
)
def test_known_motion_kernels(seed, second, peak, where, taps, energy):
    kernel = reference_motion_kernel(seed) if second else motion_kernel(rng(seed))
    assert kernel.dtype == np.float32
    assert kernel.max() == pytest.approx(peak, rel=GREY_LEVEL)
    assert np.unravel_index(kernel.argmax(), kernel.shape) == where
    assert np.count_nonzero(kernel) == pytest.approx(taps, rel=0.02)
    assert np.sum(np.float64(kernel) ** 2) == pytest.approx(energy, rel=GREY_LEVEL)


def test_support_of_the_mild_kernel_of_seed_42():
    kernel = np.float64(reference_motion_kernel(42))
    rows, columns = np.nonzero(kernel > GREY_LEVEL * kernel.max())
    assert (rows.min(), rows.max()) == (26, 34) and (columns.min(), columns.max()) == (26, 36)
    centre = [(kernel.sum(axis=1 - a) * np.arange(61)).sum() for a in (0, 1)]
    np.testing.assert_allclose(centre, [30.3869, 30.7592], atol=0.02)


@pytest.mark.parametrize("size", [1, 3, 15, 31, 53, 55, 61, 121])
@pytest.mark.parametrize("intensity", [0.0, 0.5, 1.0])
def test_motion_kernels_of_any_size_are_probabilities(size, intensity):
    for seed in range(3):
        kernel = motion_kernel(rng(seed), size, intensity)
        assert kernel.shape == (size, size)
        assert kernel.min() >= 0
        assert kernel.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)


def test_small_motion_kernels_are_reduced_from_61():
    large, small = motion_kernel(rng(3), 61), motion_kernel(rng(3), 15)
    reduced = reduce_kernel(np.float64(large), 15)
    np.testing.assert_allclose(small, reduced / reduced.sum(), atol=1e-7)

    def centre(kernel):
        n = len(kernel)
        return [(kernel.sum(axis=1 - a) * (np.arange(n) + 0.5)).sum() / n for a in (0, 1)]

    np.testing.assert_allclose(centre(small), centre(large), atol=0.01)


def test_reduce_kernel_by_hand():
    np.testing.assert_allclose(reduce_kernel(np.ones((3, 3)), 1), [[9.0]])
    np.testing.assert_allclose(reduce_kernel(np.diag([1.0, 2.0, 4.0]), 3), np.diag([1.0, 2.0, 4.0]))
    eye = reduce_kernel(np.eye(5), 3)
    assert eye.sum() == pytest.approx(5)
    row = np.array([[1, 2 / 3, 0, 0, 0], [0, 1 / 3, 1, 1 / 3, 0], [0, 0, 0, 2 / 3, 1]])
    np.testing.assert_allclose(eye, row @ row.T, atol=1e-12)


@pytest.mark.parametrize(
    ("case", "seed", "box"), [("inpaint_box_big", 42, 128), ("inpaint_box_small", 43, 28)]
)
def test_golden_box_masks(case, seed, box):
    _, arrays = load(f"operators/{case}")
    mask = arrays["mask"][0, 0]
    np.testing.assert_array_equal(box_mask(rng(seed), mask.shape, box, 16), mask)


@pytest.mark.parametrize(("margin", "corner"), [(16, (67, 108)), (32, (70, 83))])
def test_known_boxes(margin, corner):
    mask = box_mask(rng(42), (256, 256), 128, margin)
    assert tuple(np.argwhere(mask == 0)[0]) == corner
    assert (mask == 0).sum() == 128 * 128


def test_boxes_respect_the_margin_of_oblong_images():
    for seed in range(50):
        rows, columns = np.nonzero(box_mask(rng(seed), (20, 31, 3), 9, 4) == 0)
        assert rows.min() >= 4 and rows.max() < 20 - 4 and columns.min() >= 4
        assert columns.max() < 31 - 4


def test_golden_random_mask():
    _, arrays = load("operators/inpaint_random_big")
    mask = random_mask(rng(42), (256, 256))
    np.testing.assert_array_equal(mask, arrays["mask"][0, 0])
    assert (mask == 0).sum() == 46120
    assert not mask.reshape(-1)[[3944, 41055, 8777, 1842, 60324, 28051, 14894, 12986]].any()


def test_random_masks_of_oblong_images():
    mask = random_mask(rng(0), (10, 30), 0.5, 0.5)
    assert mask.shape == (10, 30) and mask.sum() == 150


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: gaussian_kernel(8), ["odd", "8"]),
        (lambda: motion_kernel(rng(0), 60), ["odd", "60"]),
        (lambda: motion_kernel(rng(0), 61, 1.5), ["intensity", "1.5"]),
        (lambda: box_mask(rng(0), (64, 32), 28, 2), ["28", "margin 2", "64 x 32"]),
        (lambda: box_mask(rng(0), (64, 64), 0, 2), ["box of 0"]),
        (lambda: random_mask(rng(0), (8, 8), 0.9, 0.2), ["0.9", "0.2"]),
        (lambda: random_mask(rng(0), (8, 8), 0.9, 1.2), ["1.2"]),
    ],
)
def test_bad_settings_are_named(draw, words):
    with pytest.raises(ValueError) as error:
        draw()
    for word in words:
        assert word in str(error.value)

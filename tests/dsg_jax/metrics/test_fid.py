"""FID against pytorch-fid's numbers, and against Gaussians whose distance is known."""

import numpy as np
import pytest

from dsg_jax.metrics.fid import (
    Statistics,
    frechet_distance,
    inception_features,
    resized,
    statistics,
    statistics_of_few,
)
from support.golden_case import assert_close
from support.inception_case import ARRAYS, MANIFEST, golden_images, golden_params, golden_state


def test_golden_features():
    params = golden_params()
    (features,) = inception_features(params, golden_images(), batch=3)
    assert_close("pool3", features, ARRAYS["pool3"], MANIFEST)
    fc = {name: golden_state()[f"fc.{name}"] for name in ("weight", "bias")}
    assert_close("logits", features @ fc["weight"].T + fc["bias"], ARRAYS["logits"], MANIFEST)
    np.testing.assert_array_equal(params["fc"]["kernel"], fc["weight"].T)


@pytest.mark.parametrize("sides", [(20, 31), (299, 299), (640, 500)])
def test_a_ramp_stays_one(sides):
    """Bilinear interpolation is exact for a plane, but within half a pixel of the border."""
    places = [np.linspace(0, 1, 2 * n + 1)[1::2] for n in sides]
    plane = np.float32(places[0][:, None] - 0.5 * places[1])[..., None]
    wide, there = resized(plane), np.linspace(0, 1, 2 * 299 + 1)[1::2]
    expected = there[:, None] - 0.5 * there
    inside = slice(10, -10)
    np.testing.assert_allclose(wide[inside, inside, 2], expected[inside, inside], atol=1e-6)
    assert wide.shape == (299, 299, 3) and plane.min() <= wide.min() <= wide.max() <= plane.max()


def gaussian(mean, covariance) -> Statistics:
    return Statistics(9, np.array(mean, np.float64), np.array(covariance, np.float64))


TURN = np.linalg.qr(np.random.RandomState(0).standard_normal((4, 4)))[0]
turned = lambda *values: TURN @ np.diag(values) @ TURN.T

# Two Gaussians and |m_a - m_b|^2 + the squared difference of the roots of their covariances, which
# is what is left where these commute.
CLOSED = {
    "means": (gaussian([1, 2], np.eye(2)), gaussian([4, -2], np.eye(2)), 25.0),
    "one axis": (gaussian([0], [[4]]), gaussian([1], [[9]]), 2.0),
    "commuting": (
        gaussian(np.zeros(4), turned(1, 4, 9, 16)),
        gaussian(np.ones(4), turned(4, 4, 1, 25)),
        4 + 1 + 0 + 4 + 1.0,
    ),
    "of lower rank": (
        gaussian(np.zeros(4), turned(4, 1, 0, 0)),
        gaussian(np.zeros(4), turned(0, 9, 16, 0)),
        4 + 4 + 16.0,
    ),
}


@pytest.mark.parametrize("name", CLOSED)
def test_known_distances(name):
    a, b, distance = CLOSED[name]
    assert frechet_distance(a, b) == pytest.approx(distance, rel=1e-7)
    assert frechet_distance(b, a) == pytest.approx(distance, rel=1e-7)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-7)


def drawn(seed: int, size: int, count: int) -> np.ndarray:
    r = np.random.RandomState(seed)
    x = r.standard_normal((count, size)) @ r.standard_normal((size, size)) / np.sqrt(size)
    return x + r.standard_normal(size)


@pytest.mark.parametrize("name", MANIFEST["gaussians"])
def test_golden_distances(name):
    size, *counts = MANIFEST["gaussians"][name]
    a, b = (statistics(np.array_split(drawn(k, size, n), 7)) for k, n in enumerate(counts, 1))
    assert (a.images, b.images) == tuple(counts)
    np.testing.assert_allclose(a.covariance, np.cov(drawn(1, size, a.images), rowvar=False))
    np.testing.assert_allclose(a.mean, drawn(1, size, a.images).mean(axis=0))
    expected = float(ARRAYS[f"distance_{name}"])
    for one in (a, statistics_of_few(drawn(1, size, a.images))):
        assert frechet_distance(one, b) == pytest.approx(expected, rel=2e-6)
    few, more = (statistics_of_few(drawn(k, size, n)) for k, n in ((3, size), (4, size + 1)))
    assert few.root is not None and more.root is None
    blank = few._replace(root=None)
    assert frechet_distance(few, b) == pytest.approx(frechet_distance(blank, b), rel=2e-6)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=2e-6)

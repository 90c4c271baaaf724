"""LPIPS weights from PyTorch files: the package's for equal numbers, strict, stored."""

import json
import pickle

import chex
import jax
import numpy as np
import pytest

from checkpoints_convert.lpips import DROPPED, lpips_from_torch
from dsg_jax.metrics.lpips import TRUNKS, lpips_shapes, lpips_weights, save_lpips
from experiments.restore import metrics as perceptual
from support.lpips_cases import PUBLISHED, stored
from support.lpips_files import torch_files


@pytest.mark.parametrize("net", TRUNKS)
def test_shapes_are_the_published_ones(net):
    trunk, heads, _ = PUBLISHED[net]
    shapes = lpips_shapes(net)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes.convolutions)) == trunk
    assert sum(head.size for head in shapes.heads) == heads


@pytest.mark.parametrize("net", TRUNKS)
def test_equals_the_packages_form_of_the_same_numbers(net, tmp_path):
    trunk, heads = torch_files(net)
    weights = lpips_from_torch(trunk, heads, net)
    first = trunk["features.0.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(weights.convolutions[0]["kernel"], first)
    np.testing.assert_array_equal(weights.heads[4], heads["lin4.model.1.weight"].ravel())
    used = jax.tree.leaves(weights)
    dropped = [key for key in trunk if key.startswith(tuple(DROPPED))]
    assert len(used) == len(trunk) + len(heads) - len(dropped) and len(dropped) == 2
    path = tmp_path / TRUNKS[net].file
    path.write_bytes(pickle.dumps(stored(weights), protocol=3))
    chex.assert_trees_all_equal(lpips_weights(net, path), weights)


def test_conversion_is_strict():
    trunk, heads = torch_files("alex")
    with pytest.raises(ValueError, match="choose from alex, vgg"):
        lpips_from_torch(trunk, heads, "squeeze")
    with pytest.raises(ValueError, match=r"1 missing: lin4\.model\.1\.weight$"):
        lpips_from_torch(trunk, {k: v for k, v in heads.items() if "4" not in k}, "alex")
    with pytest.raises(ValueError, match=r"1 not part of the network: features\.1\.bias$"):
        lpips_from_torch(trunk | {"features.1.bias": np.zeros(3)}, heads, "alex")
    with pytest.raises(ValueError, match=r"missing: features\.12\.bias.*features\.3\.weight"):
        lpips_from_torch(trunk, heads, "vgg")


def test_folder(tmp_path, monkeypatch):
    weights = lpips_from_torch(*torch_files("alex"), "alex")
    folder = tmp_path / "alex"
    card = save_lpips(folder, weights, {"source": "random"})
    assert card["kind"] == "lpips-alex" and card["parameters"] == 2_469_696 + 1_152
    assert json.loads((folder / "card.json").read_text())["source"] == "random"
    chex.assert_trees_all_equal(lpips_weights("alex", folder), weights)
    with pytest.raises(ValueError, match="kind 'lpips-alex'.*wanted here is lpips-vgg"):
        lpips_weights("vgg", folder)
    monkeypatch.setenv("DSG_JAX_LPIPS", str(folder))
    none, reason = perceptual.installed_weights.__wrapped__()
    assert none is None and "wanted here is lpips-vgg" in reason

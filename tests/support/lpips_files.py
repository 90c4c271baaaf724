"""Shared by the tests of lpips conversion."""

import numpy as np

from checkpoints_convert.lpips import LAYERS
from dsg_jax.metrics.lpips import lpips_shapes


def torch_files(net: str) -> tuple[dict, dict]:
    """Random tensors under the names and in the layout of the two files."""
    rng, shapes = np.random.default_rng(0), lpips_shapes(net)
    draw = lambda *shape: rng.standard_normal(shape, np.float32)
    trunk = {"classifier.1.weight": draw(3, 4), "classifier.1.bias": draw(3)}
    for i, layer in zip(LAYERS[net], shapes.convolutions, strict=True):
        h, w, c, features = layer["kernel"].shape
        trunk |= {f"features.{i}.weight": draw(features, c, h, w)}
        trunk |= {f"features.{i}.bias": draw(features)}
    heads = {f"lin{k}.model.1.weight": draw(1, h.size, 1, 1) for k, h in enumerate(shapes.heads)}
    return trunk, heads

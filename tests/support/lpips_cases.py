"""Shared by the tests of lpips."""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from dsg_jax.metrics.lpips import PACKAGED
from dsg_jax.networks.lpips import TRUNKS, LPIPSWeights, lpips_structs

PLACES = {"alex": (0, 3, 6, 8, 10), "vgg": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)}
"""Of the convolutions in torchvision's ``features``."""
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


def stored(weights) -> dict:
    """The package's layout."""
    trunk = {f"Conv_{i}": dict(layer) for i, layer in enumerate(weights.convolutions)}
    heads = {
        f"NetLinLayer_{k}": {"Conv_0": {"kernel": head[None, None, :, None]}}
        for k, head in enumerate(weights.heads)
    }
    return {PACKAGED[weights.net][1]: trunk} | heads


def torch_files(net: str) -> tuple[dict, dict]:
    """Random tensors under the names and in the layout of torchvision's and the official file."""
    rng, structs = np.random.default_rng(0), lpips_structs(net)
    draw = lambda *shape: rng.standard_normal(shape, np.float32)
    trunk = {"classifier.1.weight": draw(3, 4), "classifier.1.bias": draw(3)}
    for i, layer in zip(PLACES[net], structs["convolutions"], strict=True):
        h, w, c, features = layer["kernel"].shape
        trunk |= {f"features.{i}.weight": draw(features, c, h, w)}
        trunk |= {f"features.{i}.bias": draw(features)}
    heads = {
        f"lin{k}.model.1.weight": draw(1, h.size, 1, 1) for k, h in enumerate(structs["heads"])
    }
    return trunk, heads

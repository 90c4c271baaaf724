"""Shared by the tests of networks."""

import gzip
import math
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np

from checkpoints_convert.match import our_name, to_layout
from support.golden_case import GOLDEN, assert_close, load, read_arrays


def nhwc(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 1, -1)


def nchw(x: jax.Array) -> np.ndarray:
    return np.moveaxis(np.asarray(x), -1, 1)


def pattern(k: int, shape: tuple[int, ...]) -> np.ndarray:
    i = np.arange(1, math.prod(shape) + 1)
    values = np.sqrt(2) * np.sin(0.7 * i * (1 + 0.37 * k) + 1.3 * k)
    return values.reshape(shape).astype(np.float32)


@partial(jax.jit, static_argnums=0)
def output_and_gradient(module, params, x, cotangent, *times):
    out, vjp = jax.vjp(lambda x: module.apply(params, x, *times), x)
    return out, vjp(cotangent)[0]


def check_golden(case: str, module: nn.Module, params, x: np.ndarray, *times) -> None:
    manifest, arrays = load(f"networks/{case}")
    cotangent = nhwc(pattern(9, arrays["output"].shape))
    out, gradient = output_and_gradient(module, params, nhwc(x), cotangent, *times)
    assert_close("output", nchw(out), arrays["output"], manifest)
    assert_close("grad_x", nchw(gradient), arrays["grad_x"], manifest)


def module_params(path: Path, module: nn.Module, *example: np.ndarray) -> dict:
    """A state dict of one module as its variables, by the converter's names and layouts."""
    structs = jax.eval_shape(module.init, jax.random.key(0), *example)["params"]
    arrays = read_arrays(path)
    leaf = lambda path, struct: np.float32(to_layout(arrays.pop(our_name(path)), struct.shape))
    params = jax.tree_util.tree_map_with_path(leaf, structs)
    assert not arrays
    return {"params": params}


def published_keys(name: str) -> dict[str, tuple[int, ...]]:
    lines = gzip.decompress((GOLDEN / "keys" / f"{name}.txt.gz").read_bytes()).decode().splitlines()
    pairs = (line.split(" ", 1) for line in lines if not line.startswith("#"))
    return {key: tuple(int(n) for n in shape.strip("(), ").split(",")) for key, shape in pairs}


def torch_shapes(params) -> dict[str, tuple[int, ...]]:
    """Names and shapes in the checkpoint of a network's parameters."""
    shapes = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        shape = leaf.shape
        if len(shape) == 4:
            shape = (shape[3], shape[2], shape[0], shape[1])
        elif len(shape) == 2:
            one_wide = path[-2].key in ("qkv", "proj_out")  # a 1x1 Conv1d there
            shape = (shape[1], shape[0], *((1,) if one_wide else ()))
        shapes[our_name(path)] = shape
    return shapes


def recipe_weights(manifest: dict, name: str) -> dict[str, np.ndarray]:
    """A case's random state dict, by the recipe in its manifest; "" has the names there, too."""
    state_dict = {}
    listed = manifest["keys"] if name == "" else published_keys(name).items()
    for j, (key, shape, *_) in enumerate(listed):
        z = np.random.RandomState(manifest["seed"] + j).standard_normal(shape)
        if key.endswith("resample_filter"):
            z = np.full(shape, 0.25)
        elif key == "quantize.embedding.weight":
            z *= 0.8
        elif len(shape) > 1:
            z *= manifest["gain"] / math.sqrt(math.prod(shape[1:]))
        else:
            z = 1 + 0.2 * z if key.endswith(("weight", "running_var")) else 0.1 * z
        state_dict[key] = z.astype(np.float32)
    return state_dict

"""PyTorch names and layouts to Flax's: one rule, because our modules carry the checkpoint's names.

A parameter's path, joined by dots, is its key, except that the leaves ``kernel`` and ``scale`` are
both called ``weight`` there. Convolutions change from (out, in, h, w) to (h, w, in, out), linear
layers and 1x1 `Conv1d` (out, in, 1) to (in, out); vectors stay.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import DictKey

from dsg_jax.networks.adm import ADMConfig, ADMUNet


def torch_key(path: tuple[DictKey, ...]) -> str:
    """("params", "out.2", "kernel") -> "out.2.weight"."""
    *modules, leaf = (entry.key for entry in path[1:])
    return ".".join([*modules, "weight" if leaf in ("kernel", "scale") else leaf])


def _to_flax_layout(weight: np.ndarray) -> np.ndarray:
    if weight.ndim == 4:
        return weight.transpose(2, 3, 1, 0)
    if weight.ndim == 3 and weight.shape[2] == 1:
        return weight[:, :, 0].T
    return weight.T if weight.ndim == 2 else weight


def excerpt(problem: str, keys: list[str]) -> str:
    """("missing", [...]) -> "7 missing: a, b, c, d, e, ..."."""
    return f"{len(keys)} {problem}: {', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''}"


def with_nearest(missing: list[str], left_over: Iterable[str]) -> list[str]:
    """Add the most similar left-over name to those missing names that an excerpt shows."""
    shown, rest, candidates = missing[:5], missing[5:], list(left_over)
    nearest = [get_close_matches(key, candidates, n=1) for key in shown]
    pairs = zip(shown, nearest, strict=True)
    return [f"{key} (nearest is {near[0]})" if near else key for key, near in pairs] + rest


def to_flax(state_dict: Mapping[str, np.ndarray], wanted: Any) -> Any:
    """Rename and transpose a state dict into the parameters of one network.

    Args:
      state_dict: PyTorch names to arrays of any floating type.
      wanted: the network's variables as shapes, `jax.eval_shape` of its ``init``.

    Returns:
      float32 numpy arrays in the structure of ``wanted``.

    Raises:
      ValueError: a wanted key is missing, a key is left over, or a value is not a floating-point
        array of the wanted shape; with the counts and the first five names of each, and with the
        left-over name that is most like a missing one.
    """
    paths, structure = jax.tree_util.tree_flatten_with_path(wanted)
    shapes = {torch_key(path): leaf.shape for path, leaf in paths}
    found, misshapen = {}, []
    for key in shapes.keys() & state_dict.keys():
        value = state_dict[key]
        floating = isinstance(value, np.ndarray) and jnp.issubdtype(value.dtype, jnp.floating)
        if floating and _to_flax_layout(value).shape == shapes[key]:
            found[key] = np.ascontiguousarray(_to_flax_layout(value), np.float32)
        else:
            shape = f"{value.shape} {value.dtype}" if hasattr(value, "dtype") else type(value)
            misshapen.append(f"{key} ({shape}, wanted as {shapes[key]})")
    left_over = sorted(map(str, state_dict.keys() - shapes.keys()))
    problems = {
        "missing": with_nearest(sorted(shapes.keys() - state_dict.keys()), left_over),
        "not part of the network": left_over,
        "of another shape or type": sorted(misshapen),
    }
    if any(problems.values()):
        lines = [excerpt(problem, keys) for problem, keys in problems.items() if keys]
        raise ValueError("the state dict does not fit the network; " + "; ".join(lines))
    return jax.tree.unflatten(structure, [found[key] for key in shapes])


def adm_params(state_dict: Mapping[str, np.ndarray], config: ADMConfig) -> Any:
    """Parameters for `ADMUNet(config).apply` from a guided-diffusion state dict.

    Raises:
      ValueError: as `to_flax`; nothing is left at its random initial value.
    """
    size = config.size_multiple
    image = jnp.zeros((1, size, size, config.in_channels))
    wanted = jax.eval_shape(ADMUNet(config).init, jax.random.key(0), image, jnp.zeros(1))
    return to_flax(state_dict, wanted)

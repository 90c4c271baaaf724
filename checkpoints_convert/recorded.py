"""Recorded inputs and outputs of a PyTorch network: a ``.npz``, in its layout (NCHW).

Inputs that are not among its arrays may be described in a ``.json`` of the same name beside it: as
"randn(seed, [shape])", the numbers of `numpy.random.RandomState`, or "clip(0.6*randn(...) ...", the
same times 0.6 and clipped to [-1, 1]. That file may also bound errors, by
{"tolerance": {"rel_l2": {name: bound}}}.
"""

import json
import math
import re
import zlib
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np

_RANDN = re.compile(r"(?:clip\(([\d.]+)\*)?randn\((\d+), \[([\d, ]+)\]\)")
INPUTS = "x", "z", "u"


class Recorded(NamedTuple):
    """What a network is compared with.

    Attributes:
      tolerance: relative bounds, of those arrays that have one.
      probes: rows and columns that large arrays were sampled at.
    """

    arrays: dict[str, np.ndarray]
    tolerance: dict[str, float]
    probes: dict[str, list[int]]


def read_recorded(path: Path) -> Recorded:
    """Read a ``.npz`` and, where there is one, the ``.json`` beside it.

    Raises:
      ValueError: it is no archive of arrays, or the file beside it is damaged.
      OSError: it cannot be opened.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise ValueError("it is one array without a name")
        with loaded:
            arrays = dict(loaded)
    except (ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is no .npz of named arrays: {error}") from error
    beside = path.with_suffix(".json")
    try:
        manifest = json.loads(beside.read_text()) if beside.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{beside} is no readable JSON: {error}") from error
    for name in INPUTS:
        if name not in arrays and isinstance(manifest.get(name), str):
            arrays[name] = _drawn(manifest[name], beside)
    config = manifest.get("config", {})
    probes = {name: rows for name, rows in config.items() if "probe" in name}
    return Recorded(arrays, manifest.get("tolerance", {}).get("rel_l2", {}), probes)


def pattern(k: int, shape: tuple[int, ...]) -> np.ndarray:
    """sqrt(2) sin(0.7 (i + 1) (1 + 0.37 k) + 1.3 k), i = 0, 1, ... in C order; float32."""
    i = np.arange(1, math.prod(shape) + 1)
    values = np.sqrt(2) * np.sin(0.7 * i * (1 + 0.37 * k) + 1.3 * k)
    return values.reshape(shape).astype(np.float32)


def _drawn(recipe: str, named: Path) -> np.ndarray:
    match = _RANDN.match(recipe)
    if not match:
        raise ValueError(
            f"{named} has {recipe[:80]!r} for an input; wanted is randn(seed, [shape]) or "
            "clip(scale*randn(seed, [shape]), -1, 1)"
        )
    scale, seed, shape = match.groups()
    values = np.random.RandomState(int(seed)).standard_normal([int(n) for n in shape.split(",")])
    return (values if scale is None else np.clip(float(scale) * values, -1, 1)).astype(np.float32)

"""Recorded inputs and outputs of a PyTorch network: a ``.npz``, in its layout (NCHW).

Inputs that are not among its arrays may be described in a ``.json`` of the same name beside it: as
"randn(seed, [shape])", the numbers of `numpy.random.RandomState`, or "clip(0.6*randn(...) ...", the
same times 0.6 and clipped to [-1, 1]. That file may also bound errors, by
{"tolerance": {"rel_l2": {name: bound}}}.
"""

import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dsg_jax.bounded import read_json, regular_size

_RANDN = re.compile(r"(?:clip\(([\d.]+)\*)?randn\((\d+), \[([\d, ]+)\]\)")
INPUTS = "x", "z", "u"
# What an archive may unpack to: so many bytes, and so many times its own size.
_MIN_UNPACKED, _MAX_RATIO = 2**26, 20
_MAX_DRAWN = 2**24


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
    allowed = _MIN_UNPACKED + _MAX_RATIO * regular_size(path)
    try:
        loaded = np.load(path, allow_pickle=False, mmap_mode="r")
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise ValueError("it is one array without a name")
        with loaded:
            sizes = [member.file_size for member in loaded.zip.infolist()]  # type: ignore[union-attr]
            if sum(sizes) > allowed:
                raise ValueError(f"it unpacks to over {allowed} bytes")
            arrays = dict(loaded)
    except Exception as error:  # the boundary: numpy's and zipfile's parsers raise anything
        raise ValueError(f"{path} is no .npz of named arrays: {error}") from error
    beside = path.with_suffix(".json")
    manifest = read_json(beside) if beside.is_file() else {}
    try:
        for name in INPUTS:
            if name not in arrays and isinstance(manifest.get(name), str):
                arrays[name] = _drawn(manifest[name], beside)
        config, tolerance = manifest.get("config", {}), manifest.get("tolerance", {})
        probes = {name: rows for name, rows in config.items() if "probe" in name}
        return Recorded(
            arrays, {k: float(v) for k, v in tolerance.get("rel_l2", {}).items()}, probes
        )
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{beside} describes no recorded arrays: {error}") from error


def pattern(k: int, shape: tuple[int, ...]) -> np.ndarray:
    """sqrt(2) sin(0.7 (i + 1) (1 + 0.37 k) + 1.3 k), i = 0, 1, ... in C order; float32."""
    i = np.arange(1, math.prod(shape) + 1)
    values = np.sqrt(2) * np.sin(0.7 * i * (1 + 0.37 * k) + 1.3 * k)
    return values.reshape(shape).astype(np.float32)


def _drawn(recipe: str, named: Path) -> np.ndarray:
    match = _RANDN.match(recipe)
    sides = [int(n) for n in match[3].split(",")] if match else []
    if not match or math.prod(sides) > _MAX_DRAWN:
        raise ValueError(
            f"{named} has {recipe[:80]!r} for an input; wanted is randn(seed, [shape]) or "
            "clip(scale*randn(seed, [shape]), -1, 1)"
        )
    scale, seed = match[1], match[2]
    values = np.random.RandomState(int(seed)).standard_normal(sides)
    return (values if scale is None else np.clip(float(scale) * values, -1, 1)).astype(np.float32)

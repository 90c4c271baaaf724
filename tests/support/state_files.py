"""Files of state dicts, torch zip and safetensors, with one tensor in memory at a time."""

import json
import struct
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from checkpoints_convert.kinds import KINDS
from checkpoints_convert.match import fits
from support.small_checkpoint import holding, op, storage, tensor

_STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage"} | {
    "int32": "IntStorage"
}
_SAFE = {"float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32"}


class Entry(NamedTuple):
    """A tensor to be written; `make` is called when it is its turn."""

    name: str
    shape: tuple[int, ...]
    make: Callable[[], np.ndarray]
    dtype: str = "float32"


def entries(state: dict[str, np.ndarray]) -> list[Entry]:
    return [Entry(k, v.shape, lambda v=v: v, str(v.dtype)) for k, v in state.items()]


def write_state(path: Path, state: Iterable[Entry], inside: str | None = None) -> Path:
    """As `torch.save` of the dict, or of a dict that holds it under a key."""
    state = list(state)
    pushed = {}
    for i, entry in enumerate(state):
        count = int(np.prod(entry.shape, dtype=np.int64))
        strides = [int(np.prod(entry.shape[k + 1 :])) for k in range(len(entry.shape))]
        stored = storage(_STORAGES[entry.dtype], str(i), count)
        pushed[entry.name] = tensor(stored, 0, tuple(entry.shape), tuple(strides))
    content = holding(**pushed)
    if inside:
        content = holding(**{inside: content[2:-1], "global_step": op(3)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("made/data.pkl", content)
        for i, entry in enumerate(state):
            values = np.asarray(entry.make(), entry.dtype)
            assert values.shape == tuple(entry.shape)
            archive.writestr(f"made/data/{i}", values.tobytes())
    return path


def write_safe(path: Path, state: Iterable[Entry]) -> Path:
    """As safetensors does."""
    state, header, at = list(state), {}, 0
    for entry in state:
        size = int(np.prod(entry.shape, dtype=np.int64)) * np.dtype(entry.dtype).itemsize
        kind = _SAFE[entry.dtype]
        header[entry.name] = {"dtype": kind, "shape": entry.shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for entry in state:
            file.write(np.ascontiguousarray(entry.make(), entry.dtype).tobytes())
    return path


def random_state(kind: str, parts: dict) -> dict[str, np.ndarray]:
    """Random tensors for a kind of another architecture, under its first layout's names."""
    chosen = KINDS[kind]._replace(architecture=KINDS[kind].architecture | parts)
    fit = fits({}, kind, chosen)[0]
    rng, shapes = np.random.RandomState(0), [leaf.shape for leaf in jax.tree.leaves(fit.structs)]
    state = {}
    for source, shape in zip(fit.sources, shapes):
        value = (0.3 * rng.standard_normal(shape)).astype(np.float32)
        value = value.transpose(3, 2, 0, 1) if len(shape) == 4 else value
        state[source] = value[:, 0] if len(shape) == 3 else value if len(shape) == 4 else value.T
    return state

"""What a pickle's names and references stand for: tensors, dicts, and objects with nothing inside.

This is the allow-list. A name is a pair of strings and is never imported; "calling" one of
`_ALLOWED` gives a record, and calling any other gives a `Foreign`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from checkpoints_convert.read.stored import HOSTILE, RESAVE, CheckpointError, is_count

_STORAGE_DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
    "ComplexFloatStorage": np.complex64,
    "ComplexDoubleStorage": np.complex128,
}


class Global(NamedTuple):
    """A name that the pickle would import."""

    module: str
    name: str

    def __str__(self):
        return f"{self.module}.{self.name}"


class Foreign(NamedTuple):
    """An object of a class that is not read; its contents were dropped."""

    of: str | Global


class Pairs(NamedTuple):
    """A dict, as it was filled."""

    items: list[tuple[Any, Any]]


class Blob(NamedTuple):
    """Bytes, which stay where they are in the file."""

    start: int
    length: int


class Module(NamedTuple):
    """A module of PyTorch or NVlabs whose tensors are read, and whose code is not.

    Attributes:
      states: its state, a dict; or, where NVlabs' code wrote it, the dict of "class_name", "state"
        and others, such as the source text of its class.
    """

    states: list[Pairs]


class StorageRecord(NamedTuple):
    """A storage: its key in the file, all its elements, and which of them are seen."""

    key: str
    dtype: np.dtype
    total: int
    start: int
    seen: int


class TensorRecord(NamedTuple):
    """A view of a storage as claimed; `stored.stored_tensor` checks all of it."""

    storage: StorageRecord
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage, offset, shape, strides, *_autograd) -> TensorRecord:
    if type(storage) is not StorageRecord:
        what = str(storage.of) if type(storage) is Foreign else type(storage).__name__
        raise CheckpointError(f"a tensor is built on {what[:80]!a}, not on a known storage", RESAVE)
    if type(shape) is not tuple or type(strides) is not tuple:
        raise CheckpointError("a tensor's shape and strides are not tuples", HOSTILE)
    return TensorRecord(storage, offset, shape, strides)


def _rebuild_parameter(tensor, *_autograd) -> TensorRecord:
    if type(tensor) is not TensorRecord:
        raise CheckpointError(f"a parameter is built on {type(tensor).__name__}, not on a tensor")
    return tensor


def _make_dict(entries=()) -> Pairs:
    if type(entries) not in (list, tuple) or any(
        type(entry) not in (list, tuple) or len(entry) != 2 for entry in entries
    ):
        raise CheckpointError("an ordered dict is made of something other than pairs")
    return Pairs([tuple(entry) for entry in entries])


def _module(described=None) -> Module:
    return Module([described] if type(described) is Pairs else [])


_ALLOWED: dict[tuple[str, ...], Callable] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _module,
    ("torch.nn.modules.container", "ModuleDict"): _module,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    ("torch.nn.parameter", "Parameter"): _rebuild_parameter,
    ("collections", "OrderedDict"): _make_dict,
    ("collections", "defaultdict"): lambda _factory=None, entries=(): _make_dict(entries),
}


def call(target: Any, arguments: Any) -> Any:
    """What calling a name or an object gives; nothing is called but the functions of this module.

    Raises:
      CheckpointError: the target is neither, or one of the allowed names is misused.
    """
    if type(target) is Foreign:
        return target
    if type(target) is not Global or type(arguments) is not tuple:
        raise CheckpointError(f"its pickle calls {type(target).__name__}", HOSTILE)
    function = _ALLOWED.get(target)
    if function is None:
        return Foreign(target)
    try:
        return function(*arguments)
    except TypeError as error:
        raise CheckpointError(f"its pickle misuses {target.module}.{target.name}") from error


def set_state(target: Any, state: Any) -> None:
    """Drop the state that is set on an object: hooks, metadata, all of a foreign one's.

    A `Module` has it as its state.

    Raises:
      CheckpointError: the target is not an object that may have one.
    """
    if type(target) is Module:
        target.states[:] = [state] if type(state) is Pairs else []
    elif type(target) not in (Foreign, Pairs, TensorRecord):
        raise CheckpointError(f"its pickle sets the state of {type(target).__name__}", HOSTILE)


def refer(reference: Any) -> StorageRecord | Foreign:
    """("storage", type, key, device, elements[, view]) -> the storage; torch writes no others here.

    The legacy format gives a view as (key, first element, elements) of the storage, or None.
    """
    parts = reference if type(reference) is tuple and len(reference) in (3, 4, 5, 6) else (None,)
    what = parts[0] if type(parts[0]) is str else None
    if what == "module":
        return Foreign("source code of a module")
    if what != "storage" or len(parts) < 5:
        raise CheckpointError("its pickle refers to something that is not a storage", HOSTILE)
    kind, key, _device, total = parts[1:5]
    view = parts[5] if len(parts) == 6 else None
    if type(kind) is not Global or type(key) is not str or not is_count(total):
        raise CheckpointError("a storage's type, key or size is of the wrong type", HOSTILE)
    dtype = _STORAGE_DTYPES.get(kind.name) if kind.module == "torch" else None
    if dtype is None:
        return Foreign(kind)
    if view is None:
        return StorageRecord(key, np.dtype(dtype), total, 0, total)
    if type(view) is not tuple or len(view) != 3 or not all(map(is_count, view[1:])):
        raise CheckpointError(f"the view of storage {key[:80]!a} is malformed", HOSTILE)
    if view[1] + view[2] > total:
        raise CheckpointError(f"the view of storage {key[:80]!a} leaves it", HOSTILE)
    return StorageRecord(key, np.dtype(dtype), total, view[1], view[2])

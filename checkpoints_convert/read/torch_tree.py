"""From the object that a torch file pickles to names, tensors and a summary of the rest."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from checkpoints_convert.read.pickle import Unpickled
from checkpoints_convert.read.pickle_records import (
    Blob,
    Foreign,
    Global,
    Module,
    Pairs,
    TensorRecord,
)
from checkpoints_convert.read.stored import (
    HOSTILE,
    MAX_NAME,
    MAX_TENSORS,
    RESAVE,
    CheckpointError,
    Extent,
    MappedFile,
    StoredTensor,
    check_name,
    stored_tensor,
)

Scalar = str | int | float | bool | None

MAX_VISITS = 300_000
_MAX_DEPTH, _MAX_VALUES, _MAX_TEXT = 24, 10_000, 200
_LONG = MAX_NAME + 2


class TorchFile(NamedTuple):
    """A torch file's parts, of either format.

    Args:
      file: the file.
      pickled: its object.
      extents: where its storages lie, by key.
    """

    file: MappedFile
    pickled: Unpickled
    extents: dict[str, Extent]


def flatten(stored: TorchFile) -> tuple[dict[str, StoredTensor], dict[str, Scalar]]:
    """Name the tensors and values of a torch file; `open_checkpoint.Stored` says how.

    Raises:
      CheckpointError: the object is not a dict, holds no tensors, or is nested in itself; a name or
        a tensor is refused.
    """
    if type(stored.pickled.tree) is not Pairs:
        raise CheckpointError(
            f"it holds {_describe(stored.pickled.tree)}, not a dict of tensors", RESAVE
        )
    tensors: dict[str, StoredTensor] = {}
    values: dict[str, Scalar] = {}
    for name, value in _walk(stored.pickled.tree):
        if len(tensors) >= MAX_TENSORS:
            raise CheckpointError(f"it has over {MAX_TENSORS} tensors", HOSTILE)
        if type(value) is TensorRecord:
            if name in tensors:
                raise CheckpointError(f"two tensors are named {name!a}", HOSTILE)
            tensors[check_name(name)] = place(value, stored)
        elif len(values) < _MAX_VALUES and len(name) < _MAX_TEXT:
            values[_printable(name)] = summary(value)
    if not tensors:
        lost = stored.pickled.tensors
        where = f" but {lost} in objects of foreign classes" if lost else ""
        raise CheckpointError(f"it has no tensors{where}", RESAVE)
    return tensors, values


def place(record: TensorRecord, stored: TorchFile) -> StoredTensor:
    """Find a tensor's bytes.

    Raises:
      CheckpointError: its storage is not in the file, or one of them is of another size.
    """
    storage = record.storage
    extent = stored.extents.get(storage.key)
    if extent is None:
        raise CheckpointError(f"storage {storage.key[:80]!a} is not in the file")
    size = storage.dtype.itemsize
    if storage.total * size != extent.length:
        raise CheckpointError(
            f"storage {storage.key[:80]!a} holds {extent.length} bytes, but {storage.total} "
            f"{storage.dtype} values are claimed"
        )
    # of a storage that is itself a view (legacy files), the tensor sees that part only
    seen = Extent(extent.start + storage.start * size, storage.seen * size, extent.crc32)
    seen = extent if storage.seen == storage.total else seen._replace(crc32=None)
    return stored_tensor(
        stored.file, seen, storage.dtype, record.shape, record.strides, record.offset
    )


def summary(value: Any) -> Scalar:
    """A value as `open_checkpoint.Stored` shows it."""
    if type(value) is str:
        return _printable(value[:_MAX_TEXT])
    if value is None or type(value) in (int, float, bool):
        return value
    return _describe(value)


def _walk(root: Pairs) -> Iterator[tuple[str, Any]]:
    """Every tensor, list and plain value of the nested dicts, in the file's order.

    Containers may be shared and then grow exponentially: depth and visits are limited, and names
    are cut where they are too long for a tensor, which is refused then.
    """
    open_parts, visits = [_parts(root, "")], 0
    while open_parts:
        if (entry := next(open_parts[-1], None)) is None:
            open_parts.pop()
            continue
        name, value = entry
        visits += 1
        if visits > MAX_VISITS:
            raise CheckpointError(f"it has over {MAX_VISITS} values", HOSTILE)
        if name is not None and type(value) not in (Pairs, Module):
            yield name, value
        if type(value) in (Pairs, Module, list, tuple):
            if len(open_parts) == _MAX_DEPTH:
                raise CheckpointError(f"it is nested over {_MAX_DEPTH} deep", HOSTILE)
            open_parts.append(_parts(value, f"{name}."))


def _parts(node: Any, before: str) -> Iterator[tuple[str | None, Any]]:
    """What lies in a dict or list, by name; plain values of lists have none."""
    if type(node) is Module:
        for key, value in (entry for state in node.states for entry in state.items):
            yield _module_part(key, value, before)
    elif type(node) is Pairs:
        for key, value in node.items:
            yield (before + _key(key)[:_LONG])[:_LONG], value
    else:
        for i, value in enumerate(node):
            nested = type(value) in (TensorRecord, Module, Pairs, list, tuple)
            yield f"{before}{i}"[:_LONG] if nested else None, value


def _module_part(key: Any, value: Any, before: str) -> tuple[str | None, Any]:
    """An entry of a module's state: tensors as in its `state_dict`, and plain attributes.

    Those that are left out have neither name nor value; they still count as visited.
    """
    if type(key) is str and type(value) is Pairs:
        if key in ("_parameters", "_buffers", "_modules"):
            return before.removesuffix("."), value
        if key == "state":
            return before.removesuffix("."), Module([value])
    plain = type(key) is str and type(value) in (bool, int, float, str)
    if plain and key[:1] != "_" and key not in ("module_src", "type", "version", "training"):
        return (before + key)[:_LONG], value
    return None, None


def _key(key: Any) -> str:
    if type(key) is str:
        return key
    if type(key) is Global:
        return str(key)
    return str(key) if type(key) in (int, float, bool, type(None)) else _describe(key)


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)


def _describe(value: Any) -> str:
    if type(value) is Foreign:
        return f"<{_printable(str(value.of)[:_MAX_TEXT])}>"
    if type(value) is Global:
        return f"<class {_printable(str(value)[:_MAX_TEXT])}>"
    if type(value) is Blob:
        return f"<bytes of {value.length}>"
    if type(value) in (list, tuple):
        return f"<{type(value).__name__} of {len(value)}>"
    return f"<{type(value).__name__}>"

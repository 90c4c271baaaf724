"""PyTorch's legacy checkpoints (before 1.6, and torchvision's older files), without PyTorch.

The file is a row of pickles - a magic number, a version, the writer's system, the object, the keys
of the storages - and then the storages: each its number of elements (int64) and its bytes. Nothing
in it is checksummed.
"""

import struct
from pathlib import Path
from typing import Any

from checkpoints_convert.read.pickle import Unpickled, unpickle
from checkpoints_convert.read.pickle_records import Pairs
from checkpoints_convert.read.stored import (
    HOSTILE,
    MAX_TENSORS,
    RESAVE,
    CheckpointError,
    Extent,
    MappedFile,
    naming,
)
from checkpoints_convert.read.torch_tree import TorchFile

_NUMBER, _VERSION = 0x1950A86A20F9469CFC6C, 1001
MAGIC = b"\x80\x02\x8a\x0a" + _NUMBER.to_bytes(10, "little") + b"."


def open_torch_legacy(path: str | Path) -> TorchFile:
    """Read a legacy file's pickles, and where its storages lie; no storages.

    Raises:
      CheckpointError: the file is cut off or damaged, comes from a big-endian machine, or as
        `inert_pickle.unpickle`.
      OSError: the file cannot be opened.
    """
    with naming(Path(path)):
        file = MappedFile(path)
        number = _next(file, 0)
        if type(number.tree) is not int or number.tree != _NUMBER:
            raise CheckpointError("it does not start with the legacy format's magic number")
        version = _next(file, number.end)
        if type(version.tree) is not int or version.tree != _VERSION:
            raise CheckpointError(f"its version is not {_VERSION}", RESAVE)
        system = _next(file, version.end)
        if _entry(system.tree, "little_endian") is not True:
            raise CheckpointError("it was not written on a little-endian machine", RESAVE)
        pickled = _next(file, system.end)
        keys = _next(file, pickled.end)
        return TorchFile(file, pickled, _locate(file, pickled, keys))


def _next(file: MappedFile, position: int) -> Unpickled:
    return unpickle(file.content, position, file.size)


def _entry(tree: Any, name: str) -> Any:
    matches = (
        [v for k, v in tree.items if type(k) is str and k == name] if type(tree) is Pairs else []
    )
    return matches[-1] if matches else None


def _locate(file: MappedFile, pickled: Unpickled, keys: Unpickled) -> dict[str, Extent]:
    """Where the storages lie that the object refers to, one behind the other in the keys' order."""
    if type(keys.tree) is not list or len(keys.tree) > MAX_TENSORS:
        raise CheckpointError("its list of storages is not a list of reasonable length")
    position, extents = keys.end, {}
    for key in keys.tree:
        storage = pickled.storages.get(key) if type(key) is str else None
        if storage is None or key in extents:
            raise CheckpointError("its list of storages does not match its tensors", HOSTILE)
        if file.size - position < 8:
            raise CheckpointError("it ends before its last storage")
        (count,) = struct.unpack("<q", file.content[position : position + 8])
        length = storage.total * storage.dtype.itemsize
        if count != storage.total or length > file.size - position - 8:
            raise CheckpointError(
                f"storage {key[:80]!a} has {count} elements in a file with "
                f"{file.size - position - 8} bytes left, but {storage.total} are claimed"
            )
        extents[key] = Extent(position + 8, length)
        position += 8 + length
    return extents

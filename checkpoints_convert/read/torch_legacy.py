"""PyTorch's legacy checkpoints (before 1.6, and torchvision's older files), without PyTorch.

The file is a row of pickles - a magic number, a version, the writer's system, the object, the keys
of the storages - and then the storages: each its number of elements (int64) and its bytes. Nothing
in it is checksummed.
"""

import struct
from functools import partial
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
        return read_legacy(file, Extent(0, file.size))[0]


def read_legacy(file: MappedFile, extent: Extent) -> tuple[TorchFile, int]:
    """The legacy file in a part of a file, and the work that its pickles took.

    Raises:
      CheckpointError: as `open_torch_legacy`.
    """
    following = partial(unpickle, file.content, end=extent.start + extent.length)
    number = following(extent.start)
    if type(number.tree) is not int or number.tree != _NUMBER:
        raise CheckpointError("it does not start with the legacy format's magic number")
    version = following(number.end)
    if type(version.tree) is not int or version.tree != _VERSION:
        raise CheckpointError(f"its version is not {_VERSION}", RESAVE)
    system = following(version.end)
    if _entry(system.tree, "little_endian") is not True:
        raise CheckpointError("it was not written on a little-endian machine", RESAVE)
    pickled = following(system.end)
    keys = following(pickled.end)
    extents = _locate(file, pickled, keys, extent.start + extent.length)
    spent = sum(part.spent for part in (number, version, system, pickled, keys))
    return TorchFile(file, pickled, extents), spent


def _entry(tree: Any, name: str) -> Any:
    matches = (
        [v for k, v in tree.items if type(k) is str and k == name] if type(tree) is Pairs else []
    )
    return matches[-1] if matches else None


def _locate(file: MappedFile, pickled: Unpickled, keys: Unpickled, end: int) -> dict[str, Extent]:
    """Where the storages lie that the object refers to, one behind the other in the keys' order."""
    if type(keys.tree) is not list or len(keys.tree) > MAX_TENSORS:
        raise CheckpointError("its list of storages is not a list of reasonable length")
    position, extents = keys.end, {}
    for key in keys.tree:
        storage = pickled.storages.get(key) if type(key) is str else None
        if storage is None or key in extents:
            raise CheckpointError("its list of storages does not match its tensors", HOSTILE)
        if end - position < 8:
            raise CheckpointError("it ends before its last storage")
        (count,) = struct.unpack("<q", file.content[position : position + 8])
        length = storage.total * storage.dtype.itemsize
        if count != storage.total or length > end - position - 8:
            raise CheckpointError(
                f"storage {key[:80]!a} has {count} elements in a file with "
                f"{end - position - 8} bytes left, but {storage.total} are claimed"
            )
        extents[key] = Extent(position + 8, length)
        position += 8 + length
    return extents

"""PyTorch's zip-format checkpoints (``.pt``, ``.pth``, ``.ckpt``, ``.bin``), without PyTorch.

`torch.save` writes a zip archive: ``<root>/data.pkl`` pickles the nested containers, and each
``<root>/data/<key>`` holds the raw bytes of one storage that tensors view by offset and stride.
Members are stored as they are, so that a tensor can be read from where it lies in the file.
"""

import io
import re
import struct
import zipfile
from pathlib import Path

from checkpoints_convert.read.pickle import unpickle
from checkpoints_convert.read.pickle_machine import MAX_BYTES
from checkpoints_convert.read.stored import (
    HOSTILE,
    RESAVE,
    CheckpointError,
    Extent,
    MappedFile,
    naming,
)
from checkpoints_convert.read.torch_tree import TorchFile

MAGIC = b"PK\x03\x04"
_MAX_TABLE = 8 * 2**20  # a member takes some 100; published files have some 1,200
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    NotImplementedError,
    ValueError,
    OverflowError,
    OSError,
    EOFError,
    struct.error,
)


def open_torch_zip(path: str | Path) -> TorchFile:
    """Read the table of contents and the pickle of a zip-format file; no storages.

    Raises:
      CheckpointError: the archive is cut off, damaged or not `torch.save`'s: members compressed,
        overlapping, of one name or with names that climb out of a folder, or not exactly one
        ``data.pkl``; or as `inert_pickle.unpickle`.
      OSError: the file cannot be opened.
    """
    with naming(Path(path)):
        file = MappedFile(path)
        if file.content[: len(MAGIC)] != MAGIC:
            raise CheckpointError(f"it is not a zip archive: it starts with {file.content[:4]!r}")
        members = _locate(file)
        root = _find_root(members)
        order = members.get(f"{root}/byteorder")
        if order and (byte_order := read_bytes(file, order, 20)) != b"little":
            what = f"byte order {byte_order[:20]!r}; only little-endian is read"
            raise CheckpointError(what, RESAVE)
        pickled = read_bytes(file, members[f"{root}/data.pkl"], MAX_BYTES)
        folder = f"{root}/data/"
        extents = {k.removeprefix(folder): e for k, e in members.items() if k.startswith(folder)}
        return TorchFile(file, unpickle(pickled, 0, len(pickled)), extents)


def read_bytes(file: MappedFile, extent: Extent, limit: int) -> bytes:
    """Bytes of a file, not more than a limit, compared with their checksum."""
    if extent.length > limit:
        raise CheckpointError(f"a member has {extent.length} bytes, over {limit}", HOSTILE)
    file.check(extent)
    return file.content[extent.start : extent.start + extent.length]


class _Table(io.FileIO):
    """A file whose table of contents has a bounded length; `zipfile` reads it in one piece."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MAX_TABLE:
            raise ValueError(f"it has {size} bytes, over {_MAX_TABLE}")
        return super().read(size)


def _locate(file: MappedFile) -> dict[str, Extent]:
    """Where the archive's members lie, once its table of contents is found plausible."""
    try:
        with _Table(file.path) as table, zipfile.ZipFile(table) as archive:
            members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    except _ZIP_ERRORS as error:
        raise CheckpointError(f"its table of contents is cut off or damaged ({error})") from error
    checked = any(member.CRC for member in members)  # torch writes zeros where it leaves them out
    extents: dict[str, Extent] = {}
    for member in members:
        name = member.filename
        if name.startswith("/") or ".." in re.split(r"[/\\]", name):
            raise CheckpointError(f"member {name[:80]!a} climbs out of its folder", HOSTILE)
        if name in extents:
            raise CheckpointError(f"two members are named {name[:80]!a}", HOSTILE)
        extent = _extent(file, member)
        extents[name] = extent if checked else extent._replace(crc32=None)
    ends = 0
    for member in members:
        extent = extents[member.filename]
        if member.header_offset < ends:
            raise CheckpointError(f"member {member.filename[:80]!a} overlaps another", HOSTILE)
        ends = extent.start + extent.length
    return extents


def _extent(file: MappedFile, member: zipfile.ZipInfo) -> Extent:
    name = ascii(member.filename[:80])
    if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
        raise CheckpointError(f"member {name} is compressed, which torch.save never does", RESAVE)
    if member.flag_bits & 1:
        raise CheckpointError(f"member {name} is encrypted", RESAVE)
    if member.header_offset < 0:
        raise CheckpointError(f"member {name} starts before the file")
    header = file.content[member.header_offset : member.header_offset + _LOCAL_HEADER.size]
    if len(header) < _LOCAL_HEADER.size or not header.startswith(MAGIC):
        raise CheckpointError(f"member {name} has no header where it should be")
    _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    at = member.header_offset + _LOCAL_HEADER.size
    encoded = member.orig_filename.encode("utf-8" if member.flag_bits & 0x800 else "cp437")
    if file.content[at : at + name_length] != encoded:
        raise CheckpointError(f"member {name} has another name in its header")
    start = at + name_length + extra_length
    if start + member.file_size > file.size:
        raise CheckpointError(f"member {name} of {member.file_size} bytes leaves the file")
    return Extent(start, member.file_size, member.CRC)


def _find_root(members: dict[str, Extent]) -> str:
    """Name of the archive's one folder."""
    roots = [name[: -len("/data.pkl")] for name in members if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise CheckpointError(
            f"{len(roots)} members are named */data.pkl; a checkpoint has one", RESAVE
        )
    return roots[0]

"""Small files that ask for much time or memory, or for something outside of them."""

import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

from support.small_checkpoint import (
    FROM_BYTES,
    bytes_of,
    holding,
    name,
    op,
    storage,
    tensor,
    write,
    write_legacy,
    write_pickle,
    write_safetensors,
)

MEMO, AGAIN = b"r\xe7\x03\x00\x00", b"j\xe7\x03\x00\x00"  # remember the top value; push it


def repeating(first: bytes, repeated: bytes, count: int) -> Callable[[Path], Path]:
    """A pickle of a dict whose first value is remembered, with a value repeated behind it."""
    items = op("a") + first + MEMO + b"s" + (op("k") + repeated + b"s") * count
    return lambda folder: write(folder, b"\x80\x04}" + items + op("w") + tensor() + b"s.")


def pickled(content: bytes) -> Callable[[Path], Path]:
    return lambda folder: write(folder, content)


def pickle_of_3_gib(folder: Path) -> Path:
    """An archive whose one member is a hole in the file."""
    path, size = folder / "made.pt", 3 * 2**30
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("made/data.pkl", b"")
    content = path.read_bytes()
    table, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    record = bytearray(content[table:end])
    struct.pack_into("<III", record, 16, 1, size, size)
    with open(path, "wb") as file:
        file.write(content[:table])
        file.seek(table + size)
        counts = struct.pack("<HHHHIIH", 0, 0, 1, 1, len(record), table + size, 0)
        file.write(bytes(record) + b"PK\x05\x06" + counts)
    return path


def storage_of_3_gib(folder: Path) -> Path:
    """A legacy file of a tensor of six values in a storage that is a hole in the file."""
    count = 3 * 2**28
    path = write_legacy(folder, holding(w=tensor(storage(count=count))))
    content = path.read_bytes()
    path.write_bytes(content[:-32] + struct.pack("<q", count))
    os.truncate(path, len(content) - 24 + 4 * count)
    return path


def storages_of_much_work(folder: Path) -> Path:
    """A pickle of nine legacy files, each of whose pickles alone is below the limit."""
    content = b"\x80\x02(" + b"N" * 300_000 + b"1" + storage() + b"."
    legacy = bytes_of(write_legacy(folder, content).read_bytes())
    return write_pickle(folder, (FROM_BYTES + legacy + b"\x85R0") * 8 + legacy)


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "made.pt")
    return folder / "made.pt"


def many_names(folder: Path) -> Path:
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return write_safetensors(folder, {"n" * 480 + str(k): empty for k in range(9000)}, b"")


def empty_lists(count: int) -> bytes:
    return b"(" + b"]" * count + b"l"


# What the file does -> the file, and what is said of it.
BOMBS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "calls a name with the same arguments again and again": (
        repeating(b"(" + b"N" * 150_000 + b"t", name("a", "b") + AGAIN + b"R", 50_000),
        "over 400000 instructions",
    ),
    "copies a list again and again": (
        repeating(
            b"(" + b"))\x86" * 50_000 + b"l",
            name("collections", "OrderedDict") + AGAIN + b"\x85R",
            50_000,
        ),
        "over 400000 instructions",
    ),
    "names an object of a long name again and again": (
        repeating(name("m" * 400, "n" * 400), AGAIN + b")R", 60_000),
        "w.*: 1 tensors",
    ),
    "holds a list again and again": (
        repeating(b"(" + b"N" * 100_000 + b"l", AGAIN, 50_000),
        "over 300000 values",
    ),
    "holds a text of many bytes": (pickled(holding(t=op("x" * 2**25))), "over 16777216"),
    "makes empty dicts": (pickled(b"\x80\x04" + b"}\x94" * 450_000 + b"."), "over 400000"),
    "joins long names": (
        pickled(b"\x80\x02" + (b"}" + op("k" * 50_000)) * 20 + tensor() + b"s" * 20 + b"."),
        "a tensor is named",
    ),
    "nests dicts": (
        pickled(b"\x80\x02" + (b"}" + op("k")) * 10_000 + tensor() + b"s" * 10_000 + b"."),
        "nested over 24 deep",
    ),
    "has storages of much work": (storages_of_much_work, "a storage hold something else"),
    "has a pickle of 3 GiB": (pickle_of_3_gib, "a member has 3221225472 bytes, over 16777216"),
    "has a storage of 3 GiB for six values": (storage_of_3_gib, "bytes 24 are tensors"),
    "nests its header": (
        lambda folder: write_safetensors(folder, b"{" + b'"a":[' * 200_000),
        "its header is refused",
    ),
    "has many names": (many_names, "it is no known kind"),
    "is a pipe": (pipe, "is a folder, a pipe or a device"),
    "is a device": (lambda folder: Path("/dev/zero"), "is a folder, a pipe or a device"),
}

"""Refused torch files, zip archives and legacy ones; see test_errors.py."""

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from checkpoints_convert.__main__ import main
from checkpoints_convert.read import torch_zip
from checkpoints_convert.read.torch_legacy import open_torch_legacy
from checkpoints_convert.read.torch_zip import open_torch_zip
from support.small_checkpoint import SIX, holding, tensor, write, write_legacy

GOOD = holding(w=tensor())
DATA = b"made/data/0"
END = b"PK\x05\x06"


def changed(change: Callable[[bytes], bytes], make=write, **options) -> Callable[[Path], object]:
    """Inspects a good file whose bytes were changed."""

    def inspected(folder: Path):
        path = make(folder, GOOD, **options)
        path.write_bytes(change(path.read_bytes()))
        main(["inspect", str(path)])

    return inspected


def lowered(limit: str, value: int) -> Callable[[Path], object]:
    """Inspects a good archive where a limit is lowered."""

    def inspected(folder: Path):
        with mock.patch.object(torch_zip, limit, value):
            main(["inspect", str(write(folder, GOOD))])

    return inspected


def with_members(*members: str, content: bytes = SIX) -> Callable[[Path], object]:
    """Inspects a good archive with further members."""
    return changed(lambda whole: whole, extra=[(member, content) for member in members])


def legacy(**options) -> Callable[[Path], object]:
    """Inspects a legacy file whose parts do not fit each other."""
    return changed(lambda whole: whole, make=write_legacy, **options)


def listed(at: int, written: bytes) -> Callable[[bytes], bytes]:
    """Overwrites a part of what the table of contents says of the member `DATA`."""

    def change(whole: bytes) -> bytes:
        start = whole.rindex(DATA) - 46 + at
        return whole[:start] + written + whole[start + len(written) :]

    return change


def table_said_to_be_later(whole: bytes) -> bytes:
    at = whole.rindex(END) + 16
    (start,) = struct.unpack("<I", whole[at : at + 4])
    return whole[:at] + struct.pack("<I", start + 1) + whole[at + 4 :]


def without_second_header(whole: bytes) -> bytes:
    at = whole.index(DATA) - 30
    return whole[:at] + b"none" + whole[at + 4 :]


def opened_as(opener: Callable, content: bytes, name: str) -> Callable[[Path], object]:
    """Gives a reader the file of these bytes, whatever they are."""

    def opened(folder: Path):
        (folder / name).write_bytes(content)
        opener(folder / name)

    return opened


CASES: dict[str, Callable[[Path], object]] = {
    "empty.pt: the file is empty": opened_as(open_torch_zip, b"", "empty.pt"),
    "it is not a zip archive: it starts with b'GIF8'": opened_as(open_torch_zip, b"GIF89a", "a.pt"),
    "its table of contents is cut off or damaged (File is not a zip file)": changed(
        lambda whole: whole[:-60]
    ),
    "byte order b'big'; only little-endian is read": with_members("made/byteorder", content=b"big"),
    "2 members are named */data.pkl; a checkpoint has one": with_members("other/data.pkl"),
    "member 'made/data/../../../x' climbs out of its folder": with_members("made/data/../../../x"),
    "two members are named 'made/data/0'": changed(
        lambda whole: whole.replace(b"made/data/1", DATA), extra=[("made/data/1", SIX)]
    ),
    "it has 116 bytes, over 100)": lowered("_MAX_TABLE", 100),
    "a member has 20000000 bytes, over 16777216": lambda folder: main(
        ["inspect", str(write(folder, b"." * 20_000_000))]
    ),
    "member 'made/data.pkl' is compressed, which torch.save never does": changed(
        lambda whole: whole, compression=zipfile.ZIP_DEFLATED
    ),
    "member 'made/data/0' is encrypted": changed(listed(8, b"\x01")),
    "member 'made/data.pkl' starts before the file": changed(table_said_to_be_later),
    "member 'made/data/0' has no header where it should be": changed(without_second_header),
    "member 'made/data/0' has another name in its header": changed(
        lambda whole: whole.replace(DATA, b"made/data/9", 1)
    ),
    "member 'made/data/0' of 2147483648 bytes leaves the file": changed(
        listed(20, struct.pack("<II", 2**31, 2**31))
    ),
    "member 'made/data/1' overlaps another": changed(
        listed(20, struct.pack("<II", 60, 60)), extra=[("made/data/1", SIX)]
    ),
    "it does not start with the legacy format's magic number": opened_as(
        open_torch_legacy, b"\x80\x02K\x05.", "a.pt"
    ),
    "its version is not 1001 (load it with PyTorch": changed(
        lambda whole: whole.replace(b"\x80\x02M\xe9\x03.", b"\x80\x02M\xea\x03."), write_legacy
    ),
    "it was not written on a little-endian machine": changed(
        lambda whole: whole.replace(b"\x88u.", b"\x89u."), write_legacy
    ),
    "its list of storages is not a list of reasonable length": legacy(keys="0"),
    "its list of storages does not match its tensors": legacy(keys=["1"]),
    "it ends before its last storage": legacy(storages=[], keys=["0"]),
    "storage '0' has 5 elements in a file with 20 bytes left, but 6 are claimed": legacy(
        storages=[("0", SIX[:20])]
    ),
}

"""Refused safetensors, and files and folders that are no checkpoints; see test_errors.py."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np

from checkpoints_convert import read
from checkpoints_convert.__main__ import main
from checkpoints_convert.read.safetensors import open_safetensors
from checkpoints_convert.read.stored import Extent, MappedFile, stored_tensor
from support.small_checkpoint import entry, write_safetensors


def header(content) -> Callable[[Path], object]:
    """Inspects a file with this header: an object, or bytes."""
    return lambda folder: main(["inspect", str(write_safetensors(folder, content))])


def described(tensor) -> Callable[[Path], object]:
    """Inspects a file of one tensor with this description."""
    return header({"w": tensor})


def content(written: bytes, name: str = "model.ckpt") -> Callable[[Path], object]:
    """Inspects a file of these bytes."""

    def inspected(folder: Path):
        (folder / name).write_bytes(written)
        main(["inspect", str(folder / name)])

    return inspected


def header_longer_than_the_file(folder: Path):
    text = json.dumps({"w": entry()}).encode()
    content(struct.pack("<Q", 2**20) + text)(folder)


def file_of_another_format(folder: Path):
    (folder / "model.safetensors").write_bytes(b"PK\x03\x04")
    open_safetensors(folder / "model.safetensors")


def extent_outside(folder: Path):
    """No format's own checks let this through."""
    file = MappedFile(write_safetensors(folder, {"w": entry()}, b""))
    stored_tensor(file, Extent(8, 2**20), np.dtype("f4"), (3, 4), (4, 1), 0)


def sharded(table: object) -> Callable[[Path], object]:
    """Inspects a folder of one file, and an index with this table of it."""

    def inspected(folder: Path):
        write_safetensors(folder, {"w": entry()})
        index = folder / "diffusion_pytorch_model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": table}))
        main(["inspect", str(folder)])

    return inspected


def mostly_something_else(folder: Path):
    with mock.patch.multiple(read, _MAX_REST=8, _MAX_SHARE=0):
        header({"w": entry(shape=(6,))})(folder)


CASES: dict[str, Callable[[Path], object]] = {
    " bytes 24 are tensors (no checkpoint is written like this": mostly_something_else,
    "it has 0 tensors, not 1 to 100000": lambda folder: main(
        ["inspect", str(write_safetensors(folder, {}, b""))]
    ),
    "it does not start with a safetensors header": file_of_another_format,
    "its header claims 1048576 bytes; the file has ": header_longer_than_the_file,
    "its header is refused: Error while deserializing header: invalid offset for tensor `v`": (
        header({"w": entry(), "v": entry(shape=(1,), begin=20)})
    ),
    "tensor 'w' has type 'C64'; ['BOOL', 'U8', 'I8', ": described(entry("C64", (3,))),
    "1048576 bytes at 8 leave the file": extent_outside,
    "tensor 'w' has 33 axes": described(entry(shape=(1,) * 32 + (6,))),
    "a tensor is named '../../w'": header({"../../w": entry()}),
    "empty.ckpt: the file is empty": content(b"", "empty.ckpt"),
    "it is a web page, not a checkpoint (fetch the file itself": content(b"<!DOCTYPE html>"),
    "it is a Git LFS pointer, not the file": content(b"version https://git-lfs.github.com/spec/v1"),
    "it is compressed by gzip (unpack it": content(b"\x1f\x8b\x08\x00"),
    "it is a 7z archive": content(b"7z\xbc\xaf\x27\x1c"),
    "it is an HDF5 file (Keras)": content(b"\x89HDF\r\n\x1a\n"),
    "it is a NumPy array": content(b"\x93NUMPY\x01\x00"),
    "it is a GGUF file": content(b"GGUF\x03\x00"),
    "it is a tar archive; if PyTorch 0.1 wrote it": content(b"\x00" * 257 + b"ustar\x00"),
    "its pickle asks for 8 bytes, but 1 are left": content(b"\x80\x04\x95\x00"),
    "it is no known checkpoint: it starts with b'name,pri'": content(b"name,price\napple,3\n"),
    "index.json: it has no weight_map of tensors to files": sharded([]),
    "index.json: it names '../made.bin', not at most 1000 .safetensors": sharded(
        {"w": "../made.bin"}
    ),
    "index.json: 'v' is in only one of made.safetensors and this index": sharded(
        {"w": "made.safetensors", "v": "made.safetensors"}
    ),
    "the folder has none of diffusion_pytorch_model.safetensors, model.safetensors, ": (
        lambda folder: main(["inspect", str(folder)])
    ),
}

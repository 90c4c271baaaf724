"""Checkpoints made instruction by instruction, good and bad."""

import json
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np

SIX = np.arange(6, dtype=np.float32).tobytes()


def op(value) -> bytes:
    """Pickle instructions that push a plain value."""
    return pickle.dumps(value, 2)[2:-1]


def name(module: str, attribute: str) -> bytes:
    """Pickle instructions that push a named object."""
    return f"c{module}\n{attribute}\n".encode()


def storage(kind="FloatStorage", key="0", count=6) -> bytes:
    return b"(" + op("storage") + name("torch", kind) + op(key) + op("cpu") + op(count) + b"tQ"


def tensor(pushed=None, offset=0, size=(2, 3), stride=(3, 1)) -> bytes:
    pushed = storage() if pushed is None else pushed
    view = op(offset) + op(size) + op(stride)
    return name("torch._utils", "_rebuild_tensor_v2") + b"(" + pushed + view + b"\x89}tR"


def holding(**values: bytes) -> bytes:
    """A pickle of the dict of the given pushed values."""
    items = b"".join(op(key) + value + b"s" for key, value in values.items())
    return b"\x80\x02}" + items + b"."


def write(folder: Path, content: bytes, storages=(("0", SIX),), extra=(), **zip_options) -> Path:
    path = folder / "made.pt"
    with zipfile.ZipFile(path, "w", **zip_options) as archive:
        archive.writestr("made/data.pkl", content)
        for key, stored in storages:
            archive.writestr(f"made/data/{key}", stored)
        for member, stored in extra:
            archive.writestr(member, stored)
    return path


def write_legacy(folder: Path, content: bytes, storages=(("0", SIX),), keys=None) -> Path:
    """A legacy file: five pickles, then each storage behind its number of float32 values."""
    path = folder / "legacy.pt"
    number, system = 0x1950A86A20F9469CFC6C, {"protocol_version": 1001, "little_endian": True}
    listed = [key for key, _ in storages] if keys is None else keys
    start = [pickle.dumps(value, 2) for value in (number, 1001, system)]
    stored = [struct.pack("<q", len(values) // 4) + values for _, values in storages]
    path.write_bytes(b"".join([*start, content, pickle.dumps(listed, 2), *stored]))
    return path


FROM_BYTES = name("torch.storage", "_load_from_bytes")


def bytes_of(content: bytes) -> bytes:
    """Pickle instructions that push bytes."""
    return b"B" + struct.pack("<I", len(content)) + content


def write_pickle(folder: Path, argument: bytes | None = None) -> Path:
    """A module as NVlabs' code writes it, with a tensor and source text that must not be run.

    Its storage is made of ``argument``, or else of a legacy file.
    """
    if argument is None:
        argument = bytes_of(write_legacy(folder, b"\x80\x02" + storage() + b".").read_bytes())
    inline = FROM_BYTES + argument + b"\x85R"
    state = holding(_parameters=holding(w=tensor(inline))[2:-1], size=op(16), _hidden=op(1))
    source = op("open('PWNED', 'w')")
    described = holding(class_name=op("EDMPrecond"), module_src=source, state=state[2:-1])[2:-1]
    build = name("torch_utils.persistence", "_reconstruct_persistent_obj")
    path = folder / "plain.pkl"
    path.write_bytes(holding(ema=build + described + b"\x85R"))
    return path


def write_safetensors(folder: Path, header, values=SIX) -> Path:
    """A safetensors file with the header of an object, or with the bytes that are given."""
    path = folder / "made.safetensors"
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + values)
    return path


def entry(dtype="F32", shape=(2, 3), begin=0, end=24) -> dict:
    """A tensor's description in a safetensors header."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}

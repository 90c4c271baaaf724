"""Result files that survive a kill: a log of JSON lines, whole-file writes, content hashes."""

import hashlib
import json
import os
import platform
import secrets
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike

from experiments.restore.locks import locked


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is either the old one or complete, whenever the process is killed.

    Several processes, of several machines, may write the same file: one of them wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with open(partial, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_records(path: Path, required: set[str], skip: int = 0) -> tuple[list[dict], list[str]]:
    """The lines of a log; a last line that is being written, or that a kill tore, is left out.

    Args:
      path: of the log, which need not exist.
      required: fields of a line.
      skip: how many lines are known already.

    Returns:
      the lines that are whole, and what to say of every one that is damaged.

    Raises:
      ValueError: the lines are whole, but none has the ``required`` fields.
    """
    lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
    records, damaged, strange = [], [], []
    for number, line in enumerate(lines[skip:-1], start=skip + 1):
        record = _object(line)
        if record is None:
            damaged.append(f"{path}, line {number} is damaged and left out: delete that line")
        elif required <= record.keys():
            records.append(record)
        else:
            strange.append(f"{path}, line {number} is of another program and left out")
    if strange and not records and not skip:
        raise ValueError(f"{path} is the log of another program: choose another folder")
    return records, damaged + strange


def _object(line: bytes) -> dict | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def append_records(path: Path, records: list[dict]) -> None:
    """Add lines to a log that other processes also write, and wait until they are on the disk."""
    with locked(path) as stream:
        append_to(stream, records)


def append_to(stream: BinaryIO, records: list[dict]) -> None:
    """`append_records` to a log that is locked; a last line that a kill tore is cut off first."""
    lines = [json.dumps(record, allow_nan=False).encode() + b"\n" for record in records]
    stream.seek(0)
    stream.truncate(stream.read().rfind(b"\n") + 1)
    stream.write(b"".join(lines))
    stream.flush()
    os.fsync(stream.fileno())


def content_hash(settings: dict) -> str:
    """A hash of settings that does not depend on the order of their names."""
    text = json.dumps(settings, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def array_hash(*arrays: ArrayLike) -> str:
    """A hash of the shapes, types and bytes of arrays."""
    digest = hashlib.sha256()
    for array in map(np.asarray, arrays):
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def installed(name: str) -> str:
    """The version of an installed package; "source" for one that runs from its folder."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "source"


def versions_and_hardware() -> dict:
    """What the numbers were computed with."""
    import jax  # here, so that reading a log needs no accelerator

    names = ("dsg_jax", "jax", "jaxlib", "flax", "numpy", "pillow")
    devices = jax.devices()
    versions = {name: installed(name) for name in names}
    return {
        "versions": {"python": platform.python_version()} | versions,
        "hardware": {
            "machine": platform.machine(),
            "cpu_cores": os.cpu_count(),
            "backend": devices[0].platform,
            "devices": [device.device_kind for device in devices],
        },
    }

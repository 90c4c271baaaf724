"""Result files that survive a kill: a log of JSON lines, whole-file writes, content hashes."""

import hashlib
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is either the old one or complete, whenever the process is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with open(partial, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, path)


def read_records(path: Path, required: set[str]) -> list[dict]:
    """The lines of a log; a last line that a kill tore in two is left out.

    Raises:
      ValueError: another line is no JSON object with the ``required`` fields.
    """
    lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
    records = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number} is damaged: delete that line") from error
        if not isinstance(record, dict) or not required <= record.keys():
            raise ValueError(f"{path}, line {number} is of another program: choose another folder")
        records.append(record)
    return records


def append_records(path: Path, records: list[dict]) -> None:
    """Add lines to a log and wait until they are on the disk; a torn last line is cut off first."""
    lines = [json.dumps(record, allow_nan=False).encode() + b"\n" for record in records]
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as stream:
        stream.seek(0)
        whole = stream.read().rfind(b"\n") + 1
        stream.truncate(whole)
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

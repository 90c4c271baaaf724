"""Files that survive a kill, hashes of settings and arrays, and what a run found damaged."""

import hashlib
import json
import os
import platform
import re
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dsg_jax.bounded import MAX_JSON, read_bounded

_HOST = re.sub(r"[^\w-]", "_", socket.gethostname())
_PARTIAL = re.compile(r"\..*\.(?P<host>[\w-]+)\.(?P<process>\d+)\.[0-9a-f]+\.partial")
_LONGEST_WRITE = 24 * 3600.0  # seconds; what another machine began before that is left over


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is either the old one or complete, whenever the process is killed.

    Several processes, of several machines, may write the same file: one of them wins. A kill leaves
    a hidden file beside it, which names machine and process: see `sweep_partial_files`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unique = f"{_HOST}.{os.getpid()}.{secrets.token_hex(8)}"
    partial = path.with_name(f".write.{unique}.partial")  # as long for the longest of names
    try:
        with open(partial, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def sweep_partial_files(folder: Path) -> None:
    """Remove what `write_atomically` left anywhere below a folder in processes that are dead.

    Of another machine's processes it is not known whether they live; all files go after a day.
    """
    for path in folder.rglob(".*.partial"):
        writer = _PARTIAL.fullmatch(path.name)
        if writer is None:
            continue
        with suppress(FileNotFoundError):  # another process sweeps too
            is_dead = writer["host"] == _HOST and not is_alive(int(writer["process"]))
            # In time also those of a number that another process has got.
            if is_dead or time.time() - path.stat().st_mtime > _LONGEST_WRITE:
                path.unlink()


def is_alive(process: int) -> bool:
    """Whether a process of this machine, known by its number, runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        pass
    return True


_faults: list[str] = []
_said: set[str] = set()


def say(text: str, once: bool = False) -> None:
    """A warning on stderr that leaves the progress bar in one piece; ``once`` in a command."""
    from tqdm import tqdm  # here, for the speed of an accelerator is measured without it

    if not (once and text in _said):
        tqdm.write(f"warning: {text}", file=sys.stderr)
    _said.add(text)


def fault(message: str) -> None:
    """Say, once, that something is damaged and left out; `collected_faults` has it afterwards."""
    if message not in _faults:
        _faults.append(message)
        say(message)


@contextmanager
def collected_faults() -> Iterator[list[str]]:
    """Yields the list of all messages of `fault` from the beginning of the block on."""
    _faults.clear()
    _said.clear()
    yield _faults


def no_constant(name: str) -> None:
    """Refuse NaN and the infinities, which JSON does not have."""
    raise ValueError(f"{name} is no JSON number")


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
      ValueError: it is no JSON, or holds NaN, or is nested too deeply, or no file.
      OSError: it cannot be read.
    """
    try:
        return json.loads(read_bounded(path, MAX_JSON), parse_constant=no_constant)
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply") from error


def longest_name(folder: Path) -> int:
    """Bytes that a file's name may have in a folder, which need not be there yet."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        return os.pathconf(existing, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # not every system tells
        return 255


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

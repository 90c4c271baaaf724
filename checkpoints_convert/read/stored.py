"""Tensors that lie in a file: described when it is opened, read one at a time.

The file is mapped into memory and each tensor is a view of the mapping: opening a checkpoint costs
its table of contents, and reading a tensor copies nothing.
"""

import math
import mmap
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

DAMAGED = "the file is damaged: fetch it again and compare its hash with the publisher's"
HOSTILE = "no checkpoint is written like this: do not use the file"
RESAVE = "load it with PyTorch where you trust it, and torch.save its state_dict() anew"

# What published checkpoints reach is far below: some 1,200 tensors, five axes, names of 100.
MAX_TENSORS, MAX_AXES, MAX_NAME = 100_000, 32, 512
_MAX_BYTES = 2**62
_KEEP_RESIDENT = 32 * 2**20


class CheckpointError(ValueError):
    """A file is refused. The message names the file, what is wrong with it, and the mend.

    Args:
      problem: what was found.
      mend: what the user can do.
      path: the file; readers fill it in where they were given one (`naming`).
    """

    def __init__(self, problem: str, mend: str = DAMAGED, path: Path | None = None):
        super().__init__(problem, mend)
        self.problem, self.mend, self.path = problem, mend, path

    def __str__(self):
        return f"{self.path or 'checkpoint'}: {self.problem} ({self.mend})"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file's name into each `CheckpointError` that passes."""
    try:
        yield
    except CheckpointError as error:
        error.path = error.path or path
        raise


class Extent(NamedTuple):
    """Bytes of a file: where they start, how many, and their CRC-32 if the format has one."""

    start: int
    length: int
    crc32: int | None = None


class MappedFile:
    """A file in read-only memory, of which little stays resident.

    Pages that were read count as memory of the process. Once 32 MiB have been read they are given
    back; views of them stay valid, for the system reads the pages again when they are needed. The
    file must not be cut short meanwhile.

    Raises:
      OSError: the file cannot be opened.
      CheckpointError: it is empty.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        with naming(self.path), open(path, "rb") as file:
            self.size = file.seek(0, 2)
            if not self.size:
                raise CheckpointError("the file is empty")
            self.content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._checked: set[Extent] = set()
        self._resident = 0

    def check(self, extent: Extent) -> None:
        """Compare an extent with its checksum, the first time that it is read."""
        self._resident += extent.length
        if self._resident > _KEEP_RESIDENT and hasattr(mmap, "MADV_DONTNEED"):
            self.content.madvise(mmap.MADV_DONTNEED)
            self._resident = extent.length
        if extent.crc32 is None or extent in self._checked:
            return
        with memoryview(self.content) as whole:
            checksum = zlib.crc32(whole[extent.start : extent.start + extent.length])
        if checksum != extent.crc32:
            raise CheckpointError(
                f"the {extent.length} bytes at {extent.start} have checksum {checksum:08x}, "
                f"not {extent.crc32:08x}",
                path=self.path,
            )
        self._checked.add(extent)


class StoredTensor(NamedTuple):
    """A tensor in a file, made by `stored_tensor`.

    Args:
      file: where it lies.
      extent: the bytes of its storage, which other tensors may share.
      dtype: numpy's, or `ml_dtypes`'s for bfloat16 and the 8-bit floats.
      shape: its axes.
      strides: distance between neighbours along each axis, in elements, >= 0.
      offset: distance of its first element from the storage's start, in elements.
    """

    file: MappedFile
    extent: Extent
    dtype: np.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes of its elements, as a contiguous array."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> np.ndarray:
        """The values: a read-only view of the mapped file, of any alignment, nothing copied.

        Raises:
          CheckpointError: the stored bytes differ from their checksum (zip format; the others
            have none).
        """
        if not self.nbytes:
            return np.ndarray(self.shape, self.dtype, buffer=b"")
        self.file.check(self.extent)
        return np.ndarray(
            self.shape,
            self.dtype,
            buffer=self.file.content,
            offset=self.extent.start + self.offset * self.dtype.itemsize,
            strides=tuple(step * self.dtype.itemsize for step in self.strides),
        )


def is_count(value: object) -> bool:
    """Whether a value is an int >= 0 that an address can hold."""
    return type(value) is int and 0 <= value < _MAX_BYTES


def stored_tensor(
    file: MappedFile,
    extent: Extent,
    dtype: np.dtype,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    offset: int,
) -> StoredTensor:
    """A `StoredTensor` none of whose elements lies outside its extent.

    Raises:
      CheckpointError: the view or the extent reaches outside, has too many axes, or is larger than
        what it views (an expanded tensor, which may ask for any amount of memory).
    """
    if not (0 <= extent.start and 0 <= extent.length <= file.size - extent.start):
        raise CheckpointError(f"{extent.length} bytes at {extent.start} leave the file")
    if len(shape) != len(strides) or len(shape) > MAX_AXES:
        raise CheckpointError(f"{len(shape)} axes and {len(strides)} strides", HOSTILE)
    if not all(map(is_count, (offset, *shape, *strides))):
        numbers = [v if type(v) is int else type(v).__name__ for v in (offset, *shape, *strides)]
        raise CheckpointError(f"offset, shape and strides {numbers} are not all counts", HOSTILE)
    room, elements = extent.length // dtype.itemsize, math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True) if n)
    extreme = math.prod(max(n, 1) for n in shape) * dtype.itemsize
    if offset > room or elements > room or (elements and last >= room) or extreme >= _MAX_BYTES:
        raise CheckpointError(
            f"a tensor of shape {shape}, strides {strides}, offset {offset} leaves its storage "
            f"of {room} elements",
            HOSTILE,
        )
    # along an axis of one element the stride says nothing, and may be any number
    strides = tuple(step if n > 1 else 0 for n, step in zip(shape, strides, strict=True))
    return StoredTensor(file, extent, dtype, shape, strides, offset)


def check_name(name: str) -> str:
    """A tensor's name that can be printed, and cannot be mistaken for a path out of a folder.

    Raises:
      CheckpointError: it cannot, or is longer than 512 characters.
    """
    climbs = name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name)
    if climbs or len(name) > MAX_NAME or not name.isprintable():
        raise CheckpointError(f"a tensor is named {name[:80]!a}", HOSTILE)
    return name

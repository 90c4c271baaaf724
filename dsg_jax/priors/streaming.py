"""Write a tree of arrays as an Orbax checkpoint, few in memory at a time, with their hashes."""

import hashlib
import logging
import math
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import type_handlers

_BATCH = 32 * 2**20


@dataclass(frozen=True)
class LazyArray:
    """A leaf of a tree of parameters that is made when it is written, and let go after.

    Attributes:
      read: the values; called once.
      source: name of what they come from.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]
    source: str = "-"

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return self.size * self.dtype.itemsize


class Written(NamedTuple):
    """One line of ``tensors.txt``: an array as it was written.

    Attributes:
      shape: axes joined by "x", "scalar" for none.
      name: path of the array in the tree, joined by slashes.
    """

    sha256: str
    dtype: str
    shape: str
    name: str
    source: str


def describe_array(name: str, array: np.ndarray, source: str = "-") -> Written:
    """Hash, type and shape of an array; the hash is of its elements in C order."""
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    shape = "x".join(map(str, array.shape)) or "scalar"
    digest = hashlib.sha256(content.data).hexdigest()
    return Written(digest, str(array.dtype), shape, name, source.replace(" ", "_"))


def tree_name(path: tuple) -> str:
    """("unet", "out.2", "kernel") -> "unet/out.2/kernel", from a path of `jax.tree_util`."""
    return "/".join(str(getattr(entry, "key", getattr(entry, "idx", entry))) for entry in path)


@contextmanager
def only_raising() -> Iterator[None]:
    """Let Orbax raise the first error without printing it, and others after it, with tracebacks.

    After a failure its reads under way end in threads of their own, whenever they do, and find the
    event loop closed: from then on that is not printed for such threads.
    """
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    for logger in loggers:
        logger.addFilter(_below_error)
    hooks = sys.unraisablehook, sys.excepthook
    sys.unraisablehook, sys.excepthook = (lambda unraisable: None), (lambda *_: None)

    def after(*error: Any) -> None:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main or "loop is closed" not in str(error[1]):
            hooks[1](*error)

    hook = after
    try:
        yield
        hook = hooks[1]
    finally:
        sys.unraisablehook, sys.excepthook = hooks[0], hook
        for logger in loggers:
            logger.removeFilter(_below_error)


def _below_error(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR


def write_tree(path: Path, tree: Any, *, compress: bool = True) -> list[Written]:
    """Write arrays and `LazyArray`s; of these 32 MiB and one more are in memory at a time.

    Args:
      path: where; must not exist.
      tree: nested dicts and tuples of arrays.
      compress: by zstd, which takes a tenth off trained float32 weights and four times as long.

    Returns:
      what was written, in the tree's order.
    """
    written: dict[str, Written] = {}
    lazy = jax.tree_util.tree_map_with_path(_lazily, tree)
    registry = type_handlers.create_type_handler_registry(
        (_Named, _InBatches(written)), (jax.Array, type_handlers.ArrayHandler())
    )
    handler = ocp.PyTreeCheckpointHandler(type_handler_registry=registry, use_compression=compress)
    with only_raising(), ocp.Checkpointer(handler) as checkpointer:
        try:
            checkpointer.save(path, lazy)
        except ValueError as error:
            if "os_error_code" not in str(error):  # tensorstore's way to say that a disk is full
                raise
            raise OSError(f"{path} cannot be written: {error}") from error
    return [written[leaf.name] for leaf in jax.tree.leaves(lazy)]


@dataclass(frozen=True)
class _Named(LazyArray):
    name: str = ""


def _lazily(path: tuple, leaf: Any) -> _Named:
    if isinstance(leaf, LazyArray):
        return _Named(leaf.shape, leaf.dtype, leaf.read, leaf.source, tree_name(path))
    read = lambda: np.asarray(leaf)
    return _Named(tuple(leaf.shape), np.dtype(leaf.dtype), read, name=tree_name(path))


class _InBatches(type_handlers.NumpyHandler):
    """Makes, hashes and writes a batch of arrays after the other, where Orbax would hold them all.

    Each batch rewrites the table of contents, so that batches of one would take more space.
    """

    def __init__(self, written: dict[str, Written]):
        super().__init__(deepcopy_host_arrays=False)
        self._written = written

    async def serialize(self, values, infos, args=None):
        """See the class; nothing is left to wait for at the end."""
        args = args or [ocp.SaveArgs()] * len(values)
        batch: list[tuple] = []
        for leaf, info, arg in zip(values, infos, args, strict=True):
            array = leaf.read()
            self._written[leaf.name] = describe_array(leaf.name, array, leaf.source)
            batch.append((array, info, arg))
            if sum(array.nbytes for array, _, _ in batch) >= _BATCH or leaf is values[-1]:
                for future in await super().serialize(*map(list, zip(*batch, strict=True))):
                    future.result()
                batch.clear()
        return []

"""Several processes, one folder: a lock for its log, and claims on work.

All are advisory locks of the operating system, which end with the process, however it ends. So
there is nothing to clean up after a kill, and nobody waits for the dead.
"""

import errno
import fcntl
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

CLAIMS = ".claims"
"""An empty file; its bytes, far beyond its end, are what is locked."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def locked(path: Path) -> Iterator[BinaryIO]:
    """A file, made if it does not exist, to read and append to while no other process does.

    Raises:
      OSError: among others, the disk knows no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as stream:
        _lock(fcntl.flock, stream, fcntl.LOCK_EX)
        yield stream


@contextmanager
def claimed(folder: Path, work: Sequence[str], wait: bool) -> Iterator[bool]:
    """Claim a piece of work in a folder; yields whether this process has it now.

    Args:
      folder: where the results go.
      work: what identifies the piece; other pieces are claimed independently.
      wait: until the process that has it is done or dead, instead of yielding False. A process
        claims one piece at a time, so no two wait for each other.

    Raises:
      OSError: as `locked`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256("\n".join(work).encode()).digest()
    place = int.from_bytes(digest[:6], "big")
    with open(folder / CLAIMS, "ab") as stream:
        mine = True
        try:
            _lock(fcntl.lockf, stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, place)
        except (BlockingIOError, PermissionError):  # which of them is up to the system
            mine = False
        yield mine


def _lock(lock: Callable, stream: BinaryIO, *how: int) -> None:
    try:
        lock(stream, *how)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise OSError(
            f"the disk of {stream.name} knows no file locks: give an --out on another one, and "
            "join the folders of several machines by `python -m experiments merge`"
        ) from error

"""Replace a folder in one step, by one process at a time, and only if this program wrote it.

A folder DIR is written as ``.DIR.dsg-jax/new`` beside it and then exchanged with it by one call of
the system. Whenever the process is killed, DIR is the earlier folder or the new one; what is left
over is removed by the next that writes DIR. Where the file system cannot exchange folders there is
a moment between two renames in which DIR is absent; after a kill there, the next writer of DIR
first puts the earlier one back.
"""

import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dsg_jax.priors.files import foreign_file

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def check_free(folder: str | Path) -> Path:
    """Refuse a place where a folder of weights must not be written; links are followed.

    Returns:
      the folder's absolute path.

    Raises:
      ValueError: it is a file or a mount point, or holds something other than what this program
        wrote there.
    """
    folder = Path(os.path.realpath(folder))
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()) or os.path.ismount(folder):
        raise ValueError(f"{folder} is a file or a mount point: give a new folder")
    if foreign := foreign_file(folder):
        raise ValueError(
            f"{folder} holds other files: give a new folder, or empty this one ({foreign} is not "
            "as this program wrote it)"
        )
    return folder


@contextmanager
def replacing(folder: str | Path) -> Iterator[Path]:
    """Yields an empty folder; what is in it at the end takes the place of ``folder``.

    Raises:
      ValueError: `check_free`, at the beginning or the end, or another process is writing there.
    """
    folder = check_free(folder)
    work = folder.with_name(f".{folder.name}.dsg-jax")
    work.mkdir(parents=True, exist_ok=True)
    from filelock import FileLock, Timeout  # here, for whoever only reads weights needs no locks

    lock = FileLock(work / "lock", fallback_to_soft=False)  # a soft one would outlive its process
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"another process is writing {folder}: wait for it, or give another folder"
        ) from None
    new, old = work / "new", work / "old"
    try:
        if old.is_dir() and not folder.exists():  # left by a process that was killed
            old.rename(folder)
        for left_over in (new, old):
            shutil.rmtree(left_over, ignore_errors=True)
        new.mkdir()
        yield new
        check_free(folder)
        _exchange(new, old, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
        with suppress(OSError):  # while the lock is held: who opened it before gets no lock
            (work / "lock").unlink()
            work.rmdir()
        lock.release()


def _exchange(new: Path, old: Path, folder: Path) -> None:
    if not folder.exists() or not any(folder.iterdir()):
        new.rename(folder)  # in one step, also over an empty folder
    elif not _exchanged_by_system(new, folder):
        folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            old.rename(folder)
            raise


def _exchanged_by_system(one: Path, other: Path) -> bool:
    """Exchange two folders by Linux's renameat2; False where that is not possible."""
    try:
        rename = ctypes.CDLL(None).renameat2
    except (OSError, TypeError, AttributeError):
        return False
    places = _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other)
    return rename(*places, _RENAME_EXCHANGE) == 0

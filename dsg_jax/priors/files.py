"""``files.txt`` of a folder of weights: of each file the SHA-256, the number of bytes and the name.

It says whether the folder is still what was written (`check_files`), and what in it may be replaced
because this program wrote it (`foreign_file`).
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dsg_jax.bounded import read_bounded

TABLE, CARD = "files.txt", "card.json"
# Files of fewer bytes are hashed whenever they are read, which takes 10 ms.
_SMALL = 16 * 2**20
_MAX_TABLE = 4 * 2**20


class Recorded(NamedTuple):
    """One line of the table."""

    sha256: str
    size: int


def record_files(folder: Path) -> None:
    """Write the table of everything that is in a folder."""
    (folder / TABLE).unlink(missing_ok=True)
    paths = sorted(files_below(folder))
    lines = [f"{_hash(folder / path)} {(folder / path).stat().st_size} {path}\n" for path in paths]
    (folder / TABLE).write_text("".join(lines))


def files_below(folder: Path) -> Iterator[str]:
    """Names of all files and symbolic links below a folder, relative to it, with slashes."""
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in (*names, *links):
            yield (Path(place) / name).relative_to(folder).as_posix()


def recorded_files(folder: Path) -> dict[str, Recorded]:
    """The table by names.

    Raises:
      ValueError: there is none, or it is damaged.
    """
    if not (folder / TABLE).is_file():
        raise ValueError(
            f"{folder} has no {TABLE} with the hashes of its files: `dsg-jax convert verify` "
            "writes one if its tensors are right, and --no-verify loads it unchecked"
        )
    files = {}
    for line in read_bounded(folder / TABLE, _MAX_TABLE).decode("utf-8", "replace").splitlines():
        digest, size, name = [*line.split(" ", 2), "", ""][:3]
        if not size.isdecimal() or len(size) > 18 or ".." in name.split("/") or name[:1] in "/":
            raise ValueError(f"{folder / TABLE} is damaged: make or copy the folder again")
        files[name] = Recorded(digest, int(size))
    return files


def check_files(folder: str | Path, *, hashes: bool = True) -> None:
    """Refuse a folder whose files are not as they were written; its card may have been edited.

    Sizes are compared always. A file is hashed once as long as nobody touches it: that a large one
    was right is remembered in ``~/.cache/dsg_jax/verified`` (``XDG_CACHE_HOME`` is followed).

    Raises:
      ValueError: a file is missing or has changed.
    """
    for name, recorded in recorded_files(Path(folder)).items():
        if name != CARD and (problem := _problem(Path(folder) / name, recorded, hashes)):
            raise ValueError(
                f"{Path(folder) / name} {problem}, so it is not what its folder was written with: "
                "make or copy the folder again"
            )


def foreign_file(folder: Path) -> str | None:
    """The first file of a folder that is not exactly as this program wrote it, if there is one."""
    try:
        known = recorded_files(folder)
    except ValueError:
        known = {}
    for name in files_below(folder):
        if name == TABLE and known:
            continue
        path = folder / name
        if path.is_symlink() or name not in known or _problem(path, known[name], True):
            return name
    return None


def cache_folder(name: str) -> Path:
    """The folder of that name in ``~/.cache/dsg_jax``; it may not be there yet."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "dsg_jax" / name


def _problem(path: Path, recorded: Recorded, hashes: bool) -> str | None:
    if not path.is_file():
        return "is missing"
    about = path.stat()
    if about.st_size != recorded.size:
        return f"has {about.st_size} bytes and not {recorded.size}"
    if not hashes:
        return None
    facts = path.resolve(), about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns
    key = hashlib.sha256(f"{facts} {recorded.sha256}".encode()).hexdigest()
    mark = cache_folder("verified") / key
    if about.st_size >= _SMALL and mark.is_file():
        return None
    if _hash(path) != recorded.sha256:
        return "has another SHA-256"
    if about.st_size >= _SMALL:
        try:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        except OSError:  # a home that cannot be written: the file is hashed again next time
            pass
    return None


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

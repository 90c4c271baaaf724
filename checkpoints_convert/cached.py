"""Conversions that are made once and found again: for `dsg_jax.load_prior` of an original."""

import hashlib
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filelock import FileLock

from checkpoints_convert.convert import conversion_of, convert
from dsg_jax.priors.files import cache_folder
from dsg_jax.priors.folder import CARD_VERSION

_READ = ".json", ".safetensors", ".bin"


def cached_conversion(path: Path) -> Path:
    """The converted folder of a checkpoint in the cache; converted if it is not there yet.

    Raises:
      ValueError, OSError: the checkpoint is no known one, or takes options of a conversion.
    """
    folder = cache_folder("priors") / f"{path.resolve().name}-{_identity(path)}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not (folder / "card.json").is_file():
            try:
                planned = conversion_of([path], folder)
            except ValueError as error:
                own = f"dsg-jax convert {path} --out DIR"
                raise ValueError(f"{error}; with options it is converted by `{own}`") from error
            print(f"converting {path} once, to {folder}", file=sys.stderr)
            convert(planned, report=lambda line: None)
    return folder


def _identity(path: Path) -> str:
    """A hash of what tells, without reading weights, that a checkpoint is the one it was."""
    inside = (*path.glob("[!.]*"), *path.glob("[!.]*/[!.]*")) if path.is_dir() else (path,)
    files = sorted(file for file in inside if file == path or file.suffix in _READ)
    facts: list = [str(path.resolve()), CARD_VERSION, _version()]
    for file in files:
        if file.is_file():
            about = file.stat()
            facts.append((str(file.relative_to(path)), about.st_ino, about.st_size))
            facts.append((about.st_mtime_ns, about.st_ctime_ns))
    return hashlib.sha256(str(facts).encode()).hexdigest()[:16]


def _version() -> str:
    try:
        return version("dsg_jax")
    except PackageNotFoundError:
        return ""

"""What a folder holds of a plan: beside every restored image a JSON file that describes it.

A sample is there when its JSON file carries the hash of all its settings and the image is the one
that the file describes. Nothing else is written while a run computes, so the folders of several
machines are joined by copying them into one.
"""

import errno
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from experiments.files import fault, write_atomically
from experiments.restore.plan import Item

FIELDS = {
    *("hash", "task", "method", "image", "image_index", "sample", "seed", "settings", "finite"),
    *("psnr", "ssim", "lpips", "misfit", "rank_mean", "rank_last", "kept_mean", "seconds"),
    *("png", "png_sha256"),
}
"""That every record of a sample has."""
CLAIMS = ".claims"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class Stored(NamedTuple):
    """The samples of a plan that are there: it grows, also by what other processes add."""

    out: Path
    metrics: frozenset[str]
    """Fields beyond `FIELDS` that a record must have to count."""
    records: dict[str, dict]
    """By the identity of the sample."""


def look(out: Path, items: Iterable[Item], metrics: Iterable[str] = ()) -> Stored:
    """What is there of a plan. What is damaged is a `fault`, and is not there."""
    stored = Stored(out, frozenset(metrics), {})
    look_again(stored, items)
    return stored


def look_again(stored: Stored, items: Iterable[Item]) -> None:
    """Take over what has been added of some items."""
    for item in items:
        if item.identity not in stored.records:
            record = read_record(stored.out / item.png, item.identity)
            if record is not None and stored.metrics <= record.keys():
                stored.records[item.identity] = record


def read_record(image: Path, identity: str) -> dict | None:
    """The record of an image, None where there is none, or one of other settings."""
    path = image.with_suffix(".json")
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        record = None
    if not isinstance(record, dict) or not record.keys() >= FIELDS:
        fault(f"{path} is damaged and left out: its sample is made again")
        return None
    if record["hash"] != identity:
        return None
    if image_hash(image) != record["png_sha256"]:
        what = f"not the image that {path.name} describes" if image.is_file() else "missing"
        fault(f"{image} is {what}: it is made again")
        return None
    return record


def image_hash(path: Path) -> str:
    """SHA-256 of a file, "" if there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def store(stored: Stored, results: Iterable[tuple[dict, bytes]]) -> None:
    """Write samples: records, and the files of their images.

    The image comes first: a kill between the two leaves an image that nothing describes, which is
    made again, and never a record without its image.
    """
    for record, png in results:
        image = stored.out / record["png"]
        write_atomically(image, png)
        content = json.dumps(record, indent=1, allow_nan=False) + "\n"
        write_atomically(image.with_suffix(".json"), content.encode())
        stored.records[record["hash"]] = record


@contextmanager
def claimed(folder: Path, batch: Sequence[Item], wait: bool) -> Iterator[bool]:
    """Claim a batch of a folder; yields whether this process has it now.

    The claim ends with the process, however it ends. Its file is removed after the work: whoever
    claims the batch again sees that it is complete.

    Args:
      folder: where the results go.
      batch: other batches are claimed independently.
      wait: until the process that has it is done or dead, instead of yielding False. A process
        claims one batch at a time, so no two wait for each other.

    Raises:
      OSError: among others, the disk knows no locks.
    """
    names = "\n".join(item.identity for item in batch)
    path = folder / CLAIMS / f"{hashlib.sha256(names.encode()).hexdigest()[:16]}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        yield False
        return
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise OSError(
                f"the disk of {folder} knows no file locks: give an --out on another one"
            ) from error
        raise
    try:
        yield True
        path.unlink(missing_ok=True)
    finally:
        lock.release()

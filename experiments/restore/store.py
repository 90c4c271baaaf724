"""What a folder holds of a plan: beside every restored image a JSON file that describes it.

    OUT/TASK/METHOD/NAME_SAMPLE.png     the image
    OUT/TASK/METHOD/NAME_SAMPLE.npy     of a field its values, of which the image is a picture
    OUT/TASK/METHOD/NAME_SAMPLE.json    its record, written after the image
    OUT/.claims/HASH.lock               locked while a process computes a batch, or stores results

A sample is there when its record carries the hash of all its settings and the image is the one that
the record describes. Nothing else is known of a run, so the folders of several machines are joined
by copying them into one.
"""

import errno
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from dsg_jax.user_code import file_name
from experiments.files import (
    content_hash,
    fault,
    read_json,
    sweep_partial_files,
    write_atomically,
)
from experiments.restore.jobs import Item
from experiments.settings import EXTRA_METRICS

_NUMBER = (int, float, type(None))
# Fields that every record of a sample has, and their types.
FIELDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("hash", "task", "method", "image", "png", "png_sha256"), (str,)),
    **dict.fromkeys(("image_index", "sample", "seed"), (int,)),
    **dict.fromkeys(("psnr", "ssim", "lpips", "misfit", "rank_mean", "rank_last"), _NUMBER),
    **dict.fromkeys(("kept_mean", "seconds"), _NUMBER),
    "settings": (dict,),
    "finite": (bool,),
}
# Suffixes of the files that a sample may have.
SUFFIXES = ".png", ".npy"
CLAIMS = ".claims"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class Stored(NamedTuple):
    """The samples of a plan that are there: it grows, also by what other processes add.

    Attributes:
      metrics: fields beyond `FIELDS` that a record must have to count.
      records: by the identity of the sample.
    """

    out: Path
    metrics: frozenset[str]
    records: dict[str, dict]


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


def parsed_record(path: Path) -> dict | None:
    """The record in a file, whatever its settings; None where it is damaged.

    It is whole if every field has its type, the names are those of the file, and the hash is that
    of the settings and inputs (which records of earlier versions lack).
    """
    try:
        record = read_json(path)
    except ValueError:
        return None
    if not isinstance(record, dict) or not record.keys() >= FIELDS.keys():
        return None
    types = FIELDS | {name: _NUMBER for name in EXTRA_METRICS if name in record}
    for name, kinds in types.items():
        value = record[name]
        if type(value) not in kinds or (type(value) is float and not math.isfinite(value)):
            return None
    names = (
        f"{file_name(record['task'])}/{record['method']}/{record['image']}_{record['sample']}.png"
    )
    of_this_file = record["png"] == names and path.with_suffix(".png").match(names)
    inputs = record.get("inputs")
    place = {"index": record["image_index"], "sample": record["sample"]}
    if inputs is None:
        is_whole = record["settings"].get("seed") == record["seed"]
    else:
        is_whole = isinstance(inputs, dict) and record["hash"] == content_hash(
            record["settings"] | inputs | place
        )
    return record if of_this_file and is_whole else None


def read_record(image: Path, identity: str) -> dict | None:
    """The record of an image, None where there is none, or one of other settings."""
    path = image.with_suffix(".json")
    if not path.exists():
        return None
    record = parsed_record(path)
    if record is None:
        fault(f"{path} is damaged and left out: its sample is made again")
        return None
    if record["hash"] != identity:
        return None
    for suffix, expected in described_files(record):
        file = image.with_suffix(suffix)
        digest = image_hash(file)
        if digest and digest != expected:  # one that was deleted is meant to be made again
            fault(f"{file} is not the image that {path.name} describes: it is made again")
        if digest != expected:
            return None
    return record


def hashes_of(files: Mapping[str, bytes]) -> dict[str, str]:
    """Entries of a record about its files by suffix, ``png_sha256`` among them."""
    return {f"{s[1:]}_sha256": hashlib.sha256(content).hexdigest() for s, content in files.items()}


def described_files(record: dict) -> list[tuple[str, str]]:
    """Suffixes and SHA-256 of the files that a record describes."""
    return [(s, record[f"{s[1:]}_sha256"]) for s in SUFFIXES if f"{s[1:]}_sha256" in record]


def image_hash(path: Path) -> str:
    """SHA-256 of a file, "" if there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def store(stored: Stored, results: Sequence[tuple[Item, dict, Mapping[str, bytes]]]) -> None:
    """Write those samples that nobody has added meanwhile.

    Args:
      stored: takes their records over.
      results: samples with their record and their files by suffix.
    """
    # Batches of another size may overlap with ours, and differ from it in the last bit: what is
    # there stays. Under the claim no two processes change an image and its record in turns.
    with claimed_name(stored.out, "storing", wait=True):
        look_again(stored, [item for item, _, _ in results])
        for item, record, files in results:
            if item.identity not in stored.records:
                image = stored.out / item.png
                check_vacant(image, item)
                content = json.dumps(record, indent=1, allow_nan=False) + "\n"
                # An earlier record goes first and the new one comes last: wherever a kill comes,
                # there is no record without its image.
                image.with_suffix(".json").unlink(missing_ok=True)
                for suffix, file in files.items():
                    write_atomically(image.with_suffix(suffix), file)
                write_atomically(image.with_suffix(".json"), content.encode())
                stored.records[item.identity] = record


def check_vacant(image: Path, item: Item) -> None:
    """Raise FileExistsError where another command has put its result meanwhile."""
    path = image.with_suffix(".json")
    record = parsed_record(path) if path.exists() else None
    if record is not None and record["hash"] != item.identity:
        raise FileExistsError(f"{path} is another command's, begun meanwhile: give another --out")


def claimed(folder: Path, batch: Sequence[Item], wait: bool) -> AbstractContextManager[bool]:
    """Claim a batch of a folder: `claimed_name`; other batches are claimed independently."""
    return claimed_name(folder, content_hash({"batch": [item.identity for item in batch]}), wait)


@contextmanager
def claimed_name(folder: Path, name: str, wait: bool) -> Iterator[bool]:
    """Claim a piece of work; yields whether this process has it now.

    The lock is the operating system's and ends with the process, however it ends: nobody waits for
    the dead. Its file is removed with the claim.

    Args:
      folder: where the results go.
      name: of the piece of work.
      wait: until the process that has it is done or dead, instead of yielding False. A process
        claims one batch at a time, so no two wait for each other.

    Raises:
      OSError: among others, the disk knows no locks.
    """
    path = folder / CLAIMS / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, fallback_to_soft=False)  # a soft lock would outlive its process
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
    finally:
        # Removed while it is locked: who gets it after us sees that it is gone, and makes another.
        path.unlink(missing_ok=True)
        lock.release()


def sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder: files half written, and claims."""
    sweep_partial_files(folder)
    for path in (folder / CLAIMS).glob("*.lock"):
        with claimed_name(folder, path.stem, wait=False):
            pass  # a claim that nobody has is removed as ours ends

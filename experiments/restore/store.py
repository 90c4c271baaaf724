"""What a folder already holds of a plan, and how results are added to it.

A sample is there when a line of the log carries the hash of all its settings and the image on the
disk is the one that the line describes. Of several such lines the first counts.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from experiments.faults import fault
from experiments.files import append_to, read_records, write_atomically
from experiments.restore.locks import locked

LOG = "metrics.jsonl"
FIELDS = {
    *("hash", "task", "method", "image", "image_index", "sample", "seed", "settings", "finite"),
    *("psnr", "ssim", "lpips", "misfit", "rank_mean", "rank_last", "kept_mean", "seconds"),
    *("png", "png_sha256"),
}
"""That every line of a sample has."""


@dataclass
class Found:
    """The samples of a plan that are there: it grows, also by what other processes add."""

    out: Path
    wanted: set[str] | None
    """Hashes of the plan's samples; None where all count."""
    metrics: set[str]
    """Fields beyond `FIELDS` that a line must have to count."""
    lines: dict[str, dict] = field(default_factory=dict)
    """By hash."""
    read: int = 0
    """Lines of the log that have been looked at."""


def look(out: Path, wanted: Iterable[str] | None = None, metrics: Iterable[str] = ()) -> Found:
    """What is there of a plan, or at all. What is damaged is a `fault`, and is not there.

    Raises:
      ValueError: the log in the folder is of another program.
    """
    found = Found(out, None if wanted is None else set(wanted), set(metrics))
    for line in look_again(found):
        if line["hash"] not in found.lines:
            where = found.out / line["png"]
            what = f"not the image that {LOG} describes" if where.is_file() else "missing"
            fault(f"{where} is {what}: it is left out")
    return found


def look_again(found: Found) -> list[dict]:
    """Take over what has been added to the log; returns lines whose image no line describes."""
    records, damaged = read_records(found.out / LOG, FIELDS, found.read)
    found.read += len(records) + len(damaged)
    for message in damaged:
        fault(message)
    digests: dict[str, str] = {}
    wrong = []
    for record in records:
        identity, png = record["hash"], record["png"]
        if identity in found.lines or not (found.wanted is None or identity in found.wanted):
            continue
        digests[png] = digests.get(png) or image_hash(found.out / png)
        if digests[png] != record["png_sha256"]:
            wrong.append(record)
        elif found.metrics <= record.keys():
            found.lines[identity] = record
    described = {(record["png"], record["png_sha256"]) for record in records}
    # who makes what is wanted may have deleted an image to have it made again
    changed = [r for r in wrong if digests[r["png"]] or found.wanted is None]
    return [r for r in changed if (r["png"], digests[r["png"]]) not in described]


def image_hash(path: Path) -> str:
    """SHA-256 of a file, "" if there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def store(found: Found, made: list[tuple[dict, bytes]]) -> None:
    """Write images and then their lines, of those samples that nobody has added meanwhile.

    Args:
      found: takes the lines over.
      made: lines, and the files of their images.
    """
    with locked(found.out / LOG) as log:  # so that an image never changes under a line
        look_again(found)
        fresh = [(line, png) for line, png in made if line["hash"] not in found.lines]
        for line, png in fresh:
            write_atomically(found.out / line["png"], png)
        append_to(log, [line for line, _ in fresh])
    found.lines |= {line["hash"]: line for line, _ in fresh}
    found.read += len(fresh)

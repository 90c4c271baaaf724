"""Join the folders of runs on several machines: `python -m experiments merge OUT FOLDER...`.

Every image is compared with its line. What is damaged is left out and named, what is missing is
counted; the command of the run, with OUT as its ``--out``, then makes both.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path, PurePath

from experiments.faults import fault
from experiments.files import append_to, read_records
from experiments.papers.robustness import RUNS
from experiments.restore.locks import locked
from experiments.restore.shards import SHARD_FILES
from experiments.restore.store import LOG, Found, look, store

_TOGETHER = 64
"""Images that are copied before their lines are written."""
_SHOWN = 5
"""Missing samples that are named."""

Places = dict[Path, list[Found]]
"""Folder of a log, relative to that of its run -> what is there in every run, that of OUT first."""


def plan_merge(arguments: argparse.Namespace) -> Callable[[], None]:
    """Read and check the results in all folders; the result copies them.

    Args:
      arguments: ``out`` and the list ``folder``.

    Raises:
      ValueError, OSError: no results, or samples of different settings in one place.
    """
    out = arguments.out
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: name a folder")
    places: Places = {}
    for root in [out, *arguments.folder]:
        if root != out and not root.is_dir():
            raise ValueError(f"{root} is no folder: give the --out of a run")
        logs = sorted(root.rglob(LOG))
        if root != out and not logs:
            raise ValueError(f"{root} holds no {LOG}: give the --out of a run")
        for log in logs:
            found = look(log.parent)
            check_names(found)
            others = places.setdefault(log.parent.relative_to(root), [])
            for other in others:
                check_settings(found, other)
            others.append(found)
    return lambda: merge(out, arguments.folder, places)


def check_names(found: Found) -> None:
    """Raise ValueError where a log has images beyond its folder."""
    for line in found.lines.values():
        png = PurePath(line["png"])
        if png.is_absolute() or ".." in png.parts:
            where = found.out / LOG
            raise ValueError(f"{where} names {png}, which is not in its folder: delete that line")


def check_settings(found: Found, other: Found) -> None:
    """Raise ValueError where two folders have different samples in files of one name."""
    theirs: dict[str, list[dict]] = {}
    for line in other.lines.values():
        theirs.setdefault(line["png"], []).append(line)
    for line in found.lines.values():
        png = line["png"]
        same = theirs.get(png, [line])
        if line["hash"] not in {known["hash"] for known in same}:
            raise ValueError(
                f"{png} is another sample in {found.out} than in {other.out}"
                f" ({difference(line, same[0])}): join these into different folders"
            )


def difference(line: dict, other: dict) -> str:
    """What two samples differ in, in words."""
    a, b = line["settings"], other["settings"]
    names = [name for name in a | b if a.get(name) != b.get(name)]
    said = [f"{name} {json.dumps(a.get(name))} and {json.dumps(b.get(name))}" for name in names]
    return "; ".join(said) or "the images or the task's options differ"


def merge(out: Path, roots: list[Path], places: Places) -> None:
    """Copy what ``out`` does not have, and say what is missing of the runs that are known."""
    there: set[str] = set()
    added = 0
    for place, founds in places.items():
        target = look(out / place)
        before = len(target.lines)
        for found in founds:
            lines = [] if found.out == target.out else list(found.lines.values())
            for start in range(0, len(lines), _TOGETHER):
                some = lines[start : start + _TOGETHER]
                store(target, [(line, (found.out / line["png"]).read_bytes()) for line in some])
        added += len(target.lines) - before
        there |= target.lines.keys()
    for root in roots:
        for log in root.rglob(RUNS):
            add_runs(out / log.relative_to(root), log)
    missing = {h: path for h, path in expected(roots).items() if h not in there}
    print(f"{out} has {len(there)} samples, {added} of them new.")
    if missing:
        names = [*map(str, missing.values())][:_SHOWN]
        more = ", ..." if len(missing) > _SHOWN else ""
        print(f"Missing of the shards' runs: {len(missing)} ({', '.join(names)}{more}).")


def add_runs(target: Path, log: Path) -> None:
    """Add the lines of a log of runs that are not in another."""
    with locked(target) as stream:
        known, _ = read_records(target, {"programs"})
        runs, damaged = read_records(log, {"programs"})
        append_to(stream, [run for run in runs if run not in known])
    for message in damaged:
        fault(message)


def expected(roots: list[Path]) -> dict[str, Path]:
    """The samples of the whole runs of which there are shards: hash -> image."""
    samples: dict[str, Path] = {}
    for root in roots:
        for path in root.rglob(SHARD_FILES):
            try:
                given = json.loads(path.read_bytes())["samples"].items()
            except (ValueError, LookupError, TypeError, AttributeError):
                fault(f"{path} is damaged and left out: run that shard again")
                continue
            samples |= {h: path.parent.relative_to(root) / png for h, png in given}
    return samples

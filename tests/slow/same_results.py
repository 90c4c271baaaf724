"""Do two checkouts compute the same? Run both and compare every image, table, line and array.

    git worktree add ../before COMMIT
    .venv/bin/python tests/slow/same_results.py ../before . --scratch FOLDER

Runs in one environment on one machine: every solver, plain and projected, on two tasks; Table 1;
a small calibration. What was computed already in FOLDER is kept. Only seconds, hashes of settings
and names of folders made of such hashes may differ. Exit code 1 where anything else does.
"""

import argparse
import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

RESTORE = "restore --count 2 --task super_resolution box_inpainting --samples 2 --batch-size 4"
COMMANDS = {
    "daps": f"{RESTORE} --solver daps --levels 4 --ode-steps 2 --inner-steps 5",
    "dps": f"{RESTORE} --solver dps --steps 6",
    "psld": f"{RESTORE} --solver psld --steps 5 --step-factor 8",
    "resample": f"{RESTORE} --solver resample --steps 30 --pixel-limit 5 --latent-limit 4",
    "latent-dps": f"{RESTORE} --solver latent-dps --steps 5",
    "latent-daps": f"{RESTORE} --solver latent-daps --levels 3 --inner-steps 3",
    "reproduce": "reproduce table1 --count 1",
    "calibrate": "calibrate --truths 5 --samples 19 --steps 10 --levels 3 --resample-steps 30"
    " --limit 5 --batch-size 95 --setting gaussian:random_inpainting"
    " --solver dps daps daps-sigma psld latent-dps latent-daps resample",
}
TIMES = re.compile("second|hash|^inputs$|settings|^run$|^versions|^command$|^versions_and|memory")
"""Fields that may differ."""
_HASHED = re.compile(r"(seed\d+)-[0-9a-f]{8}/")
_LOGS = ("rows.json", "table.csv")


def run_all(tree: Path, scratch: Path) -> None:
    """Run every command of a checkout that has not ended before."""
    environment = os.environ | {"PYTHONPATH": str(tree.resolve())}
    for name, command in COMMANDS.items():
        out = scratch / name
        ended = out / "ended"
        if not ended.exists():
            words = [sys.executable, "-m", "experiments", *command.split(), "--out", str(out)]
            subprocess.run(words, cwd=tree, env=environment, check=True)
            ended.touch()


def results(out: Path) -> Iterator[tuple[str, str]]:
    """(place, content) of every image, array, line and table below a folder."""
    for path in sorted(out.rglob("*")):
        place = _HASHED.sub(r"\1/", str(path.relative_to(out)))
        if path.parent.name in ("mask", "kernel"):  # earlier checkouts keep none
            continue
        if path.suffix == ".png" and not is_plot(path):
            yield place, hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.suffix == ".npy":
            array = np.load(path)
            yield place, f"{array.shape} {array.dtype} {hashlib.sha256(array.data).hexdigest()}"
        elif path.suffix == ".npz":
            for name, array in np.load(path).items():
                if not TIMES.search(name):
                    where = f"{place_without_hash(place)} {name}"
                    yield where, f"{array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
        elif path.suffix == ".json" and path.with_suffix(".png").exists():
            yield record_of(path.parent, json.loads(path.read_text()), out)
        elif path.name == "metrics.jsonl":  # what was written before, or repeats the above
            for line in path.read_text().splitlines():
                yield record_of(path.parent, json.loads(line), out)
        elif path.name in _LOGS:
            yield place, json.dumps(sorted(map(json.dumps, rows_of(path))))


def record_of(folder: Path, record: dict, out: Path) -> tuple[str, str]:
    """A sample's record, at the name of its image."""
    image = folder / record["png"] if (folder / record["png"]).exists() else folder
    name = Path(record["png"]).name if image == folder else ""
    place = _HASHED.sub(r"\1/", str((image / name).relative_to(out)))
    return f"{place}: record", json.dumps(lasting(record))


def place_without_hash(place: str) -> str:
    """The name of a file that ends in a hash of settings, without it."""
    return re.sub(r"-[0-9a-f]{8,16}\.npz$", ".npz", place)


def is_plot(path: Path) -> bool:
    """Whether matplotlib drew a picture, of numbers that are compared themselves."""
    return path.name in ("figure.png", "widths.png", "coverage.png", "ranks.png")


def rows_of(path: Path) -> list:
    """The rows of a log or table without what may differ."""
    text = path.read_text()
    if path.suffix == ".csv":
        rows = [row for row in csv.DictReader(text.splitlines()) if row["metric"] != "seconds"]
    else:
        rows = json.loads(text)
    return [lasting(row) for row in rows]


def lasting(value):
    """JSON values without fields that may differ."""
    if isinstance(value, dict):
        return {k: lasting(v) for k, v in sorted(value.items()) if not TIMES.search(k)}
    return [lasting(v) for v in value] if isinstance(value, list) else value


def compared(before: Path, after: Path) -> int:
    """Print what differs; returns how many places do."""
    wrong = 0
    for name in COMMANDS:
        pairs = sorted(set(results(before / name))), sorted(set(results(after / name)))
        differing = sorted(set(pairs[0]) ^ set(pairs[1]))
        print(f"{name}: {len(pairs[0])} and {len(pairs[1])} results, {len(differing)} differ")
        for place, content in differing[:10]:
            print(f"  {place}: {content[:200]}")
        wrong += len(differing) + (len(pairs[0]) == 0)
    return wrong


def main() -> int:
    """Run both checkouts and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path, help="checkout of the commit to compare with")
    parser.add_argument("after", type=Path, help="checkout that must compute the same")
    parser.add_argument("--scratch", type=Path, required=True, help="folder for the results")
    arguments = parser.parse_args()
    scratch = arguments.scratch.resolve()
    run_all(arguments.before, scratch / "before")
    run_all(arguments.after, scratch / "after")
    return int(compared(scratch / "before", scratch / "after") > 0)


if __name__ == "__main__":
    sys.exit(main())

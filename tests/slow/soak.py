"""Runs of the command line that are killed at random moments, for hours; `make soak`.

    python tests/slow/soak.py --minutes 120 --out reports/soak.json

Every run is a case of `CASES`: processes of `python -m experiments` with bundled priors. Each is
killed by SIGKILL between its start and its end up to three times and started again, until all have
ended by themselves. Then the folder is compared with that of a run which nobody killed.
The time that --out already counts is counted on, so a soak may be done in pieces.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from experiments.files import versions_and_hardware, write_atomically
from experiments.restore.store import image_hash

SMALL = "restore --count 2 --samples 2 --projection state --batch-size 2"
DPS = f"{SMALL} --solver dps --task gaussian_deblur --steps 240"
CASES: dict[str, list[list[str]]] = {
    "DAPS": [[f"{SMALL} --task super_resolution --levels 60 --save-every 3 --out OUT"]],
    "PSLD": [[f"{SMALL} --solver psld --task box_inpainting --steps 120 --save-every 6 --out OUT"]],
    "ReSample": [
        [
            f"{SMALL} --solver resample --task box_inpainting --steps 60 --pixel-limit 50"
            " --latent-limit 20 --save-every 3 --out OUT"
        ]
    ],
    "DPS, two processes in one folder": [[f"{DPS} --save-every 12 --out OUT"] * 2],
    "DPS, two shards of one folder, then the whole": [
        [f"{DPS} --save-every 12 --shard {i}/2 --out OUT" for i in (1, 2)],
        [f"{DPS} --save-every 12 --out OUT"],
    ],
}
"""What is run -> its stages, one after the other, each of processes at the same time."""
ROUNDS = 3
"""The most times that a stage is killed."""
COLD = 8
"""Every so many runs begin with an empty folder of compiled programs."""


def start(command: str, folder: Path) -> subprocess.Popen:
    """`python -m experiments`, in ``folder``, with compiled programs kept beside it."""
    words = [sys.executable, "-m", "experiments", *command.split()]
    variables = {"XDG_CACHE_HOME": str(folder.parent / "cache")}
    here = str(Path(__file__).parents[2])
    variables["PYTHONPATH"] = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(words, cwd=folder, env=os.environ | variables, text=True, **pipes)


def kill(processes: list[subprocess.Popen], moments: list[float]) -> tuple[int, float]:
    """Kill every process so many seconds from now: (how many were still alive, seconds)."""
    begun, alive = time.monotonic(), 0
    for moment, process in sorted(zip(moments, processes, strict=True), key=lambda pair: pair[0]):
        try:
            process.wait(max(0.0, moment - (time.monotonic() - begun)))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.communicate()
        alive += process.returncode == -signal.SIGKILL
    return alive, time.monotonic() - begun


def results(folder: Path) -> dict[str, dict]:
    """Sample -> its line without seconds, in any folder of a run; only those with their image."""
    records = {}
    for path in sorted(folder.rglob("*.json")):
        image = path.with_suffix(".png")
        if image.is_file() and path.stat().st_size:
            record = json.loads(path.read_bytes())
            if image_hash(image) == record["png_sha256"]:
                records[record["hash"]] = {k: v for k, v in record.items() if k != "seconds"}
    return records


def has_state(folder: Path) -> bool:
    """Whether there is a state to go on from."""
    return any(path.name.isdigit() for path in folder.glob("*/.states/*/*/*/*"))


def one_run(case: str, folder: Path, longest: list[float], rng: random.Random) -> dict:
    """Run a case to its end, with kills up to about ``longest`` seconds after a stage's start.

    These follow what a stage takes on a machine that is now fast, now slow. Without them none is
    killed, and they are measured.
    """
    counts = dict.fromkeys(("starts", "kills", "resumed", "lost", "failed"), 0)
    folder.mkdir(parents=True)
    before: dict[str, dict] = {}
    complaints, begun = [], time.monotonic()
    for number, stage in enumerate(CASES[case]):
        for _ in range(rng.randint(1, ROUNDS) if longest[number:] else 0):
            counts["starts"] += len(stage)
            counts["resumed"] += has_state(folder)
            moments = [rng.uniform(0, longest[number]) for _ in stage]
            killed, seconds = kill([start(command, folder) for command in stage], moments)
            counts["kills"] += killed
            before |= results(folder)
            longest[number] = 1.1 * longest[number] if killed else min(longest[number], seconds)
            if not killed:
                break
        counts["starts"] += len(stage)
        counts["resumed"] += has_state(folder)
        started = time.monotonic()
        processes = [start(command, folder) for command in stage]
        ends = [(process.communicate()[1], process.returncode) for process in processes]
        complaints += [said[-2000:] for said, code in ends if code]
        if not longest[number:]:
            longest.append(time.monotonic() - started)
    counts["failed"] = len(complaints)
    records = results(folder / "OUT")
    counts["lost"] = sum(records.get(sample) != line for sample, line in before.items())
    left = [str(path) for path in folder.rglob("*") if path.suffix == ".partial"]
    seconds = time.monotonic() - begun
    more = {"case": case, "results": len(records), "seconds": seconds, "left_over": len(left)}
    return more | counts | {"complaints": complaints, "records": records}


def table(runs: list[dict]) -> str:
    """Sums per case, as Markdown."""
    names = ("starts", "kills", "resumed", "failed", "results", "lost", "differing")
    rows = ["| case | runs | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for case in (*CASES, "all"):
        members = [run for run in runs if case in (run["case"], "all")]
        sums = [str(sum(run[name] for run in members)) for name in names]
        rows.append(" | ".join([f"| {case}", str(len(members)), *sums]) + " |")
    return "\n".join(rows)


def soak(minutes: float, out: Path, seed: int) -> None:
    """Run the cases in turn until the time is over, and write the report after every run."""
    runs = json.loads(out.read_text())["runs"] if out.exists() else []
    rng = random.Random(seed + len(runs))
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        whole: dict[str, dict] = {}
        longest: dict[str, list[float]] = {}
        for case in CASES:
            longest[case] = []
            run = one_run(case, root / "whole" / case, longest[case], rng)
            print(f"{case}: {run['seconds']:.0f} s without kills", flush=True)
            if run["failed"] or not run["records"]:
                sys.exit("\n".join(run["complaints"]) or "no results")
            whole[case] = run["records"]
        while sum(run["seconds"] for run in runs) < 60 * minutes:
            case = list(CASES)[len(runs) % len(CASES)]
            if len(runs) % COLD == 0:
                shutil.rmtree(root / "cache", ignore_errors=True)
            run = one_run(case, root / "runs" / case, longest[case], rng)
            records = run.pop("records")
            run["differing"] = sum(records.get(key) != line for key, line in whole[case].items())
            runs.append(run)
            shutil.rmtree(root / "runs")
            report = {"minutes": sum(run["seconds"] for run in runs) / 60, "table": table(runs)}
            report |= {"seed": seed, "runs": runs} | versions_and_hardware()
            write_atomically(out, (json.dumps(report, indent=1) + "\n").encode())
            print(f"{report['minutes']:.1f} min\n{report['table']}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=120, help="of runs with kills, in all")
    parser.add_argument("--out", type=Path, default=Path("results/soak.json"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    soak(arguments.minutes, arguments.out, arguments.seed)

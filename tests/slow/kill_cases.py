"""Run `restore` in a child, kill it at random moments, start it again; compare with one whole run.

Started by test_resume.py: kill_cases.py FOLDER KILLS. A child is a fork of this process,
which has imported everything and computed nothing, so that a start costs little.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from experiments.restore import parts
from experiments.restore.compute import compute
from experiments.restore.plan import plan
from support.gaussian_prior import gaussian_prior
from support.tiny_command import records_by_hash
from support.words import settings_of

CARD = {"name": "emoji", "size": 16, "size_multiple": 4, "channels": 3}
STEPS = 400


def restore(out: Path, write_end: int) -> None:
    """The whole command; a byte goes into the pipe when the steps begin, of 1 if from a state."""
    newest_state = parts.newest_state

    def telling(*inputs):
        state = newest_state(*inputs)
        os.write(write_end, bytes([state is not None]))
        return state

    parts.newest_state = telling
    words = ["--task", "identity", "--solver", "dps", "--steps", STEPS, "--size", 16]
    words += ["--count", 2, "--projection", "state", "--save-every", 4, "--out", out]
    compute([plan(settings_of("restore", *words), (gaussian_prior(), CARD))])


def start(out: Path) -> tuple[int, int]:
    """A child at work: (its number, the pipe's end to read from)."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child:
        os.close(write_end)
        return child, read_end
    try:
        os.close(read_end)
        restore(out, write_end)
    finally:
        os._exit(0)


def killed(out: Path, after: float) -> tuple[bool, bool]:
    """Start a child and kill it: (whether it had a state to go on from, whether it was at work)."""
    child, read_end = start(out)
    begun = os.read(read_end, 1)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(read_end)
    return begun == b"\1", os.WIFSIGNALED(status)


def finished(out: Path) -> tuple[bool, float]:
    """Let a child finish: (whether it had a state to go on from, seconds of its steps)."""
    child, read_end = start(out)
    begun, started = os.read(read_end, 1), time.monotonic()
    os.waitpid(child, 0)
    os.close(read_end)
    return begun == b"\1", time.monotonic() - started


def results(out: Path) -> list:
    """Records without seconds, and images."""
    records = list(records_by_hash(out).values())
    return [records, [(out / record["png"]).read_bytes() for record in records]]


def main(folder: Path, kills: int) -> None:
    """Kill until there were so many, with a new run where one was finished; print a JSON line."""
    _, seconds = finished(folder / "whole")
    moments = random.Random(0)
    done = resumed = runs = 0
    equal = True
    while done < kills:
        out = folder / f"run{runs}"
        for _ in range(4):
            had_state, at_work = killed(out, moments.uniform(0, seconds / 2))
            done, resumed = done + at_work, resumed + had_state
            if not at_work or done == kills:
                break
        had_state, _ = finished(out)
        resumed, runs = resumed + had_state, runs + 1
        equal = equal and results(out) == results(folder / "whole")
    print(json.dumps({"kills": done, "resumed": resumed, "runs": runs, "equal": equal}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

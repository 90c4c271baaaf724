"""A process that holds one program and runs it when asked: `jax_worker` and `torch_worker`.

Line by line, JSON on stdin and stdout: {"build": case} is answered by the program's facts, {"run":
true} by the seconds of one call, and whatever goes wrong by {"error": words}. The two libraries
are timed in turns in two such processes, because their thread pools disturb each other in one. This
module takes neither of them.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).parents[2]


class Built(NamedTuple):
    """A program that is ready.

    Attributes:
      call: runs it to its end; it has been called before.
      facts: JSON values.
      peak_bytes: the most memory so far: of the accelerator, or of the process on a CPU.
    """

    call: Callable[[], object]
    facts: dict[str, Any]
    peak_bytes: Callable[[], int | None] = lambda: process_peak()


def process_peak() -> int:
    """Bytes of memory that this process had at most (Linux counts KiB)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def processor_time() -> np.ndarray:
    """What Linux counts: seconds/100 of all cores since the start, by use; elsewhere nothing."""
    counted = Path("/proc/stat")
    return np.array(counted.read_text().split()[1:9] if counted.is_file() else [], float)


def stolen(before: np.ndarray, after: np.ndarray) -> float | None:
    """Share of a virtual machine's processor time that its host gave to others; None: unknown."""
    spent = after - before
    return float(spent[7] / max(spent.sum(), 1.0)) if spent.size else None


def serve(about: Callable[[], dict], build: Callable[[dict], Built]) -> None:
    """Answer until stdin ends; the answer before the first is ``about()``."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    built = None
    say_line = lambda answer: print(json.dumps(answer), file=channel, flush=True)
    say_line(about())
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if "build" in asked:
                built = build(asked["build"])
                say_line(built.facts)
            else:
                assert built is not None
                started = time.perf_counter()
                built.call()
                seconds = time.perf_counter() - started
                say_line({"seconds": seconds, "peak_bytes": built.peak_bytes()})
        except Exception as error:  # the boundary: out of memory, not there, not supported
            say_line({"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]})


class Worker:
    """The other end: starts a process with a module that serves, asks, and stops it.

    Attributes:
      about: what the process said of itself.
    """

    def __init__(self, python: str, module: str, patience: float, **environment: str):
        self.patience = patience
        self.errors = tempfile.TemporaryFile()
        paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
        self.process = subprocess.Popen(
            [python, "-m", f"experiments.speed.{module}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | environment,
        )
        self.about = self._answer()

    def ask(self, **asked: Any) -> dict:
        """The answer, or {"error": ...} also where the process has died or is too slow."""
        assert self.process.stdin
        try:
            self.process.stdin.write(json.dumps(asked) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        return self._answer()

    def _answer(self) -> dict:
        assert self.process.stdout
        late = threading.Timer(self.patience, self.process.kill)
        late.start()
        line = self.process.stdout.readline()
        late.cancel()
        if line:
            return json.loads(line)
        code = self.process.wait()
        self.errors.seek(0)
        last = self.errors.read().decode(errors="replace").strip().splitlines()[-1:]
        why = f"no answer in {self.patience:g} s" if code == -9 else f"exit code {code}"
        return {"error": f"the process ended, {why}: {' '.join(last)[:200]}"}

    def stop(self) -> None:
        """End the process, which gives its memory back."""
        self.process.kill()
        self.process.communicate()
        self.errors.close()

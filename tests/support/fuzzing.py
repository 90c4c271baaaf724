"""Faulty inputs by the thousand: what makes them, and what counts what comes of them.

Every input is given to the function that a command gives it to, in this process. It must be read or
refused by one line; nothing may be executed or written; no input may take over 2 seconds of
processor time or 300 MB, but for accepted ones that are worked on. A line of JSON tells the counts
of each kind.
"""

import argparse
import copy
import io
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import numpy as np

from experiments.boundary import INPUT_ERRORS
from support.mutation import damage

SECONDS, BYTES = 2.0, 300e6
# Seconds after which an input that is waited for counts as a traceback.
PATIENCE = 10
# Values that an edited JSON file may have anywhere.
HOSTILE = (
    None, True, -1, 0, 1, 3, 2**31, 2**63, 10**400, 0.5, -1.5, 1e308, float("nan"), float("inf"),
    "", "eps", "../../up", "a" * 100_000, "\ud800", [], [1], [0] * 100_000, {}, {"a": 1}, [[]],
    {"shape": [1, 1, 1]},
)  # fmt: skip
_EVENTS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork")
_watching: list[str] = []
_executed: list[str] = []


class Hang(Exception):
    """An input that is waited for."""


def _audit(event: str, arguments: tuple) -> None:
    writes = event == "open" and isinstance(arguments[1], str) and "w" in arguments[1]
    if _watching and (event in _EVENTS or (writes and "may write" not in _watching)):
        _executed.append(f"{event} {arguments[:2]}")


sys.addaudithook(_audit)

# Kind, what reads the input, whether it may be read.
Case = tuple[str, Callable[[], object], bool]
# Makes the inputs of some kinds: (empty folder, random numbers, how many of each kind).
Cases = Callable[[Path, np.random.Generator, int], Iterator[Case]]


def edited(value: object, rng: np.random.Generator) -> object:
    """A JSON value with one entry replaced, removed, added or nested, somewhere."""
    value = copy.deepcopy(value)
    holder: object = value
    while isinstance(holder, dict | list) and holder:
        key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.integers(len(holder))
        inner = holder[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.3:
            how = rng.integers(6)
            if how == 0:
                del holder[key]
            elif how == 1 and isinstance(holder, dict):
                holder["extra"] = HOSTILE[rng.integers(len(HOSTILE))]
            elif how == 2:
                holder[key] = [inner]
            else:
                holder[key] = HOSTILE[rng.integers(len(HOSTILE))]
            return value
        holder = inner
    return HOSTILE[rng.integers(len(HOSTILE))]


def edited_text(value: object, rng: np.random.Generator) -> bytes:
    """The same as a file; sometimes no JSON at all."""
    text = json.dumps(edited(value, rng)).encode()
    how = rng.integers(20)
    if how == 0:
        return b"[" * int(rng.integers(10, 200_000))
    return damage(text, rng) if how == 1 else text


def peak_bytes(reset: bool = False) -> float:
    """Most memory that the process has had since the last reset (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return 1024.0 * int(status.split("VmHWM:")[1].split()[0])


def waited(*_: object) -> None:
    """Of the alarm."""
    raise Hang(f"waited for over {PATIENCE} s")


def outcome(read: Callable[[], object], may_be_read: bool, may_write: bool) -> str:
    """What becomes of an input, in words; its output is dropped."""
    _watching.append("may write" if may_write else "")
    signal.alarm(PATIENCE)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            read()
    except INPUT_ERRORS:
        return "refused"
    except Exception as error:
        where = error.__traceback__
        while where and where.tb_next:
            where = where.tb_next
        line = f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where else ""
        return f"traceback: {line} {type(error).__name__}: {error}"[:300]
    finally:
        signal.alarm(0)
        _watching.clear()
    return "read" if may_be_read else "read what should be refused"


def run(
    made_by: Sequence[Cases], about: str, worked_on: Collection[str], writing: Collection[str] = ()
) -> int:
    """Run all cases, print a line for each kind; the exit code is 1 if one is not as it must be.

    Args:
      made_by: what makes the cases.
      about: what the program does.
      worked_on: kinds, up to a colon, whose accepted inputs are worked on, which takes time.
      writing: those that write.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[cases.__name__ for cases in made_by])
    options = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)
    signal.signal(signal.SIGALRM, waited)
    good, inputs = True, 0
    for cases in (one for one in made_by if one.__name__ in options.only):
        results: dict[str, Counter] = {}
        worst: dict[str, list[float]] = {}
        rng = np.random.default_rng(options.seed)
        with TemporaryDirectory() as name:
            for kind, read, may_be_read in cases(Path(name), rng, options.count):
                group = kind.split(":")[0]
                before, start = peak_bytes(reset=True), time.process_time()
                end = outcome(read, may_be_read, group in writing)
                took, more = time.process_time() - start, peak_bytes() - before
                results.setdefault(kind, Counter())[end] += 1
                inputs += 1
                if end == "read" and group in worked_on:
                    continue
                most = worst.setdefault(kind, [0.0, 0.0])
                most[:] = max(most[0], took), max(most[1], more)
                results[kind]["over limits"] += took > SECONDS or more > BYTES
        for kind, ends in results.items():
            good = good and set(ends) <= {"refused", "read", "over limits"}
            good = good and not ends["over limits"]
            seconds, size = worst.get(kind, (0.0, 0.0))
            facts = {"seconds": round(seconds, 2), "MB": round(size / 1e6)}
            print(json.dumps({"kind": kind} | ends | {"worst": facts}), flush=True)
    print(json.dumps({"inputs": inputs, "executed or written": len(_executed)}))
    for event in _executed[:5]:
        print(event)
    return 0 if good and not _executed else 1

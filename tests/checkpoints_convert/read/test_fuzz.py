"""Damaged checkpoints of all three formats: tensors as declared or one error, and nothing else."""

import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from checkpoints_convert.read import open_checkpoint
from checkpoints_convert.read.stored import CheckpointError
from support.golden_case import GOLDEN
from support.mutation import damage, damaged_header, damaged_pickle
from support.small_checkpoint import (
    holding,
    name,
    op,
    tensor,
    write,
    write_legacy,
    write_pickle,
    write_safetensors,
)

CHECKPOINTS = GOLDEN / "checkpoints"

# What the interpreter reports to audit hooks while a file is read: that it is opened and mapped.
_watched: dict[str, list] = {}


def _audit(event, arguments):
    for path, events in _watched.items():
        opened = event == "open" and str(arguments[0]) == path and arguments[1] in ("r", "rb")
        if not opened and event != "mmap.__new__":
            events.append((event, str(arguments)[:200]))


sys.addaudithook(_audit)
"".encode("cp437")  # the codec of old zip archives' names, else imported at the first such name


def outcome(path: Path) -> str:
    """Read everything in a file, as a conversion does: nothing runs, little memory is taken.

    Returns:
      "read" or "refused".
    """
    size, error = path.stat().st_size, None
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    _watched[str(path)] = events = []
    try:
        for stored in open_checkpoint(path).tensors.values():
            array = stored.read()
            assert (array.shape, array.dtype) == (stored.shape, stored.dtype)
            assert len(array.tobytes()) == stored.nbytes <= size
    except CheckpointError as raised:
        error = raised
    finally:
        del _watched[str(path)]
    used = tracemalloc.get_traced_memory()[1] - before
    assert not events, events
    assert used < 2**19 + 16 * size, f"{used} bytes of memory for a file of {size}"
    if error is None:
        return "read"
    assert str(error).startswith(str(path)) and error.mend in str(error)
    return "refused"


def rich_pickle() -> bytes:
    """Views, parameters, text, numbers, containers and foreign objects, in one pickle."""
    foreign = name("omegaconf.dictconfig", "DictConfig") + b")\x81" + op({"w": 1}) + b"b"
    old = name("torch.nn.parameter", "Parameter") + tensor() + b"\x85R" + op((True, {})) + b"b"
    scalar = tensor(offset=5, size=(), stride=())
    return holding(
        a=tensor(),
        b=tensor(size=(3, 2), stride=(1, 3)),
        c=old,
        d=foreign,
        e=scalar,
        f=op([1, 2.5, "text", None, (2**70, b"raw")]),
        g=op({"nested": [{"x": 1}]}),
    )


def seeds(folder: Path) -> dict[str, tuple[bytes, list[Callable]]]:
    """Good files, and the ways to damage them."""
    rich = write(folder, rich_pickle()).read_bytes()
    legacy = (CHECKPOINTS / "tiny_legacy.pt").read_bytes()
    half = {"dtype": "BF16", "shape": [1, 4], "data_offsets": [16, 24]}
    header = {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}, "b.c": half}
    flat = write_safetensors(folder, {"__metadata__": {"format": "pt"}} | header).read_bytes()
    near_end = partial(damage, reach=-700)
    return {
        "hostile": ((CHECKPOINTS / "hostile.pt").read_bytes(), [near_end, damaged_pickle]),
        "rich": (rich, [damage, near_end, damaged_pickle, damaged_pickle]),
        "legacy": (legacy, [damage, partial(damage, reach=2700), partial(damage, reach=200)]),
        "small legacy": (write_legacy(folder, rich_pickle()).read_bytes(), [damage]),
        "pickle": (write_pickle(folder).read_bytes(), [damage]),
        "safetensors": (flat, [damage, damaged_header, damaged_header]),
    }


def fuzz(folder: Path, good: dict, count: int, seed: int) -> dict[str, Counter]:
    """Damage each good file so many times and read what comes of it; how these ended."""
    rng, outcomes = np.random.default_rng(seed), {}
    path = folder / "damaged"
    tracemalloc.start()
    try:
        for kind, (content, ways) in good.items():
            path.write_bytes(content)
            assert outcome(path) == "read"
            outcomes[kind] = Counter()
            for trial in range(count):
                path.write_bytes(ways[trial % len(ways)](content, rng))
                try:
                    outcomes[kind][outcome(path)] += 1
                except Exception:
                    path.rename(folder / f"found_{kind.replace(' ', '_')}_{seed}_{trial}")
                    raise
    finally:
        tracemalloc.stop()
    assert not (Path.cwd() / "PWNED").exists()
    return outcomes


def test_damaged_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcomes = fuzz(tmp_path, seeds(tmp_path), 40, seed=0)
    assert min(ends["refused"] for ends in outcomes.values()) > 20
    assert sum(ends["read"] for ends in outcomes.values()) > 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", (1, 2))
def test_thousands_of_damaged_files(tmp_path, monkeypatch, seed):
    monkeypatch.chdir(tmp_path)
    outcomes = fuzz(tmp_path, seeds(tmp_path), 1000, seed)
    assert min(ends["refused"] for ends in outcomes.values()) > 500
    assert min(ends["read"] for ends in outcomes.values()) > 5


@pytest.mark.slow
def test_damaged_lightning_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ways = [damaged_pickle, partial(damage, reach=-60_000), partial(damage, reach=50_000)]
    good = {"lightning": ((CHECKPOINTS / "tiny_ldm.ckpt").read_bytes(), ways)}
    outcomes = fuzz(tmp_path, good, 100, seed=5)["lightning"]
    assert outcomes["refused"] > 50 and outcomes["read"] > 0, outcomes

"""The errors of logs, locks and saved states, and what provokes them; see test_errors.py."""

import errno
import fcntl
import json
from argparse import Namespace
from pathlib import Path

import jax
import numpy as np
from pytest import MonkeyPatch

from dsg_jax.types import Info
from experiments.__main__ import main
from experiments.files import append_records
from experiments.papers.robustness import RUNS, runs_into
from experiments.restore.resume import (
    Checkpoints,
    batch_checkpoints,
    leaves_with_hash,
    newest,
    resumed,
    save_if_due,
)
from experiments.restore.store import FIELDS, LOG, image_hash

TORN = '{"hash": \n'
STATE = np.zeros(2)


def logged(folder: Path, **changes) -> Path:
    """The folder of a run with one sample, whose line has changes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "x.png").write_bytes(b"an image")
    line = dict.fromkeys(FIELDS, 0) | {"hash": "a", "png": "x.png", "settings": {"seed": 0}}
    line |= {"png_sha256": image_hash(folder / "x.png")} | changes
    (folder / LOG).write_text(json.dumps(line) + "\n")
    return folder


def merge(folder: Path, *folders: Path) -> int:
    return main(["merge", str(folder / "out"), *map(str, folders)])


def merge_into_a_file(folder: Path) -> int:
    (folder / "out").touch()
    return merge(folder, logged(folder / "run"))


def merge_other_seeds(folder: Path) -> int:
    other = logged(folder / "b", hash="b", settings={"seed": 7})
    return merge(folder, logged(folder / "a"), other)


def merge_what_names_a_file_outside(folder: Path) -> int:
    run = logged(folder / "run")
    return merge(folder, logged(run, png=str(run / "x.png")))


def merge_the_log_of_another_program(folder: Path) -> int:
    (folder / LOG).write_text('{"loss": 1.0}\n')
    return merge(folder, folder)


def merge_without_an_image(folder: Path) -> int:
    (logged(folder / "run") / "x.png").unlink()
    return merge(folder, folder / "run")


def merge_with_a_torn_line(folder: Path) -> int:
    log = logged(folder / "run") / LOG
    log.write_text(log.read_text() + TORN)
    return merge(folder, folder / "run")


def merge_with_a_torn_log_of_runs(folder: Path) -> int:
    (logged(folder / "run") / RUNS).write_text('{"programs": 1}\n' + TORN)
    return merge(folder, folder / "run")


def merge_with_a_torn_shard(folder: Path) -> int:
    (logged(folder / "run") / "shard_1_of_2.json").write_text(TORN)
    return merge(folder, folder / "run")


def report_with_a_torn_log_of_runs(folder: Path) -> object:
    (folder / RUNS).write_text(TORN)
    return runs_into(folder)


def a_disk_without_locks(folder: Path) -> None:
    def flock(stream, how):
        raise OSError(errno.ENOLCK, "No locks available")

    with MonkeyPatch.context() as world:
        world.setattr(fcntl, "flock", flock)
        append_records(folder / LOG, [])


def states(folder: Path) -> Checkpoints:
    """Where a batch keeps its states: folder/.states/HASH."""
    kept = batch_checkpoints(Namespace(save_every=2, save_minutes=None, out=folder), ["a"], None)
    assert kept is not None
    return kept


def saved(folder: Path, changed: int, *arrays: np.ndarray) -> Checkpoints:
    """The same with a state, whose hash is changed by so much."""
    kept, entries = states(folder), leaves_with_hash(arrays)
    kept.checkpointer.save(kept.folder / "4", entries | {"hash": entries["hash"] + changed})
    kept.checkpointer.wait_until_finished()
    return kept


def a_state_that_is_no_checkpoint(folder: Path) -> object:
    kept = states(folder)
    (kept.folder / "4").mkdir(parents=True)
    return newest(kept, jax.tree.structure(0))


def a_state_with_other_bits(folder: Path) -> object:
    return newest(saved(folder, np.uint8(1), STATE), jax.tree.structure(0))


def a_state_of_other_keys(folder: Path) -> object:
    """As a run finds it after jax has been set to another generator of random numbers."""
    info, words = [np.zeros(1)] * len(Info._fields), np.zeros((2, 4), np.uint32)
    kept = saved(folder, np.uint8(0), STATE, *info, words)
    return resumed(kept, jax.random.split(jax.random.key(0)), STATE, None)


def a_file_where_states_go(folder: Path) -> None:
    kept = states(folder)
    kept.folder.parent.mkdir()
    kept.folder.touch()
    save_if_due(kept, 2, lambda: (STATE, None, jax.random.key(0)))


CASES = {
    "out is a file: name a folder": merge_into_a_file,
    "none is no folder: give the --out of a run": lambda folder: merge(folder, folder / "none"),
    "holds no metrics.jsonl: give the --out of a run": lambda folder: merge(folder, folder),
    "x.png, which is not in its folder: delete that line": merge_what_names_a_file_outside,
    "(seed 7 and 0): join these into different folders": merge_other_seeds,
    "metrics.jsonl is the log of another program": merge_the_log_of_another_program,
    "x.png is missing: it is left out": merge_without_an_image,
    "metrics.jsonl, line 2 is damaged and left out": merge_with_a_torn_line,
    "runs.jsonl, line 2 is damaged and left out": merge_with_a_torn_log_of_runs,
    "shard_1_of_2.json is damaged and left out": merge_with_a_torn_shard,
    "runs.jsonl, line 1 is damaged and left out": report_with_a_torn_log_of_runs,
    "knows no file locks: give an --out on another one": a_disk_without_locks,
    "/4 cannot be read and is left out: FileNotFoundError": a_state_that_is_no_checkpoint,
    "its arrays are not those that were written": a_state_with_other_bits,
    "is of other samples: delete it": a_state_of_other_keys,
    "(there is none yet): FileExistsError": a_file_where_states_go,
}

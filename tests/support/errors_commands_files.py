"""The errors of stored samples, claims and saved states; see test_errors.py."""

import errno
import json
from pathlib import Path

import jax
import numpy as np
from filelock import FileLock
from pytest import MonkeyPatch

from dsg_jax.types import Info
from experiments.restore.plan import Item
from experiments.restore.resume import (
    Checkpoints,
    batch_checkpoints,
    leaves_with_hash,
    newest,
    resumed,
    save_if_due,
)
from experiments.restore.store import FIELDS, claimed, image_hash, read_record
from experiments.settings import Devices, RestoreSettings, Run

STATE = np.zeros(2)


def record_of(folder: Path, text: str | None = None, png: bytes = b"an image") -> object:
    """What is read of a sample's file with this text, or with the record of another image."""
    fields = dict.fromkeys(FIELDS, 0) | {"hash": "a", "png_sha256": image_hash(folder / "no.png")}
    (folder / "x.json").write_text(json.dumps(fields) if text is None else text)
    (folder / "x.png").write_bytes(png)
    return read_record(folder / "x.png", "a")


def a_disk_without_locks(folder: Path) -> None:
    def acquire(lock, **_):
        raise OSError(errno.ENOLCK, "No locks available")

    with MonkeyPatch.context() as world:
        world.setattr(FileLock, "acquire", acquire)
        with claimed(folder, [Item(None, 0, None, "a", "x.png")], False):
            pass


def states(folder: Path) -> Checkpoints:
    """Where a batch keeps its states: folder/.states/HASH."""
    settings = RestoreSettings(run=Run(out=folder), devices=Devices(save_every=2))
    kept = batch_checkpoints(settings, ["a"], None)
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
    "x.json is damaged and left out": lambda folder: record_of(folder, "{"),
    "x.png is not the image that x.json describes": record_of,
    "knows no file locks: give an --out on another one": a_disk_without_locks,
    "/4 cannot be read and is left out: FileNotFoundError": a_state_that_is_no_checkpoint,
    "its arrays are not those that were written": a_state_with_other_bits,
    "is of other samples: delete it": a_state_of_other_keys,
    "(there is none yet): FileExistsError": a_file_where_states_go,
}

"""The errors of stored samples, claims and saved states; see test_errors.py."""

import errno
import json
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from filelock import FileLock
from pytest import MonkeyPatch

from dsg_jax.types import Info
from experiments.restore.jobs import Item
from experiments.restore.resume import (
    FOLDER,
    Saving,
    chunk_states,
    named_leaves,
    newest_state,
    save_state,
    saving_of,
)
from experiments.restore.store import FIELDS, check_vacant, claimed, image_hash, read_record
from experiments.settings import Devices

ITEM = Item(None, 0, None, "a", "x.png")
STATE = np.zeros(2)


def record_of(folder: Path, text: str | None = None, png: bytes = b"an image") -> object:
    """What is read of a sample's file with this text, or with the record of another image."""
    image = folder / "hdr" / "dps" / "x_0.png"
    image.parent.mkdir(parents=True)
    fields = {name: kinds[0]() for name, kinds in FIELDS.items()}
    fields |= {"hash": "a", "task": "hdr", "method": "dps", "image": "x", "settings": {"seed": 0}}
    fields |= {"png": "hdr/dps/x_0.png", "png_sha256": image_hash(folder / "no.png")}
    image.with_suffix(".json").write_text(json.dumps(fields) if text is None else text)
    image.write_bytes(png)
    return read_record(image, "a")


def another_command_was_faster(folder: Path) -> object:
    record_of(folder, png=b"")
    return check_vacant(folder / "hdr" / "dps" / "x_0.png", ITEM._replace(identity="b"))


def a_disk_without_locks(folder: Path) -> None:
    def acquire(lock, **_):
        raise OSError(errno.ENOLCK, "No locks available")

    with MonkeyPatch.context() as world:
        world.setattr(FileLock, "acquire", acquire)
        with claimed(folder, [ITEM], False):
            pass


def saving(folder: Path) -> Saving:
    """How a batch of one sample saves its states."""
    how = saving_of(folder, Devices(save_every=2), [ITEM], 1)
    assert how is not None
    return how


def read_state(folder: Path, changed: int = 0, words: int = 2) -> object:
    """What is read of a state whose hash is changed by so much, and keys of so many words."""
    keys = jax.random.split(jax.random.key(0))
    leaves = [STATE, *[np.zeros(1)] * len(Info._fields), np.zeros((2, words), np.uint32)]
    with chunk_states(saving(folder), 0) as manager:
        entries = named_leaves(leaves)
        entries["hash"] = entries["hash"] + np.uint8(changed)
        manager.save(4, args=ocp.args.StandardSave(entries))
        manager.wait_until_finished()
        return newest_state(manager, keys, STATE)


def a_state_that_cannot_be_saved(folder: Path) -> None:
    """As on a disk that is full."""

    def save(*_, **__):
        raise OSError("no space left")

    with MonkeyPatch.context() as world, chunk_states(saving(folder), 0) as manager:
        world.setattr(ocp.CheckpointManager, "save", save)
        save_state(manager, 2, STATE, Info(*[np.zeros(1)] * len(Info._fields)), jax.random.key(0))


def a_state_that_is_not_complete(folder: Path) -> object:
    """As after an error while it was written."""

    def wait(*_, **__):
        raise OSError("no space left")

    with MonkeyPatch.context() as world, chunk_states(saving(folder), 0):
        world.setattr(ocp.CheckpointManager, "wait_until_finished", wait)


def a_file_where_states_go(folder: Path) -> None:
    (folder / FOLDER).touch()
    with chunk_states(saving(folder), 0):
        pass


CASES = {
    "x_0.json is damaged and left out": lambda folder: record_of(folder, "{"),
    "x_0.json is damaged and left": lambda folder: record_of(folder, '{"psnr": NaN}'),
    "x_0.json is damaged": lambda folder: record_of(folder, "[" * 100_000),
    "x_0.png is not the image that x_0.json describes": record_of,
    "x_0.json is another command's, begun meanwhile: give": another_command_was_faster,
    "knows no file locks: give an --out on another one": a_disk_without_locks,
    "its arrays are not those that were written": lambda folder: read_state(folder, changed=1),
    "/4 cannot be read and is left out: ValueError: it is of other random numbers": (
        lambda folder: read_state(folder, words=4)
    ),
    "(there is none yet): OSError: no space left": a_state_that_cannot_be_saved,
    "could not be saved": a_state_that_is_not_complete,
    "no state can be saved in": a_file_where_states_go,
}

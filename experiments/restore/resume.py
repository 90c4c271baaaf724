"""States of unfinished batches on the disk, so that a killed run goes on from inside a batch.

    OUT/.states/BATCH/samples.json          its samples, so that a later run knows when it is done
    OUT/.states/BATCH/VARIANT/CHUNK/STEP    Orbax checkpoint: state, `Info`, keys after STEP steps

A checkpoint is written while the next steps are computed, and the newest two stay. Optimiser
moments and subspaces are no part of it, for every solver makes them and lets them go within one
step. The draws are functions of key and number.
"""

import json
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax import Array

from dsg_jax.types import Info
from experiments.files import array_hash, content_hash, read_json, say, write_atomically
from experiments.restore.jobs import Item
from experiments.settings import Devices

FOLDER = ".states"
# File of a batch's folder that lists its samples.
SAMPLES = "samples.json"


class Saving(NamedTuple):
    """Where the states of a batch go, and how often: every so many steps, or so many minutes."""

    folder: Path
    steps: int | None
    minutes: float | None


def saving_of(out: Path, devices: Devices, items: Sequence[Item], chunk: int) -> Saving | None:
    """How the states of a batch are saved, as the settings have it; None if they are not.

    A state is of use only to a run that cuts the batch into the same chunks (of so many samples)
    and parts: both are in the folder's name.
    """
    if devices.save_every is None and devices.save_minutes is None:
        return None
    variant = f"{chunk}-at-once-{devices.save_every or 'usual'}-steps"
    folder = batch_folder(out, items)
    with suppress(OSError):  # said where the states are saved
        listed = json.dumps({item.identity: item.png for item in items})
        write_atomically(folder / SAMPLES, listed.encode())
    return Saving(folder / variant, devices.save_every, devices.save_minutes)


def batch_folder(out: Path, items: Sequence[Item]) -> Path:
    """Where the states of a batch are, whatever it is cut into."""
    return out.absolute() / FOLDER / content_hash({"samples": [item.identity for item in items]})


def begun_batches(out: Path) -> Iterator[list[Item]]:
    """The samples of every batch of which a state was saved, whoever cut it."""
    for path in (out / FOLDER).glob(f"*/{SAMPLES}"):
        with suppress(ValueError, OSError, TypeError):
            # Nobody asks for the picture and the problem of what is done.
            listed = [Item(None, 0, None, *names) for names in read_json(path).items()]  # type: ignore[arg-type]
            if batch_folder(out, listed) == path.parent.absolute():
                yield listed


def forget(out: Path, items: Sequence[Item]) -> None:
    """Remove the states of a batch whose results are on the disk."""
    folder = batch_folder(out, items)
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent.is_dir() and not any(folder.parent.iterdir()):
        folder.parent.rmdir()


@contextmanager
def chunk_states(saving: Saving | None, number: int) -> Iterator[ocp.CheckpointManager | None]:
    """The checkpoints of a chunk; None where none are to be saved, or (said) none can be."""
    manager = None
    if saving is not None:
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # our lines in place of tracebacks
        folder = saving.folder / str(number)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(folder)
            manager = ocp.CheckpointManager(folder, options=manager_options())
        except Exception as error:  # the disk's errors, in Orbax's and tensorstore's many types
            say(f"no state can be saved in {folder}: {short(error)}")
    try:
        yield manager
    finally:
        if manager is not None:
            settle(manager)
            with suppress(Exception):  # of a checkpoint that could not be written: it has been said
                manager.close()


def manager_options() -> ocp.CheckpointManagerOptions:
    """Two checkpoints, and no process waits for another of `jax.distributed`."""
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
    )
    return ocp.CheckpointManagerOptions(max_to_keep=2, create=False, multiprocessing_options=alone)


def newest_state(
    manager: ocp.CheckpointManager | None, keys: Array, forms: Any
) -> tuple[int, Any, list[Info]] | None:
    """How a chunk goes on: (finished steps, state on its devices, `Info` of the parts so far).

    None where nothing is saved. A checkpoint that cannot be read is said and removed.

    Args:
      manager: of the chunk's checkpoints.
      keys: of the chunk; a checkpoint of other random numbers is of no use.
      forms: shapes, types and places of the state.
    """
    if manager is None:
        return None
    structure = jax.tree.structure((forms, Info(*[keys] * len(Info._fields)), keys))
    for step in sorted(manager.all_steps(), reverse=True):
        try:
            state, info, words = jax.tree.unflatten(structure, read_leaves(manager, step))
            if not np.array_equal(words, jax.random.key_data(keys)):
                raise ValueError("it is of other random numbers")
        except Exception as error:  # Orbax and tensorstore raise what their parsers raise
            folder = Path(manager.directory) / str(step)
            say(f"{folder} cannot be read and is left out: {short(error)}")
            shutil.rmtree(folder, ignore_errors=True)
            manager.reload()
            continue
        put = lambda leaf, form: jax.device_put(leaf, form.sharding)
        return step, jax.tree.map(put, state, forms), [info]
    return None


def is_due(saving: Saving | None, step: int, count: int, saved_at: float) -> bool:
    """Whether a state is to be saved after this step, the end of a part of ``count`` steps.

    ``saved_at`` is the time (`time.monotonic`) of the save before it, or of the start.
    """
    if saving is None:
        return False
    steps, minutes = saving.steps, saving.minutes
    passed = steps is not None and step // steps > (step - count) // steps
    return passed or (minutes is not None and time.monotonic() - saved_at >= 60 * minutes)


def save_state(
    manager: ocp.CheckpointManager | None, step: int, state: Any, info: Info, keys: Array
) -> None:
    """Begin to write how a chunk is after a step; ``state`` may be donated after the return.

    What goes wrong is said and does not end the run: an earlier state stays, and so does the next
    chance.
    """
    if manager is None:
        return
    settle(manager)  # one is written at a time
    copies = jax.tree.map(jnp.copy, state)  # for on a CPU numpy would look at the donated memory
    leaves = jax.tree.leaves(jax.device_get((copies, info, jax.random.key_data(keys))))
    try:
        manager.save(step, args=ocp.args.StandardSave(named_leaves(leaves)))
    except Exception as error:  # as in `chunk_states`
        report(manager, error)


def settle(manager: ocp.CheckpointManager) -> None:
    """Wait for the checkpoint that is being written."""
    try:
        manager.wait_until_finished()
    except Exception as error:  # as in `chunk_states`
        report(manager, error)


def named_leaves(leaves: list) -> dict[str, np.ndarray]:
    """Arrays by number, and a hash of them all, for not every damage shows in the files' format."""
    digest = np.frombuffer(array_hash(*leaves).encode(), np.uint8)
    return {f"array_{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)} | {"hash": digest}


def read_leaves(manager: ocp.CheckpointManager, step: int) -> list[np.ndarray]:
    """The arrays of a checkpoint; ValueError if they are not those that were written."""
    stored = manager.restore(step, args=ocp.args.StandardRestore())
    leaves = [np.asarray(stored[f"array_{i}"]) for i in range(len(stored) - 1)]
    if not np.array_equal(stored["hash"], named_leaves(leaves)["hash"]):
        raise ValueError("its arrays are not those that were written")
    return leaves


def report(manager: ocp.CheckpointManager, error: Exception) -> None:
    """Say that a state could not be saved, and leave its room to others."""
    folder = Path(manager.directory)
    remove_unfinished(folder)
    manager.reload()
    step = manager.latest_step()
    remains = "there is none yet" if step is None else f"that of step {step} remains"
    say(f"the state could not be saved in {folder} ({remains}): {short(error)}")


def remove_unfinished(folder: Path) -> None:
    """Remove what a kill or a full disk left of a checkpoint; none is being written."""
    for unfinished in folder.glob("*.orbax-checkpoint-tmp*"):
        shutil.rmtree(unfinished, ignore_errors=True)


def short(error: Exception) -> str:
    """The first 200 characters of an error, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]

"""States of unfinished batches on the disk, so that a killed run goes on from inside a batch.

    OUT/.states/BATCH/CHUNK/STEP    an Orbax checkpoint: keys, state and `Info` after STEP steps

A checkpoint is written while the next steps are computed, beside its place, and renamed when it is
complete; the newest two stay. Optimiser moments and subspaces are no part of it, for every solver
makes them and lets them go within one step. The draws are functions of key and number.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax import Array

from dsg_jax.types import Info
from experiments.files import array_hash, content_hash, say
from experiments.restore.processes import on_its_own
from experiments.settings import RestoreSettings

FOLDER = ".states"
KEPT = 2


class Every(NamedTuple):
    """How often a state is saved: after so many steps, or so many minutes."""

    steps: int | None = None
    minutes: float | None = None


class Checkpoints(NamedTuple):
    """Those of one batch."""

    folder: Path
    every: Every
    checkpointer: ocp.StandardCheckpointer
    last: list
    """Step and time of the newest save; of the start, before there is one."""


def batch_checkpoints(
    settings: RestoreSettings, identities: Iterable[str], at_once: int | None
) -> Checkpoints | None:
    """Where a batch of samples, known by their hashes, keeps its states; None if it is not to."""
    every = Every(settings.devices.save_every, settings.devices.save_minutes)
    if every == Every():
        return None
    facts = {"samples": list(identities), "at once": at_once, "steps": every.steps}
    folder = settings.run.out.absolute() / FOLDER / content_hash(facts)
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax's tracebacks; `report` has a line
    checkpointer = ocp.StandardCheckpointer(multiprocessing_options=on_its_own())
    return Checkpoints(folder, every, checkpointer, [0, time.monotonic()])


def of_chunk(kept: Checkpoints, number: int) -> Checkpoints:
    """The checkpoints of one chunk of a batch."""
    return kept._replace(folder=kept.folder / str(number))


def resumed(kept: Checkpoints, keys: Array, forms: Any, blank: Any) -> tuple[int, Any, list]:
    """How a chunk goes on: (finished steps, state on its devices, `Info` of the parts so far).

    ``blank`` is the state to begin with where nothing is saved; ``forms`` has its places.

    Raises:
      OSError: the random keys saved are others, as of another of jax's generators.
    """
    structure = jax.tree.structure((forms, Info._make(range(len(Info._fields))), 0))
    step, tree = newest(kept, structure)
    if tree is None:
        return 0, blank, []
    state, info, saved_keys = tree
    if not np.array_equal(saved_keys, jax.random.key_data(keys)):
        raise OSError(f"{kept.folder} is of other samples: delete it")
    put = lambda leaf, form: jax.device_put(leaf, form.sharding)
    return step, jax.tree.map(put, state, forms), [info]


def save_if_due(
    kept: Checkpoints, step: int, run: Callable[[], tuple], certainly: bool = False
) -> None:
    """Begin to write a run as it is, if it is time to, or ``certainly``.

    What goes wrong is said and does not end the run: an earlier state stays, and so does the next
    chance. ``run`` gives (state, `Info` so far, keys); the state may be donated as soon as this
    returns.
    """
    steps, minutes = kept.every
    saved, at = kept.last
    due = steps is not None and step - saved >= steps
    due = due or minutes is not None and time.monotonic() - at >= 60 * minutes
    if not (due or certainly):
        return
    kept.last[:] = step, time.monotonic()
    state, info, keys = run()
    copied = jax.tree.map(jnp.copy, state)
    with_hash = leaves_with_hash(jax.device_get((copied, info, jax.random.key_data(keys))))
    settle(kept)
    try:
        kept.folder.mkdir(parents=True, exist_ok=True)
        kept.checkpointer.save(kept.folder / str(step), with_hash)
    except Exception as error:  # the disk's errors, in Orbax's and tensorstore's many types
        report(kept, error)


def settle(kept: Checkpoints) -> None:
    """Wait for the checkpoint that is being written; older ones than the newest two go."""
    try:
        kept.checkpointer.wait_until_finished()
    except Exception as error:  # as above
        report(kept, error)
    for step in finished_steps(kept)[KEPT:]:
        shutil.rmtree(kept.folder / str(step), ignore_errors=True)


def newest(kept: Checkpoints, structure: Any) -> tuple[int, Any]:
    """The newest run that can be read: (finished steps, numpy arrays of that structure).

    Without one, (0, None). One that cannot be read is reported and removed.
    """
    kept.last[:] = 0, time.monotonic()
    remove_unfinished(kept)
    for step in finished_steps(kept):
        try:
            tree = read_state(kept, step, structure)
        except Exception as error:  # Orbax and tensorstore raise what their parsers raise
            say(f"{kept.folder / str(step)} cannot be read and is left out: {short(error)}")
            shutil.rmtree(kept.folder / str(step), ignore_errors=True)
            continue
        kept.last[:] = step, time.monotonic()
        return step, tree
    return 0, None


def read_state(kept: Checkpoints, step: int, structure: Any) -> Any:
    """The arrays of a checkpoint as a tree; ValueError if they are not what was written."""
    stored = kept.checkpointer.restore(kept.folder / str(step))
    leaves = [np.asarray(stored[name_of(i)]) for i in range(structure.num_leaves)]
    if not np.array_equal(stored["hash"], leaves_with_hash(leaves)["hash"]):
        raise ValueError("its arrays are not those that were written")
    return jax.tree.unflatten(structure, leaves)


def remove_unfinished(kept: Checkpoints) -> None:
    """Remove what a kill or a full disk left of a checkpoint; none is being written."""
    for unfinished in kept.folder.glob("*.orbax-checkpoint-tmp*"):
        shutil.rmtree(unfinished, ignore_errors=True)


def finished_steps(kept: Checkpoints) -> list[int]:
    """Numbers of the complete checkpoints, newest first."""
    names = [path.name for path in kept.folder.glob("*") if path.name.isdigit()]
    return sorted(map(int, names), reverse=True)


def forget(kept: Checkpoints | None) -> None:
    """Remove the states of a batch whose results are on the disk."""
    if kept is None:
        return
    settle(kept)
    kept.checkpointer.close()
    shutil.rmtree(kept.folder, ignore_errors=True)
    if kept.folder.parent.is_dir() and not any(kept.folder.parent.iterdir()):
        kept.folder.parent.rmdir()


def leaves_with_hash(tree: Any) -> dict[str, np.ndarray]:
    """The arrays of a tree by number, and a hash of them all."""
    leaves = jax.tree.leaves(tree)
    digest = np.frombuffer(array_hash(*leaves).encode(), np.uint8)
    return {name_of(i): np.asarray(leaf) for i, leaf in enumerate(leaves)} | {"hash": digest}


def name_of(i: int) -> str:
    """Of the i-th array in a checkpoint."""
    return f"array_{i}"


def report(kept: Checkpoints, error: Exception) -> None:
    """Say that a state could not be saved, and leave its room to others."""
    remove_unfinished(kept)
    steps = finished_steps(kept)
    remains = f"that of step {steps[0]} remains" if steps else "there is none yet"
    say(f"the state could not be saved in {kept.folder} ({remains}): {short(error)}")


def short(error: Exception) -> str:
    """The first 200 characters of an error, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]

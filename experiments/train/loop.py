"""What all trainers share: optimiser step and EMA, batches by number, checkpoints, a log.

Written for any number of devices (the batch is split over them, parameters are replicated). Batch
n and its noise are functions of the seed and n, so a resumed run continues as if never stopped.
"""

import json
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from dsg_jax.bounded import read_bounded
from experiments.progress import progress_bar
from experiments.train.images import SOURCES, Batches
from experiments.train.settings import TrainerSettings

# What every line of a log has, as a number; bytes of the longest log.
LOGGED = ("step", "seconds", "loss", "images_per_second")
MAX_LOG = 64 * 2**20


class TrainState(NamedTuple):
    """Everything a resumed run needs; the fields name the entries of its checkpoints.

    Attributes:
      step: () optimiser steps done.
      ema: their moving average, which is what an exported prior holds.
    """

    step: jax.Array
    params: dict
    ema: dict
    moments: optax.OptState


def make_optimizer(learning_rate: float, steps: int) -> optax.GradientTransformation:
    """Adam with warm-up, cosine decay and a clipped global norm."""
    warmup, last = min(50, steps // 10), 0.02 * learning_rate
    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, warmup, steps, last)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))


def fresh_state(params: dict, optimizer: optax.GradientTransformation) -> TrainState:
    """The parameters, their copy as EMA, and empty moments."""
    ema = jax.tree.map(jnp.copy, params)
    return TrainState(jnp.zeros((), jnp.int32), params, ema, optimizer.init(params))


def descended(state, grads: dict, optimizer: optax.GradientTransformation):
    """The state after an optimiser step along the gradient: of a `TrainState`, or one with more.

    The EMA is over 1000 steps at most, and over fewer at first.
    """
    updates, moments = optimizer.update(grads, state.moments)
    params = optax.apply_updates(state.params, updates)
    decay = jnp.minimum(0.999, (1 + state.step) / (10 + state.step))
    ema = optax.incremental_update(params, state.ema, 1 - decay)
    return state._replace(step=state.step + 1, params=params, ema=ema, moments=moments)


def check_images(settings: TrainerSettings, multiple: int, least: int = 1) -> None:
    """Check the images of a trainer before anything is read.

    Args:
      settings: where the images are, and the side to train at.
      multiple: what the network divides its sides by, pixels.
      least: the smallest side that everything in the loss takes, pixels.

    Raises:
      ValueError: a side that the network or the loss cannot take.
      FileNotFoundError: no images below ``source``.
    """
    if settings.size % multiple or settings.size < least:
        raise ValueError(
            f"--size {settings.size}: give a multiple of {multiple} pixels, at least {least}"
        )
    SOURCES[settings.name].split(settings.source)


def train_until(
    settings: TrainerSettings, begin: Callable, step_on: Callable, draw: Batches, evaluate: Callable
) -> None:
    """Continue from the newest checkpoint in ``settings.out``, or from fresh, to the last step.

    Args:
      settings: how many steps, which of them are saved, and where.
      begin: optimiser -> the first state: a `TrainState`, or one with more fields.
      step_on: (state, images of one batch, key, optimizer=) -> (next state, named losses).
      draw: (step, batch size) -> images.
      evaluate: EMA parameters -> results on held-out images, for ``log.jsonl``.
    """
    optimizer = make_optimizer(settings.learning_rate, settings.steps)
    step_on = partial(step_on, key=jax.random.key(settings.seed), optimizer=optimizer)
    mesh = jax.make_mesh((jax.device_count(),), ("batch",), axis_types=(AxisType.Auto,))
    replicated, over_batch = (NamedSharding(mesh, axes) for axes in (P(), P("batch")))
    state = jax.device_put(begin(optimizer), replicated)
    settings.out.mkdir(parents=True, exist_ok=True)
    options = ocp.CheckpointManagerOptions(max_to_keep=2)
    with ocp.CheckpointManager(settings.out.absolute(), options=options) as manager:
        if manager.latest_step() is not None:
            state = manager.restore(manager.latest_step(), args=ocp.args.StandardRestore(state))
        first, losses, started = int(state.step), [], time.perf_counter()
        with progress_bar(settings.steps, initial=first) as bar:
            bar.set_description(f"training on {settings.name}")
            for n in range(first, settings.steps):
                state, loss = step_on(
                    state, jax.device_put(draw(n, settings.batch_size), over_batch)
                )
                losses.append(loss)
                bar.update()
                if (n + 1) % settings.save_every and n + 1 < settings.steps:
                    continue
                manager.save(n + 1, args=ocp.args.StandardSave(state))
                line = log_line(n + 1, losses, started, settings.batch_size)
                bar.set_postfix(line)
                with open(settings.out / "log.jsonl", "a") as log:
                    log.write(json.dumps(line | {"held_out": evaluate(state.ema)}) + "\n")
                losses, started = [], time.perf_counter()


def log_line(step: int, losses: list[dict], started: float, batch_size: int) -> dict:
    """A line of the log: seconds since ``started``, and of those steps mean losses and speed."""
    # the mean first: fetching the losses waits for the steps whose time is taken
    mean = jax.tree.map(lambda *terms: float(np.mean(terms)), *jax.device_get(losses))
    seconds = time.perf_counter() - started
    return {
        "step": step,
        "seconds": round(seconds, 1),
        **{name: round(value, 5) for name, value in mean.items()},
        "images_per_second": round(len(losses) * batch_size / seconds, 1),
    }


def newest_ema(run: Path, forms: dict, trainer: str) -> tuple[int, dict]:
    """Step and EMA parameters of the newest checkpoint of a training run.

    Args:
      run: the folder that `train_until` wrote.
      forms: tree of what has the parameters' shapes.
      trainer: the command that wrote it, for the messages.

    Raises:
      FileNotFoundError: no folder, or one without a checkpoint.
      ValueError: a checkpoint of another architecture.
    """
    if not run.is_dir():
        raise FileNotFoundError(f"{run} is no folder; give what {trainer} wrote")
    handler = ocp.StandardCheckpointHandler()
    with ocp.CheckpointManager(run.absolute(), item_handlers=handler) as manager:
        step = manager.latest_step()
        if step is None:
            raise FileNotFoundError(f"{run} holds no checkpoint of {trainer}: run that first")
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])  # wherever it was trained
        state = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here),
            manager.item_metadata(step),
        )
        ema = manager.restore(step, args=ocp.args.StandardRestore(state))["ema"]
    if jax.tree.map(np.shape, ema) != jax.tree.map(lambda leaf: leaf.shape, forms):
        raise ValueError(
            f"the checkpoint in {run} is not of this prior's architecture: give a run of {trainer} "
            "for the same name"
        )
    return step, ema


def log_lines(run: Path) -> list[dict]:
    """The log of a training run.

    Raises:
      ValueError: a line that is none of `train_until`, or no line at all.
      OSError: it cannot be read.
    """
    path = run / "log.jsonl"
    try:
        lines = [json.loads(line) for line in read_bounded(path, MAX_LOG).splitlines()]
        if lines and all(type(line[name]) in (int, float) for line in lines for name in LOGGED):
            return lines
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    raise ValueError(f"{path} is no log of a trainer: take the damaged lines out, or train again")


def training_facts(run: Path, step: int) -> dict:
    """What a card says about a run of ``step`` steps."""
    log = log_lines(run)
    return {
        "steps": step,
        "hours": round(sum(line["seconds"] for line in log) / 3600, 2),
        "last_loss": log[-1]["loss"],
        "images_per_second": log[-1]["images_per_second"],
        "hardware": f"{jax.device_count()} x {jax.devices()[0].device_kind}, {platform.machine()}",
    }

"""The loop that all trainers share: batches by number, checkpoints, a log, a progress bar.

Written for any number of devices (the batch is split over them, parameters are replicated). Batch
n and its noise are functions of the seed and n, so a resumed run continues as if never stopped.
"""

import json
import platform
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax.sharding import NamedSharding, PartitionSpec
from tqdm import tqdm

from experiments.train.images import Batches


@cache
def make_optimizer(learning_rate: float, steps: int) -> optax.GradientTransformation:
    """Adam with warm-up, cosine decay and a clipped global norm."""
    warmup, last = min(50, steps // 10), 0.02 * learning_rate
    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, warmup, steps, last)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))


def updated_ema(ema: dict, params: dict, step: jax.Array) -> dict:
    """The moving average of the parameters, over 1000 steps at most and over fewer at first."""
    decay = jax.numpy.minimum(0.999, (1 + step) / (10 + step))
    return optax.incremental_update(params, ema, 1 - decay)


def split_over_devices() -> tuple[NamedSharding, NamedSharding]:
    """Shardings over all devices: replicated, and by the batch axis."""
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((jax.device_count(),), ("batch",), axis_types=auto)
    return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("batch"))


def train_until(
    steps: int,
    state,
    step_on: Callable,
    draw: Batches,
    evaluate: Callable,
    out: Path,
    *,
    batch_size: int,
    save_every: int,
):
    """Continue from the newest checkpoint in ``out``, or from ``state``, until ``steps``.

    Args:
      steps: number of the last step.
      state: the first state, a NamedTuple with the field ``step``.
      step_on: (state, images of one batch) -> (next state, named losses).
      draw: (step, batch size) -> images.
      evaluate: state -> named results for the log, asked for with every checkpoint.
      out: folder of the checkpoints and of ``log.jsonl``, a line for each.
      batch_size: images per step.
      save_every: steps between checkpoints.

    Returns:
      the last state.
    """
    replicated, over_batch = split_over_devices()
    state = jax.device_put(state, replicated)
    out.mkdir(parents=True, exist_ok=True)
    options = ocp.CheckpointManagerOptions(max_to_keep=2)
    with ocp.CheckpointManager(out.absolute(), options=options) as manager:
        if manager.latest_step() is not None:
            state = manager.restore(manager.latest_step(), args=ocp.args.StandardRestore(state))
        first, losses, started = int(state.step), [], time.perf_counter()
        progress = tqdm(range(first, steps), initial=first, total=steps, mininterval=20)
        for n in progress:
            state, loss = step_on(state, jax.device_put(draw(n, batch_size), over_batch))
            losses.append(loss)
            if (n + 1) % save_every and n + 1 < steps:
                continue
            manager.save(n + 1, args=ocp.args.StandardSave(state))
            mean = jax.tree.map(lambda *terms: float(np.mean(terms)), *jax.device_get(losses))
            shown = {name: round(value, 5) for name, value in mean.items()}
            seconds = time.perf_counter() - started
            shown["images_per_second"] = round(len(losses) * batch_size / seconds, 1)
            line = {"step": n + 1, "seconds": round(seconds, 1)} | shown | evaluate(state)
            with open(out / "log.jsonl", "a") as log:
                log.write(json.dumps(line) + "\n")
            progress.set_postfix(shown)
            losses, started = [], time.perf_counter()
    return state


def newest_ema(run: Path, wanted, trainer: str) -> tuple[int, dict]:
    """Step and EMA parameters of the newest checkpoint of a training run.

    Args:
      run: the folder that `train_until` wrote.
      wanted: tree of what has the parameters' shapes.
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
    if jax.tree.map(np.shape, ema) != jax.tree.map(lambda leaf: leaf.shape, wanted):
        raise ValueError(
            f"the checkpoint in {run} is not of this prior's architecture: give a run of {trainer} "
            "for the same name"
        )
    return step, ema


def log_lines(run: Path) -> list[dict]:
    """The log of a training run."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


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

"""How a batch is computed: chunk after chunk of samples, and a chunk part after part of its steps.

A chunk is what fits into memory. A part is a few steps in one call of the compiled program, so
that the host can show how far a run is without a callback inside the program.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dsg_jax.types import Info, Problem
from experiments.restore.batch import Runner, chunk_of
from experiments.restore.resume import Saving, chunk_states, is_due, newest_state, save_state

# Told how many steps of the batch have ended.
Tick = Callable[[int], object]


def run_batch(
    runner: Runner,
    keys: Array,
    problems: Problem,
    saving: Saving | None = None,
    tick: Tick = lambda steps: None,
) -> tuple[np.ndarray, Info, float]:
    """Run one batch to its end, one chunk after the other.

    Args:
      runner: its compiled program.
      keys: (b,) of the batch.
      problems: of the batch.
      saving: how its states are saved, if they are.
      tick: advances a progress bar, by as many steps as a run has in all.

    Returns:
      images (b, h, w, c), `Info` (b, steps, ...), and seconds per sample.
    """
    started = time.perf_counter()
    chunks, steps = -(-len(keys) // runner.chunk), runner.program.steps
    results = []
    for number in range(chunks):
        shown = lambda before, now, n=number: tick(
            (n * steps + now) // chunks - (n * steps + before) // chunks
        )
        some = chunk_of(keys, problems, runner.program.axes, number, runner.chunk, runner.mesh)
        result = run_parts(runner, *some, saving, number, chunks > 1, shown)
        results.append(jax.device_get(result))
    images, info = jax.tree.map(lambda *each: np.concatenate(each)[: len(keys)], *results)
    return images, info, (time.perf_counter() - started) / len(keys)


def run_parts(
    runner: Runner,
    keys: Array,
    problems: Problem,
    saving: Saving | None,
    number: int,
    save_last: bool,
    shown: Callable[[int, int], object],
) -> tuple[Array, Info]:
    """A chunk's whole run, part after part: (images, `Info` of all steps).

    A part is handed over before the host waits for the one ahead of it, so that the device never
    waits for the host (except while a state that is saved is copied). A run that was killed goes on
    from its newest saved state.

    Args:
      runner: the compiled program of one part.
      keys: of the chunk.
      problems: of the chunk.
      saving: how states are saved, if they are.
      number: which chunk of the batch this is.
      save_last: save before the last part in any case, so that a batch of several chunks that is
        started again has the earlier chunks almost for nothing.
      shown: told (steps before, steps now) as parts end.
    """
    steps, count = runner.program.steps, runner.program.count
    with chunk_states(saving, number) as states:
        first, state, parts = newest_state(states, keys, runner.forms) or (0, blank(runner), [])
        shown(0, first)
        saved_at = time.monotonic()
        for start in range(first, steps, count):
            last = save_last and start + count == steps
            if start > first and (is_due(saving, start, count, saved_at) or last):
                save_state(states, start, state, joined_info(parts), keys)
                saved_at = time.monotonic()
            # `state` is donated: what it was made of is gone as soon as the call returns.
            state, images, info = runner.compiled(
                keys, problems, runner.program, state, jnp.int32(start)
            )
            if start > first:
                jax.block_until_ready(parts[-1])
                shown(start - count, start)
            parts.append(info)
        joined = joined_info(parts)
        shown(steps - count, steps)
    return images, joined


def blank(runner: Runner) -> Any:
    """States of zeros, which the first part does not look at."""
    zeros = lambda form: jnp.zeros(form.shape, form.dtype, device=form.sharding)
    return jax.tree.map(zeros, runner.forms)


def joined_info(parts: list[Info]) -> Info:
    """The `Info` of consecutive parts as one of numpy arrays."""
    return jax.tree.map(lambda *each: np.concatenate(each, axis=1), *jax.device_get(parts))

"""How a batch is computed: chunk after chunk of samples, and a chunk part after part of its steps.

A chunk is what fits into memory. A part is a few steps in one call of the compiled program, so
that the host can show how far a run is without a callback inside the program.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from dsg_jax.mesh import place_pairs
from dsg_jax.types import Info, Problem
from experiments.restore.resume import Checkpoints, of_chunk, resumed, save_if_due

Axes = tuple[int | None, ...]  # per leaf of a problem: 0 stacked over the batch, None shared by it

PARTS = 20  # at most so many times the host sees a run between its beginning and its end
_bars: list = []  # the progress bar that is being shown, if any


def tick(steps: int) -> None:
    """Advance the bar."""
    for bar in _bars:
        bar.update(steps)


@contextmanager
def showing(bar) -> Iterator[None]:
    """Let all runs meanwhile advance a bar."""
    _bars.append(bar)
    try:
        yield
    finally:
        _bars.remove(bar)


def part_length(steps: int, longest: int | None = None) -> int:
    """The least divisor of a run's steps that cuts it into at most `PARTS` equal parts.

    With ``longest``, the largest divisor up to it if that is less.
    """
    usual = next(n for n in range(-(-steps // PARTS), steps + 1) if steps % n == 0)
    if longest is None or usual <= longest:
        return usual
    return next(n for n in range(longest, 0, -1) if steps % n == 0)


def chunk_width(width: int, at_once: int) -> int:
    """Samples of one of the fewest even chunks of at most ``at_once`` that a batch is cut into."""
    return -(-width // -(-width // at_once))


def chunk_of(
    keys: Array, problems: Problem, axes: Axes, number: int, chunk: int, mesh: Mesh | None
) -> tuple[Array, Problem]:
    """Keys and problems of a chunk; the last one is filled up by the batch's last sample.

    With a mesh they are split over its devices, whose number divides ``chunk``.
    """
    if chunk != len(keys):
        where = np.minimum(number * chunk + np.arange(chunk), len(keys) - 1)
        leaves, structure = jax.tree.flatten(problems)
        each = zip(axes, leaves, strict=True)
        cut = [leaf if axis is None else leaf[where] for axis, leaf in each]
        keys, problems = keys[where], jax.tree.unflatten(structure, cut)
    if mesh is None:
        return keys, problems
    return place_pairs(keys, mesh), place_pairs(problems, mesh, axes)


def run_chunks(
    run,
    chunk: int,
    axes: Axes,
    mesh: Mesh | None,
    keys: Array,
    problems: Problem,
    checkpoints: Checkpoints | None = None,
):
    """A batch, one chunk after the other: (images, `Info`), numpy arrays of its width.

    Args:
      run: `run_parts` of a program for ``chunk`` samples.
      chunk: samples in memory together.
      axes: which leaves of the problems are stacked.
      mesh: the devices; None for a single one.
      keys: of the batch.
      problems: of the batch.
      checkpoints: where states are saved, if they are.
    """
    results = []
    chunks = -(-len(keys) // chunk)
    for number in range(chunks):
        chunk_inputs = chunk_of(keys, problems, axes, number, chunk, mesh)
        states = None if checkpoints is None else of_chunk(checkpoints, number)
        results.append(jax.device_get(run(number, chunks, *chunk_inputs, states)))
    return jax.tree.map(lambda *each: np.concatenate(each)[: len(keys)], *results)


def run_parts(
    compiled,
    arrays,
    forms,
    steps: int,
    count: int,
    number: int,
    chunks: int,
    keys,
    problems,
    checkpoints: Checkpoints | None = None,
):
    """A chunk's whole run, part after part: (images, `Info` of all steps). The bar follows it.

    A part is handed over before the one ahead of it has ended, so that the device never waits
    (except while it hands over a state that is saved). A run that was killed goes on from its
    newest saved state.

    Args:
      compiled: the program of one part, `batch.restore_batch`.
      arrays: what it takes after keys and problems, `batch.Program.arrays`.
      forms: shapes and types of the states.
      steps: outer steps of the whole run.
      count: those of a part.
      number: which chunk of the batch this is.
      chunks: how many there are.
      keys: of the chunk.
      problems: of the chunk.
      checkpoints: where its states are saved, if they are.
    """
    blank = lambda form: jnp.zeros(form.shape, form.dtype, device=form.sharding)
    first, state = 0, jax.tree.map(blank, forms)
    parts: list = []
    if checkpoints is not None:
        first, state, parts = resumed(checkpoints, keys, forms, state)

    def ended(steps_before: int, steps_now: int) -> None:
        before, now = number * steps + steps_before, number * steps + steps_now
        tick(now // chunks - before // chunks)

    ended(0, first)
    for start in range(first, steps, count):
        if checkpoints is not None and start > first:
            now = partial(so_far, state, parts, keys)
            save_if_due(checkpoints, start, now, chunks > 1 and start + count == steps)
        state, images, info = compiled(keys, problems, arrays, state, jnp.int32(start))
        if start > first:
            jax.block_until_ready(parts[-1])
            ended(start - count, start)
        parts.append(info)
    joined = joined_info(parts)
    ended(steps - count, steps)
    return images, joined


def so_far(state, parts: list, keys: Array) -> tuple:
    """All that the rest of a run depends on, and the `Info` it has to show."""
    return state, joined_info(parts), keys


def joined_info(parts: list) -> Info:
    """The `Info` of consecutive parts as one of numpy arrays."""
    return jax.tree.map(lambda *each: np.concatenate(each, axis=1), *jax.device_get(parts))

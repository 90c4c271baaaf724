"""How a batch is computed: chunk after chunk of samples, and a chunk part after part of its steps.

A chunk is what fits into memory. A part is a few steps in one call of the compiled program, so
that the host can show how far a run is without a callback inside the program.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from dsg_jax.mesh import place_pairs
from dsg_jax.types import Problem

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


def part_length(steps: int) -> int:
    """The least divisor of a run's steps that cuts it into at most `PARTS` equal parts."""
    return next(n for n in range(-(-steps // PARTS), steps + 1) if steps % n == 0)


def chunk_width(width: int, at_once: int) -> int:
    """Samples of one of the fewest even chunks of at most ``at_once`` that a batch is cut into."""
    return -(-width // -(-width // at_once))


def chunk_of(
    keys: Array, problems: Problem, axes: Axes, number: int, chunk: int, mesh: Mesh | None
) -> tuple:
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


def run_chunks(run, chunk: int, axes: Axes, mesh: Mesh | None, keys: Array, problems: Problem):
    """A batch, one chunk after the other: (images, `Info`), numpy arrays of its width.

    ``run`` is `run_parts` of a program for ``chunk`` samples, on the devices of a mesh.
    """
    found = []
    chunks = -(-len(keys) // chunk)
    for number in range(chunks):
        given = chunk_of(keys, problems, axes, number, chunk, mesh)
        found.append(jax.device_get(run(number, chunks, *given)))
    return jax.tree.map(lambda *each: np.concatenate(each)[: len(keys)], *found)


def run_parts(compiled, rest, forms, steps: int, number: int, chunks: int, keys, problems):
    """A chunk's whole run, part after part: (images, `Info` of all steps). The bar follows it.

    A part is handed over before the one ahead of it has ended, so that the device never waits.

    Args:
      compiled: the program of one part, `runner.restore_batch`.
      rest: its arguments that no part changes, after keys and problems.
      forms: shapes and types of the states.
      steps: outer steps of the whole run.
      number: which chunk of the batch this is.
      chunks: how many there are.
      keys: of the chunk.
      problems: of the chunk.
    """
    blank = lambda form: jnp.zeros(form.shape, form.dtype, device=form.sharding)
    state = jax.tree.map(blank, forms)
    count, parts = part_length(steps), []

    def ended(done: int) -> None:
        position = number * steps + done
        tick(position // chunks - (position - count) // chunks)

    for start in range(0, steps, count):
        state, images, info = compiled(keys, problems, *rest, state, jnp.int32(start))
        if parts:
            jax.block_until_ready(parts[-1])
            ended(start)
        parts.append(info)
    joined = jax.tree.map(lambda *each: np.concatenate(each, axis=1), *jax.device_get(parts))
    ended(steps)
    return images, joined

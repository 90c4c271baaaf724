"""Problems stacked to batches, and batches and runs cut to chunks of samples and parts of steps."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from dsg_jax.mesh import place_pairs
from dsg_jax.types import Problem

Axes = tuple[int | None, ...]  # per leaf of a problem: 0 stacked over the batch, None shared by it
PARTS = 20  # at most so many times the host sees a run between its beginning and its end


def part_length(steps: int, longest: int | None = None) -> int:
    """The least divisor of a run's steps that cuts it into at most `PARTS` equal parts.

    With ``longest``, the largest divisor up to it if that is less.
    """
    usual = next(n for n in range(-(-steps // PARTS), steps + 1) if steps % n == 0)
    if longest is None or usual <= longest:
        return usual
    return next(n for n in range(longest, 0, -1) if steps % n == 0)


def common_axes(problems: Sequence[Problem]) -> Axes:
    """Which leaves are the same for all problems; a shared blur or network stays unbatched."""
    first, *others = map(jax.tree.leaves, problems)
    equal = lambda a, b: a is b or np.array_equal(a, b)
    shared = [all(equal(leaf, o[i]) for o in others) for i, leaf in enumerate(first)]
    return tuple(None if same else 0 for same in shared)


def stack(problems: Sequence[Problem], axes: Axes) -> Problem:
    """Problems of one structure as one: leaves stacked along axis 0, or the shared one."""
    structure = jax.tree.structure(problems[0])
    columns = zip(*map(jax.tree.leaves, problems), strict=True)
    join = lambda axis, leaves: leaves[0] if axis is None else jnp.stack(leaves)
    return jax.tree.unflatten(
        structure,
        [jnp.asarray(join(axis, leaves)) for axis, leaves in zip(axes, columns, strict=True)],
    )


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

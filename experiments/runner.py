"""The one compiled function of a restoration run: a batch of posterior samples.

Arrays that vary (keys, problems, projection, network weights, step constants) are traced, so one
compile serves every batch of a task; the solver's name, its static settings and the shape are not.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dsg_jax.sample import sample
from dsg_jax.solvers import SOLVERS
from dsg_jax.types import Info, Prior, Problem, Projection

Static = tuple[tuple[str, Any], ...]
Axes = tuple[int | None, ...]  # per leaf of a problem: 0 stacked over the batch, None shared by it

_bars: list = []  # the progress bar that is being shown, if any


def tick(_) -> None:
    """Advance the bar by one step. One object for all runs: a new callback would recompile."""
    for bar in _bars:
        bar.update()


@contextmanager
def showing(bar) -> Iterator[None]:
    """Let the steps of all programs that run meanwhile advance a bar."""
    _bars.append(bar)
    try:
        yield
        jax.effects_barrier()
    finally:
        _bars.remove(bar)


class Method(NamedTuple):
    """A solver with its settings, of which ``traced`` holds arrays and ``static`` none."""

    solver: str
    traced: dict
    static: Static


@partial(jax.jit, static_argnames=("axes", "solver", "static", "shape"))
def restore_batch(
    keys: Array,
    problems: Problem,
    projection: Projection | None,
    prior: Prior,
    traced: dict,
    *,
    axes: Axes,
    solver: str,
    static: Static,
    shape: tuple[int, int, int],
) -> tuple[Array, Info]:
    """One posterior sample per key and problem: (b, h, w, c), and `Info` of (b, steps, ...)."""
    leaves, structure = jax.tree.flatten(problems)

    def one(key: Array, leaves: list[Array]) -> tuple[Array, Info]:
        problem = jax.tree.unflatten(structure, leaves)
        made = SOLVERS[solver](prior, problem, projection, **traced, **dict(static))
        return sample(key, made, shape, progress=tick)

    return jax.vmap(one, in_axes=(0, list(axes)))(keys, leaves)


def item_key(seed: int, image_index: int, sample_index: int) -> Array:
    """The random key of one posterior sample; batches and resumed runs cannot change it."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), image_index), sample_index)


def batches(items: Sequence, largest: int) -> list[Sequence]:
    """Cut items into the fewest batches of at most ``largest``, as even as possible."""
    width = -(-len(items) // -(-len(items) // largest))
    return [items[i : i + width] for i in range(0, len(items), width)]


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


_programs: dict = {}  # signature -> compiled program; tasks that differ in arrays only share one


def program_count() -> int:
    """How many programs this process has compiled so far."""
    return len(_programs)


def signature(keys, problems, rest, **static) -> tuple:
    """What two runs share if they share a program: structure, shapes, types, static settings."""
    leaves, structure = jax.tree.flatten((keys, problems, rest))
    forms = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    return structure, forms, tuple(static.items())


def compile_batch(keys, problems, projection, prior: Prior, method: Method, axes: Axes, shape):
    """Compile for one batch shape: (function of keys and problems, seconds it took)."""
    started = time.perf_counter()
    rest = (projection, prior, method.traced)
    static = {"axes": axes, "solver": method.solver, "static": method.static, "shape": shape}
    place = signature(keys, problems, rest, **static)
    if place not in _programs:
        lowered = restore_batch.lower(keys, problems, *rest, **static)
        _programs[place] = lowered.compile()
    compiled = _programs[place]
    return lambda keys, problems: compiled(keys, problems, *rest), time.perf_counter() - started


def planned_bytes(place: tuple) -> int | None:
    """Bytes that a program compiled here reserves for arguments, results and temporaries.

    None where the backend does not say. ``place`` is its `signature`.
    """
    plan = _programs[place].memory_analysis()
    if plan is None:
        return None
    sizes = (plan.argument_size_in_bytes, plan.output_size_in_bytes, plan.temp_size_in_bytes)
    return sum(sizes)


def padded(items: Sequence, width: int) -> list:
    """The items, the last one repeated until there are ``width``."""
    return [*items, *[items[-1]] * (width - len(items))]


def run_batch(compiled, keys, problems) -> tuple[np.ndarray, Info, float]:
    """Run one batch to its end: (images, what happened, seconds per item of the batch)."""
    started = time.perf_counter()
    images, info = jax.device_get(compiled(keys, problems))
    jax.effects_barrier()
    return images, info, (time.perf_counter() - started) / len(keys)

"""The one compiled function of a restoration run: a batch of posterior samples.

Arrays that vary (keys, problems, projection, network weights, step constants) are traced, so one
compile serves every batch of a task; the solver's name, its static settings and the shape are not.
"""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, PartitionSpec

from dsg_jax.mesh import PAIRS, full_width, gathered_late, pair_sharding, placement_of, split_pairs
from dsg_jax.sample import advance
from dsg_jax.solvers import SOLVERS
from dsg_jax.types import Info, Prior, Problem, Projection
from experiments.restore.parts import (
    Axes,
    chunk_of,
    chunk_width,
    part_length,
    run_chunks,
    run_parts,
)
from experiments.restore.resume import Checkpoints

Static = tuple[tuple[str, Any], ...]


class Method(NamedTuple):
    """A solver with its settings, of which ``traced`` holds arrays and ``static`` none."""

    solver: str
    traced: dict
    static: Static


@partial(
    jax.jit,
    static_argnames=("axes", "solver", "static", "shape", "count", "mesh", "parameters"),
    donate_argnames=("state",),
)
def restore_batch(
    keys: Array,
    problems: Problem,
    projection: Projection | None,
    prior: Prior,
    traced: dict,
    state: Any,
    start: Array,
    *,
    axes: Axes,
    solver: str,
    static: Static,
    shape: tuple[int, int, int],
    count: int,
    mesh: Mesh | None = None,
    parameters: str = "replicated",
) -> tuple[Any, Array, Info]:
    """``count`` steps of one posterior sample per key and problem: see `sample.advance`.

    No host callback is in it, for jax's persistent cache takes no program that has one. On a mesh
    the pairs of key and problem are split over its devices: see `mesh.split_pairs`.
    """
    leaves, structure = jax.tree.flatten(problems)

    def batch(keys: Array, leaves: list[Array], state: Any, shared: tuple):
        projection, prior, traced, start = shared
        prior = gathered_late(prior) if parameters == "sharded" else prior

        def one(key: Array, leaves: list[Array], state: Any) -> tuple[Any, Array, Info]:
            problem = jax.tree.unflatten(structure, leaves)
            made = SOLVERS[solver](prior, problem, projection, **traced, **dict(static))
            return advance(key, made, shape, state, start, count)

        return jax.vmap(one, in_axes=(0, list(axes), 0))(keys, leaves, state)

    if mesh is not None:
        split, same = PartitionSpec(PAIRS), PartitionSpec()
        specs = (split, [same if axis is None else split for axis in axes], split, same)
        batch = split_pairs(batch, mesh, specs, parameters)
    return batch(keys, leaves, state, (projection, prior, traced, start))


def state_form(
    problems: Problem, rest: tuple, method: Method, axes: Axes, shape, width: int, mesh=None
):
    """Shapes, types and places of the solver states of a batch."""
    leaves, structure = jax.tree.flatten(problems)

    def begin(leaves: list[Array], rest: tuple) -> Any:
        def one(leaves: list[Array]) -> Any:
            projection, prior, traced = rest
            problem = jax.tree.unflatten(structure, leaves)
            made = SOLVERS[method.solver](
                prior, problem, projection, **traced, **dict(method.static)
            )
            return made.init(jnp.zeros(shape))

        return jax.vmap(one, in_axes=(list(axes),), axis_size=width)(leaves)

    forms = jax.eval_shape(begin, leaves, rest)
    return forms if mesh is None else jax.tree.map(partial(pair_sharding, mesh), forms)


def step_count(method: Method) -> int:
    """Outer steps of a run."""
    return len(jax.tree.leaves(method.traced["steps"])[0])


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
    return structure, forms, placement_of(rest), tuple(static.items())


def trace_batch(
    keys,
    problems,
    projection,
    prior: Prior,
    method: Method,
    axes: Axes,
    shape,
    mesh: Mesh | None = None,
    parameters: str = "replicated",
    longest: int | None = None,
):
    """Trace one part of a run, ready to be lowered and compiled; shapes and types will do."""
    rest = (projection, prior, method.traced)
    state = state_form(problems, rest, method, axes, shape, len(keys), mesh)
    return restore_batch.trace(
        keys,
        problems,
        *rest,
        state,
        jax.ShapeDtypeStruct((), jnp.int32),
        axes=axes,
        solver=method.solver,
        static=method.static,
        shape=shape,
        count=part_length(step_count(method), longest),
        mesh=mesh,
        parameters=parameters,
    )


def compile_batch(
    keys,
    problems,
    projection,
    prior: Prior,
    method: Method,
    axes: Axes,
    shape,
    at_once: int | None = None,
    longest: int | None = None,
):
    """Compile for one batch shape: (function of keys and problems, seconds it took).

    ``at_once`` is how many samples are in memory together: a larger batch runs in even chunks. The
    devices are those that the prior lies on; chunks are filled up until they divide them.
    ``longest`` is how many steps a part may have, if there is a limit.
    """
    started = time.perf_counter()
    rest = (projection, prior, method.traced)
    mesh, parameters = placement_of(rest)
    chunk = chunk_width(len(keys), at_once or len(keys))
    static = {"axes": axes, "solver": method.solver, "static": method.static, "shape": shape}
    place = signature(*chunk_of(keys, problems, axes, 0, chunk, None), rest, **static)
    steps, usual = step_count(method), part_length(step_count(method))
    count = part_length(steps, longest)
    place = place if count == usual else (*place, count)
    chunk = chunk if mesh is None else full_width(mesh, chunk)
    given = chunk_of(keys, problems, axes, 0, chunk, mesh)
    if place not in _programs:
        traced = trace_batch(
            *given, projection, prior, method, axes, shape, mesh, parameters, longest
        )
        _programs[place] = traced.lower().compile()
    forms = state_form(given[1], rest, method, axes, shape, chunk, mesh)
    run = partial(run_parts, _programs[place], rest, forms, steps, count)
    return partial(run_chunks, run, chunk, axes, mesh), time.perf_counter() - started


def planned_bytes(place: tuple) -> int | None:
    """Bytes that a program compiled here reserves for arguments, results and temporaries.

    None where the backend does not say. ``place`` is its `signature`.
    """
    plan = _programs[place].memory_analysis()
    if plan is None:
        return None
    sizes = (plan.argument_size_in_bytes, plan.output_size_in_bytes, plan.temp_size_in_bytes)
    return sum(sizes) - plan.alias_size_in_bytes


def padded(items: Sequence, width: int) -> list:
    """The items, the last one repeated until there are ``width``."""
    return [*items, *[items[-1]] * (width - len(items))]


def run_batch(
    compiled, keys, problems, kept: Checkpoints | None = None
) -> tuple[np.ndarray, Info, float]:
    """Run one batch to its end: (images, what happened, seconds per item of the batch)."""
    started = time.perf_counter()
    images, info = jax.device_get(compiled(keys, problems, kept))
    return images, info, (time.perf_counter() - started) / len(keys)

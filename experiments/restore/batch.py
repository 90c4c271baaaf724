"""The one compiled function of a restoration run: a batch of posterior samples.

Arrays that vary (keys, problems, projection, network weights, solver settings) are traced, so one
compile serves every batch of a task; the solver's name, its choices and the shape are not.
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
from dsg_jax.types import Info, Prior, Problem, Projection, Solver
from experiments.restore.parts import (
    Axes,
    chunk_of,
    chunk_width,
    part_length,
    run_chunks,
    run_parts,
)
from experiments.restore.resume import Checkpoints


class Program(NamedTuple):
    """What a batch depends on beside its keys and problems."""

    solver: str
    """Key of `SOLVERS`."""
    settings: Any
    """The solver's registered settings."""
    projection: Projection | None
    prior: Prior
    axes: Axes
    """Which leaves of the problems are stacked."""
    shape: tuple[int, int, int]
    """Of the solver's state."""

    @property
    def arrays(self) -> tuple[Projection | None, Prior, Any]:
        """What is traced."""
        return self.projection, self.prior, self.settings

    @property
    def steps(self) -> int:
        """Outer steps of a run."""
        return len(jax.tree.leaves(self.settings.steps)[0])


def solver_of(name: str, arrays: tuple[Projection | None, Prior, Any], problem: Problem) -> Solver:
    """Build a solver from its key in `SOLVERS` and from (projection, prior, settings)."""
    projection, prior, settings = arrays
    return SOLVERS[name].solve(prior, problem, projection, settings)


def state_shape(prior: Prior, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Of the solver's state for an image (h, w, c): the image itself or its latent."""
    if prior.first_stage is None:
        return shape
    image = jax.ShapeDtypeStruct(shape, np.float32)
    h, w, c = jax.eval_shape(lambda stage, x: stage.encode(x, None), prior.first_stage, image).shape
    return h, w, c


@partial(
    jax.jit,
    static_argnames=("axes", "solver", "shape", "count", "mesh", "parameters"),
    donate_argnames=("state",),
)
def restore_batch(
    keys: Array,
    problems: Problem,
    arrays: tuple,
    state: Any,
    start: Array,
    *,
    axes: Axes,
    solver: str,
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
        (projection, prior, settings), start = shared
        prior = gathered_late(prior) if parameters == "sharded" else prior

        def one(key: Array, leaves: list[Array], state: Any) -> tuple[Any, Array, Info]:
            problem = jax.tree.unflatten(structure, leaves)
            built = solver_of(solver, (projection, prior, settings), problem)
            return advance(key, built, shape, state, start, count)

        return jax.vmap(one, in_axes=(0, list(axes), 0))(keys, leaves, state)

    if mesh is not None:
        split, same = PartitionSpec(PAIRS), PartitionSpec()
        specs = (split, [same if axis is None else split for axis in axes], split, same)
        batch = split_pairs(batch, mesh, specs, parameters)
    return batch(keys, leaves, state, (arrays, start))


def state_form(problems: Problem, program: Program, width: int, mesh: Mesh | None = None):
    """Shapes, types and places of the solver states of a batch."""
    leaves, structure = jax.tree.flatten(problems)

    def begin(leaves: list[Array], arrays: tuple) -> Any:
        def one(leaves: list[Array]) -> Any:
            problem = jax.tree.unflatten(structure, leaves)
            return solver_of(program.solver, arrays, problem).init(jnp.zeros(program.shape))

        return jax.vmap(one, in_axes=(list(program.axes),), axis_size=width)(leaves)

    forms = jax.eval_shape(begin, leaves, program.arrays)
    return forms if mesh is None else jax.tree.map(partial(pair_sharding, mesh), forms)


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


def padded(items: Sequence, width: int) -> list:
    """The items, the last one repeated until there are ``width``."""
    return [*items, *[items[-1]] * (width - len(items))]


_programs: dict = {}  # signature -> compiled program; tasks that differ in arrays only share one


def program_count() -> int:
    """How many programs this process has compiled so far."""
    return len(_programs)


def signature(keys, problems, program: Program) -> tuple:
    """What two runs share if they share a program: structure, shapes, types, choices."""
    leaves, structure = jax.tree.flatten((keys, problems, program.arrays))
    forms = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    place = placement_of(program.arrays)
    return structure, forms, place, program.solver, program.axes, program.shape


def trace_batch(
    keys,
    problems,
    program: Program,
    mesh: Mesh | None = None,
    parameters: str = "replicated",
    longest: int | None = None,
):
    """Trace one part of a run, ready to be lowered and compiled; shapes and types will do."""
    return restore_batch.trace(
        keys,
        problems,
        program.arrays,
        state_form(problems, program, len(keys), mesh),
        jax.ShapeDtypeStruct((), jnp.int32),
        axes=program.axes,
        solver=program.solver,
        shape=program.shape,
        count=part_length(program.steps, longest),
        mesh=mesh,
        parameters=parameters,
    )


def compile_batch(
    keys, problems, program: Program, at_once: int | None = None, longest: int | None = None
):
    """Compile for one batch shape: (function of keys and problems, seconds it took).

    The devices are those that the prior lies on; chunks are filled up until they divide them.

    Args:
      keys: of a batch.
      problems: of a batch.
      program: everything else.
      at_once: how many samples are in memory together; a larger batch runs in even chunks.
      longest: how many steps a part may have, if there is a limit.
    """
    started = time.perf_counter()
    mesh, parameters = placement_of(program.arrays)
    chunk = chunk_width(len(keys), at_once or len(keys))
    place = signature(*chunk_of(keys, problems, program.axes, 0, chunk, None), program)
    steps, usual = program.steps, part_length(program.steps)
    count = part_length(steps, longest)
    place = place if count == usual else (*place, count)
    chunk = chunk if mesh is None else full_width(mesh, chunk)
    first = chunk_of(keys, problems, program.axes, 0, chunk, mesh)
    if place not in _programs:
        traced = trace_batch(*first, program, mesh, parameters, longest)
        _programs[place] = traced.lower().compile()
    forms = state_form(first[1], program, chunk, mesh)
    run = partial(run_parts, _programs[place], program.arrays, forms, steps, count)
    return partial(run_chunks, run, chunk, program.axes, mesh), time.perf_counter() - started


def planned_bytes(place: tuple) -> int | None:
    """Bytes that a program compiled here reserves for arguments, results and temporaries.

    None where the backend does not say. ``place`` is its `signature`.
    """
    plan = _programs[place].memory_analysis()
    if plan is None:
        return None
    sizes = (plan.argument_size_in_bytes, plan.output_size_in_bytes, plan.temp_size_in_bytes)
    return sum(sizes) - plan.alias_size_in_bytes


def run_batch(
    compiled, keys, problems, checkpoints: Checkpoints | None = None
) -> tuple[np.ndarray, Info, float]:
    """Run one batch to its end: (images, what happened, seconds per item of the batch)."""
    started = time.perf_counter()
    images, info = jax.device_get(compiled(keys, problems, checkpoints))
    return images, info, (time.perf_counter() - started) / len(keys)

"""The compiled programs of a restoration run: a part of the steps of a batch of posterior samples.

Arrays that vary (keys, problems, projection, network weights, step constants) are traced, so one
compile serves every batch of a task; the solver's name, its choices and the shapes are not. jax
keeps what it has compiled: asked for the same program again, `compile_batch` takes milliseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh, PartitionSpec

from dsg_jax.mesh import (
    PAIRS,
    full_width,
    gathered_late,
    pair_sharding,
    placement_of,
    split_pairs,
)
from dsg_jax.plug_ins import Guidance
from dsg_jax.sample import advance
from dsg_jax.types import Info, Prior, Problem
from dsg_jax.user_code import FUNCTIONS, UserCodeError
from experiments.programs import check_user_code, solver_of, state_shape
from experiments.restore.jobs import Item, Job
from experiments.restore.stacking import (
    Axes,
    chunk_of,
    chunk_width,
    common_axes,
    part_length,
    stack,
)

_programs: set[tuple] = set()  # signatures of all that this process has compiled


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("projection", "prior", "settings"),
    meta_fields=("solver", "axes", "shape", "longest"),
)
@dataclass(frozen=True)
class Program:
    """Everything that a run depends on besides keys and problems.

    Attributes:
      solver: key of `SOLVERS`.
      settings: the solver's registered settings.
      axes: which leaves of the problems are stacked.
      shape: of the solver's state.
      longest: the most steps of a part, if there is a limit.
    """

    solver: str
    settings: Any
    projection: Guidance
    prior: Prior
    axes: Axes
    shape: tuple[int, int, int]
    longest: int | None = None

    @property
    def arrays(self) -> tuple[Guidance, Prior, Any]:
        """What is traced."""
        return self.projection, self.prior, self.settings

    @property
    def steps(self) -> int:
        """Outer steps of a run."""
        return len(jax.tree.leaves(self.settings.steps)[0])

    @property
    def count(self) -> int:
        """Outer steps of a part of a run."""
        return part_length(self.steps, self.longest)


class Runner(NamedTuple):
    """A compiled program, and what it takes to run a batch by it.

    Attributes:
      compiled: of `restore_part`.
      forms: shapes, types and places of the solver's states.
      chunk: samples in memory together.
      mesh: their devices; None for a single one.
    """

    program: Program
    compiled: jax.stages.Compiled
    forms: Any
    chunk: int
    mesh: Mesh | None


@partial(jax.jit, static_argnames=("mesh", "parameters"), donate_argnames=("state",))
def restore_part(
    keys: Array,
    problems: Problem,
    program: Program,
    state: Any,
    start: Array,
    *,
    mesh: Mesh | None = None,
    parameters: str = "replicated",
) -> tuple[Any, Array, Info]:
    """``program.count`` steps of one posterior sample per key and problem: see `sample.advance`.

    No host callback is in it, for jax's persistent cache takes no program that has one. On a mesh
    the pairs of key and problem are split over its devices: see `mesh.split_pairs`.
    """
    leaves, structure = jax.tree.flatten(problems)

    def batch(keys: Array, leaves: list[Array], state: Any, shared: tuple):
        (projection, prior, settings), start = shared
        prior = gathered_late(prior) if parameters == "sharded" else prior

        def one(key: Array, leaves: list[Array], state: Any) -> tuple[Any, Array, Info]:
            problem = jax.tree.unflatten(structure, leaves)
            solver = solver_of(program.solver, (projection, prior, settings), problem)
            return advance(key, solver, program.shape, state, start, program.count)

        return jax.vmap(one, in_axes=(0, list(program.axes), 0))(keys, leaves, state)

    if mesh is not None:
        split, same = PartitionSpec(PAIRS), PartitionSpec()
        specs = (split, [same if axis is None else split for axis in program.axes], split, same)
        batch = split_pairs(batch, mesh, specs, parameters)
    return batch(keys, leaves, state, (program.arrays, start))


def state_forms(program: Program, problems: Problem, width: int, mesh: Mesh | None) -> Any:
    """Shapes, types and places of the solver states of a batch."""
    leaves, structure = jax.tree.flatten(problems)

    def first_states(leaves: list[Array], arrays: tuple) -> Any:
        def one(leaves: list[Array]) -> Any:
            problem = jax.tree.unflatten(structure, leaves)
            return solver_of(program.solver, arrays, problem).init(jnp.zeros(program.shape))

        return jax.vmap(one, in_axes=(list(program.axes),), axis_size=width)(leaves)

    forms = jax.eval_shape(first_states, leaves, program.arrays)
    return forms if mesh is None else jax.tree.map(partial(pair_sharding, mesh), forms)


def check_jobs(jobs: Sequence[Job], prior: Prior) -> None:
    """Raise ValueError where a job's parts do not go together, before anything is computed.

    Where code of a user's takes part, also where it does not run.
    """
    for job in jobs:
        arrays = job.projection, prior, job.solver_settings
        solver_of(job.solver, arrays, job.items[0].problem)
    for job in jobs if FUNCTIONS else ():
        structures = {jax.tree.structure(item.problem) for item in job.items}
        if len(structures) > 1 and job.task in FUNCTIONS:
            raise UserCodeError(
                f"{FUNCTIONS[job.task].place()}: the operator of every image is another function,"
                " and they share a program: define it at the top level of the file and give it its"
                " arrays by jax.tree_util.Partial"
            )
        arrays = job.projection, prior, job.solver_settings
        check_user_code(job.solver, arrays, job.items[0].problem, job.shape)


def program_of(job: Job, prior: Prior, longest: int | None = None) -> Program:
    """The program of a job, on the devices that the prior lies on.

    Args:
      job: what is computed.
      prior: with which weights.
      longest: the most steps of a part, if there is a limit.
    """
    axes, shape = common_axes([item.problem for item in job.items]), state_shape(prior, job.shape)
    return Program(
        job.solver, job.solver_settings, job.projection, prior, axes, shape, longest=longest
    )


def compile_batch(
    keys: Array, problems: Problem, program: Program, at_once: int | None = None
) -> Runner:
    """Compile for batches like this one.

    The devices are those that the prior lies on; chunks are filled up until they divide them.

    Args:
      keys: (b,) of a batch.
      problems: of a batch; only shapes and types count.
      program: everything else.
      at_once: how many samples are in memory together; a larger batch runs in even chunks.
    """
    mesh, parameters = placement_of(program.arrays)
    chunk = chunk_width(len(keys), at_once or len(keys))
    chunk = chunk if mesh is None else full_width(mesh, chunk)
    first = chunk_of(keys, problems, program.axes, 0, chunk, mesh)
    forms = state_forms(program, first[1], chunk, mesh)
    start = jax.ShapeDtypeStruct((), jnp.int32)
    traced = restore_part.trace(*first, program, forms, start, mesh=mesh, parameters=parameters)
    _programs.add(signature(*first, program))
    return Runner(program, traced.lower().compile(), forms, chunk, mesh)


def program_count() -> int:
    """How many programs this process has compiled so far."""
    return len(_programs)


def signature(keys: Array, problems: Problem, program: Program) -> tuple:
    """What two runs share if they share a program: structure, shapes, types, choices, devices."""
    leaves, structure = jax.tree.flatten((keys, problems, program))
    forms = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    return structure, forms, placement_of(program.arrays)


def item_key(seed: int, image_index: int, sample_index: int) -> Array:
    """The random key of one posterior sample; batches and resumed runs cannot change it."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), image_index), sample_index)


def batches(items: Sequence, largest: int) -> list[Sequence]:
    """Cut items into the fewest batches of at most ``largest``, as even as possible."""
    width = -(-len(items) // -(-len(items) // largest))
    return [items[i : i + width] for i in range(0, len(items), width)]


def padded(items: Sequence, width: int) -> list:
    """The items, the last one repeated until there are ``width``."""
    return [*items, *[items[-1]] * (width - len(items))]


def batch_inputs(seed: int, items: Sequence[Item], axes: Axes, width: int) -> tuple[Array, Problem]:
    """Keys and problems of a batch of a job; a shorter one is filled up by its last sample.

    All items of a job will do, for its first batch, where only shapes count.
    """
    full = padded(items[:width], width)
    keys = [item_key(seed, item.picture.image_index, item.sample) for item in full]
    return jnp.stack(keys), stack([item.problem for item in full], axes)

"""Write a solver as a file that runs without this code: `jax.export` for CPU, CUDA and TPU.

    python -m experiments export --task super_resolution --solver daps --out daps.npz

The file is a numpy archive: the StableHLO module, every array that the program takes (weights,
operator, schedule) under its place in the pytree, and a description. docs/export.md has the few
lines that run it with jax and numpy alone. The format of `jax.export` itself is not used, for it
takes a package more on either side; the module in it is the same.
"""

import io
import json
from argparse import Namespace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, export

from dsg_jax.operators.tasks import operator_for
from dsg_jax.priors import load_prior
from dsg_jax.sample import sample
from dsg_jax.solvers import SOLVERS
from dsg_jax.types import Prior, Problem, Projection
from experiments.files import installed, write_atomically
from experiments.papers.plan import restore_defaults
from experiments.restore.batch import Method
from experiments.restore.choices import (
    check_numbers,
    chosen_projections,
    chosen_tasks,
    task_options,
)
from experiments.restore.methods import chosen_method, default_prior, state_shape

PLATFORMS = ("cpu", "cuda", "tpu")


class Program(NamedTuple):
    """What is exported: a method on a task, for images of one shape."""

    method: Method
    projection: Projection | None
    problem: Problem
    """Its measurement only gives the shape."""
    prior: Prior
    shape: tuple[int, int, int]
    """Of the solver's state."""
    samples: int


def run(
    static: tuple, shape: tuple[int, int, int], key: Array, y: Array, arrays: dict
) -> tuple[Array, Array]:
    """(2, ) key and measurement -> images (samples, h, w, c) and misfits (samples,).

    ``static`` is (solver, its static settings, number of samples); ``arrays`` has the rest of a
    `Program`. The i-th image has the key that `jax.random.split` gives it.
    """
    solver, settings, samples = static
    problem = arrays["problem"]._replace(y=y)

    def one(key: Array) -> tuple[Array, Array]:
        made = SOLVERS[solver](
            arrays["prior"], problem, arrays["projection"], **arrays["method"], **dict(settings)
        )
        image, info = sample(key, made, shape)
        return image, info.misfit[-1]

    keys = jax.random.split(jax.random.wrap_key_data(key, impl="threefry2x32"), samples)
    return jax.vmap(one)(keys)


def arguments_of(program: Program) -> tuple[Any, Array, dict]:
    """The function to export, a measurement, and the arrays that it takes besides."""
    static = (program.method.solver, program.method.static, program.samples)
    y = jnp.asarray(program.problem.y)
    arrays = {
        "prior": program.prior,
        "problem": program.problem._replace(y=jnp.zeros(())),
        "projection": program.projection,
        "method": program.method.traced,
    }
    arrays = jax.tree.map(lambda leaf: jnp.asarray(leaf), arrays)
    return partial(run, static, program.shape), y, arrays


def exported(program: Program, platforms: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The archive's entries: "module", "description" (JSON), and the arrays "0000", "0001", ..."""
    function, y, arrays = arguments_of(program)
    leaves, structure = jax.tree.flatten_with_path(arrays)
    flat = lambda key, y, *given: function(key, y, jax.tree.unflatten(structure, given))
    form = lambda a: jax.ShapeDtypeStruct(jnp.shape(a), jnp.result_type(a))
    key = jax.ShapeDtypeStruct((2,), jnp.uint32)
    forms = (form(leaf) for _, leaf in leaves)
    found = export.export(jax.jit(flat, keep_unused=True), platforms=platforms)(
        key, form(y), *forms
    )
    description = {
        "takes": [described("key", key), described("y", y)]
        + [described(jax.tree_util.keystr(path), leaf) for path, leaf in leaves],
        "gives": [
            described(name, a)
            for name, a in zip(("images", "misfits"), found.out_avals, strict=True)
        ],
        "platforms": list(found.platforms),
        "calling_convention_version": found.calling_convention_version,
        "versions": {name: installed(name) for name in ("dsg_jax", "jax", "jaxlib")},
    }
    text = json.dumps(description, indent=1).encode()
    entries = {"module": np.frombuffer(found.mlir_module_serialized, np.uint8)}
    entries["description"] = np.frombuffer(text, np.uint8)
    return entries | {f"{i:04}": np.asarray(leaf) for i, (_, leaf) in enumerate(leaves)}


def described(name: str, a: Any) -> dict:
    """Name, shape and type of an array."""
    return {"name": name, "shape": list(jnp.shape(a)), "dtype": str(jnp.result_type(a))}


def chosen_program(arguments: Namespace) -> Program:
    """Check the arguments of ``export``; what is to be exported.

    Raises:
      ValueError, OSError: something the user gave is wrong; the message names it.
    """
    common = vars(restore_defaults()) | vars(arguments) | {"out": arguments.out.parent}
    check_numbers(Namespace(**common))
    tasks = chosen_tasks(arguments)
    if len(tasks) != 1:
        raise ValueError(f"--task {' '.join(tasks)}: an export is for one task")
    projections = chosen_projections(arguments)
    if len(projections) != 1:
        raise ValueError("--projection both: an export is for one, none or state")
    ((_, projection, _),) = projections
    prior, card = load_prior(arguments.prior or default_prior(arguments.solver))
    side = arguments.size or card["size"]
    shape = (side, side, card["channels"])
    if side % card["size_multiple"]:
        raise ValueError(f"--size {side}: the prior needs multiples of {card['size_multiple']}")
    options = task_options(arguments, tasks[0])
    operator = operator_for(tasks[0], shape, (arguments.seed, 0), **options)
    y = jax.eval_shape(operator.forward, jax.ShapeDtypeStruct(shape, jnp.float32))
    problem = Problem(operator, jnp.zeros(y.shape, y.dtype), arguments.sigma)
    method, _ = chosen_method(arguments, tasks[0], prior)
    state = state_shape(prior, shape)
    return Program(method, projection, problem, prior, state, arguments.samples)


def plan_export(arguments: Namespace):
    """Check ``export``; returns the work."""
    unknown = [name for name in arguments.platforms if name not in PLATFORMS]
    if unknown:
        raise ValueError(f"platform {unknown[0]!r}: choose from {', '.join(PLATFORMS)}")
    if arguments.out.suffix != ".npz":
        raise ValueError(f"--out {arguments.out}: the file is a numpy archive, call it .npz")
    program = chosen_program(arguments)
    return lambda: write(arguments, program)


def write(arguments: Namespace, program: Program) -> None:
    """Export, and say what is where."""
    entries = exported(program, tuple(arguments.platforms))
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **entries)
    write_atomically(arguments.out, stream.getvalue())
    size, module = stream.tell() / 1e6, entries["module"].size / 1e6
    print(
        f"{arguments.out}: {size:.1f} MB, of which the program has {module:.1f} MB before packing"
    )
    print(f"runs on {', '.join(arguments.platforms)}; docs/export.md says how")

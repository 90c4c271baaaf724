"""Write a solver as a file that runs without this code: `jax.export` for CPU, CUDA and TPU.

    dsg-jax export --task super_resolution --solver daps --out daps.npz

The file is a numpy archive: the StableHLO module, every array that the program takes (weights,
operator, schedule) under its place in the pytree, and a description. docs/export.md has the few
lines that run it with jax and numpy alone. The format of `jax.export` itself is not used, for it
takes a package more on either side; the module in it is the same.
"""

import io
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, export

from dsg_jax.checkpoints import load_prior
from dsg_jax.operators.tasks import operator_for
from dsg_jax.sample import sample
from dsg_jax.types import Problem
from experiments.export_settings import ExportSettings, File
from experiments.files import array_hash, installed, write_atomically
from experiments.programs import solver_of, state_shape
from experiments.restore.batch import Program
from experiments.restore.choices import (
    MethodChoice,
    chosen_methods,
    chosen_tasks,
    solver_settings,
    task_options,
)
from experiments.restore.classes import class_labels
from experiments.restore.compatible import check_noise, check_operators, check_prior
from experiments.restore.effects import check_effects
from experiments.restore.plan import DEFAULT_PRIORS, state_channels
from experiments.settings import RestoreSettings


def restorations(
    solver: str, samples: int, shape: tuple[int, int, int], key: Array, y: Array, arrays: dict
) -> tuple[Array, Array]:
    """(2, ) key and measurement -> images (samples, h, w, c) and misfits (samples,).

    Args:
      solver: key of `SOLVERS`.
      samples: how many; the i-th has the key that `jax.random.split` gives it.
      shape: of the solver's state.
      key: two numbers below 2^32.
      y: the measurement.
      arrays: "prior", "projection", "settings" of a `Program`, and "problem" but for its y.
    """
    parts = arrays["projection"], arrays["prior"], arrays["settings"]
    problem = arrays["problem"]._replace(y=y)

    def one(key: Array) -> tuple[Array, Array]:
        image, info = sample(key, solver_of(solver, parts, problem), shape)
        return image, info.misfit[-1]

    keys = jax.random.split(jax.random.wrap_key_data(key, impl="threefry2x32"), samples)
    return jax.vmap(one)(keys)


def exported(program: Program, problem: Problem, file: File) -> dict[str, np.ndarray]:
    """The archive's entries: "module", "description" (JSON), and the arrays "0000", "0001", ...

    Args:
      program: of a single image.
      problem: its measurement only gives the shape.
      file: samples of a call, and platforms.
    """
    arrays = {
        "prior": program.prior,
        "problem": problem._replace(y=jnp.zeros(())),
        "projection": program.projection,
        "settings": program.settings,
    }
    leaves, structure = jax.tree.flatten_with_path(jax.tree.map(jnp.asarray, arrays))
    function = partial(restorations, program.solver, file.samples, program.shape)
    flat = lambda key, y, *values: function(key, y, jax.tree.unflatten(structure, values))
    takes: dict[str, Any] = {
        "key": jax.ShapeDtypeStruct((2,), jnp.uint32),
        "y": jnp.asarray(problem.y),
        **{jax.tree_util.keystr(path): leaf for path, leaf in leaves},
    }
    # Shapes and types alone: an array made from a Python number would be exported as weakly typed.
    forms = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in takes.values()]
    module = export.export(jax.jit(flat, keep_unused=True), platforms=file.platforms)(*forms)
    description = {
        "takes": [array_facts(name, a) for name, a in takes.items()],
        "gives": [
            array_facts(name, a)
            for name, a in zip(("images", "misfits"), module.out_avals, strict=True)
        ],
        "platforms": list(module.platforms),
        "calling_convention_version": module.calling_convention_version,
        "versions": {name: installed(name) for name in ("dsg_jax", "jax", "jaxlib")},
    }
    return {
        "module": np.frombuffer(module.mlir_module_serialized, np.uint8),
        "description": np.frombuffer(json.dumps(description, indent=1).encode(), np.uint8),
        **{f"{i:04}": np.asarray(leaf) for i, (_, leaf) in enumerate(leaves)},
    }


def array_facts(name: str, a: Any) -> dict:
    """Name, shape and type of an array."""
    return {"name": name, "shape": list(a.shape), "dtype": str(a.dtype)}


def chosen_program(settings: ExportSettings) -> tuple[Program, Problem]:
    """What the settings ask to be exported, and a problem whose measurement is empty.

    Raises:
      ValueError, OSError: something the user gave is wrong; the message names it.
    """
    common, file = settings.as_restore(), settings.file
    check_effects(common)
    precision = settings.arithmetic.matmul_precision
    if precision != "default" and set(file.platforms) == {"cpu"}:
        raise ValueError(
            f"--matmul-precision {precision}: a CPU computes every float32 product in float32 and"
            " --platforms has no other: drop it"
        )
    task, method = only_choice(common)
    name = settings.method.prior or DEFAULT_PRIORS[method.entry.prior]
    dtype, verify = settings.arithmetic.dtype, not settings.method.no_verify
    prior, card = load_prior(name, dtype=dtype, verify=verify)
    check_prior(method.entry, prior)
    check_operators(method.entry, [task])
    (method,) = chosen_methods(common, state_channels(prior, card))
    side = file.size or card["size"]
    shape = (side, side, card["channels"])
    if side % card["size_multiple"]:
        raise ValueError(f"--size {side}: the prior needs multiples of {card['size_multiple']}")
    if settings.measurement.sigma is not None and not method.entry.noise:
        raise ValueError(f"--sigma: {method.entry.name} does not ask how noisy y is: drop it")
    program = Program(
        method.entry.name,
        solver_settings(method, task, prior, settings.measurement.noise),
        method.projection,
        prior,
        axes=(),
        shape=state_shape(prior, shape),
    )
    labels = class_labels(common.images.class_label, ["the image"], prior, card)
    problem = chosen_problem(settings, task, shape)
    solver_of(program.solver, program.arrays, problem)  # what does not go together is refused here
    return program, problem._replace(label=np.int32(labels[0])) if labels else problem


def only_choice(common: RestoreSettings) -> tuple[str, MethodChoice]:
    """The task and the method of which there is one.

    Raises:
      ValueError: there are more of one of them, or the method does not know the noise.
    """
    tasks, methods = chosen_tasks(common), chosen_methods(common)
    if len(tasks) != 1:
        raise ValueError(f"--task {' '.join(tasks)}: an export is for one task")
    if len(methods) != 1:
        raise ValueError(
            "an export is for one method, and these are several:"
            f" {', '.join(method.label for method in methods)}"
        )
    check_noise(common, tasks, methods)
    return tasks[0], methods[0]


def chosen_problem(settings: ExportSettings, task: str, shape: tuple[int, int, int]) -> Problem:
    """The operator for images of a shape, and a measurement of zeros.

    Raises:
      ValueError: a seed where nothing is drawn.
    """
    seed, (options, _) = settings.file.seed, task_options(settings.as_restore(), task)
    operator = operator_for(task, shape, (seed, 0), **options)
    drawn = array_hash(*jax.tree.leaves(operator))
    if seed and drawn == array_hash(*jax.tree.leaves(operator_for(task, shape, (0, 0), **options))):
        raise ValueError(f"--seed {seed}: {task} draws no mask and no kernel: drop it")
    y = jax.eval_shape(operator.forward, jax.ShapeDtypeStruct(shape, jnp.float32))
    return Problem(operator, jnp.zeros(y.shape, y.dtype), settings.measurement.level)


def plan_export(settings: ExportSettings) -> Callable[[], None]:
    """Check `export`; returns the work."""
    program, problem = chosen_program(settings)
    return lambda: write(program, problem, settings.file)


def write(program: Program, problem: Problem, file: File) -> None:
    """Export, and say what is where."""
    entries, stream = exported(program, problem, file), io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **entries)
    write_atomically(file.out, stream.getvalue())
    size, module = stream.tell() / 1e6, entries["module"].size / 1e6
    print(f"{file.out}: {size:.1f} MB, of which the program has {module:.1f} MB before packing")
    print(f"runs on {', '.join(file.platforms)}; docs/export.md says how")

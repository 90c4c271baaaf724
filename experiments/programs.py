"""What every command that compiles a solver asks: the solver, its state's shape, its memory."""

import math
from typing import Any

import jax
import numpy as np

from dsg_jax.plug_ins import Guidance
from dsg_jax.sample import sample
from dsg_jax.solvers import SOLVERS
from dsg_jax.types import Prior, Problem, Solver
from dsg_jax.user_code import FUNCTIONS, UserCodeError, place_of


def solver_of(name: str, arrays: tuple[Guidance, Prior, Any], problem: Problem) -> Solver:
    """Build a solver from its key in `SOLVERS` and from (projection, prior, settings)."""
    projection, prior, settings = arrays
    return SOLVERS[name].solve(prior, problem, projection, settings)


def check_user_code(
    name: str,
    arrays: tuple[Guidance, Prior, Any],
    problem: Problem,
    shape: tuple[int, int, int],
) -> None:
    """Trace a run where code of a user's takes part, so that its errors come before the work.

    Args:
      name: key of `SOLVERS`.
      arrays: as for `solver_of`.
      problem: one that it is to restore.
      shape: of the image.

    Raises:
      UserCodeError: it does not run, or restores an image of another shape. An error that came
        through the user's file is raised as it is.
    """
    if not FUNCTIONS:
        return

    def run(arrays: tuple, problem: Problem) -> jax.Array:
        solver = solver_of(name, arrays, problem)
        return sample(jax.random.key(0), solver, state_shape(arrays[1], shape))[0]

    where = FUNCTIONS[name].place() if name in FUNCTIONS else ", ".join(FUNCTIONS)
    try:
        image = jax.eval_shape(run, arrays, problem)
    except Exception as error:
        if place_of(error) or isinstance(error, UserCodeError):
            raise
        raise UserCodeError(f"{where}: {name} does not run: {error}") from error
    if image.shape != shape:
        raise UserCodeError(f"{where}: {name} restores a {image.shape} image, not one of {shape}")


def state_shape(prior: Prior, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape of the solver's state for an image (h, w, c): of the image or of its latent."""
    if prior.first_stage is None:
        return shape
    image = jax.ShapeDtypeStruct(shape, np.float32)
    h, w, c = jax.eval_shape(lambda stage, x: stage.encode(x, None), prior.first_stage, image).shape
    return h, w, c


def planned_bytes(compiled: jax.stages.Compiled) -> float:
    """Bytes that a program reserves for arguments, results and temporaries.

    nan where the backend does not say.
    """
    plan = compiled.memory_analysis()
    if plan is None:
        return math.nan
    sizes = (plan.argument_size_in_bytes, plan.output_size_in_bytes, plan.temp_size_in_bytes)
    return sum(sizes) - plan.alias_size_in_bytes

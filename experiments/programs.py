"""What every command that compiles a solver asks: the solver, its state's shape, its memory."""

import math
from typing import Any

import jax
import numpy as np

from dsg_jax.plug_ins import Guidance
from dsg_jax.solvers import SOLVERS
from dsg_jax.types import Prior, Problem, Solver


def solver_of(name: str, arrays: tuple[Guidance, Prior, Any], problem: Problem) -> Solver:
    """Build a solver from its key in `SOLVERS` and from (projection, prior, settings)."""
    projection, prior, settings = arrays
    return SOLVERS[name].solve(prior, problem, projection, settings)


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

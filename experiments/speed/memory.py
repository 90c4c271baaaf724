"""How much memory one projected step takes at the published models' sizes.

    dsg-jax memory --model sd-1.5

The step is compiled for shapes alone: no weight is ever allocated, and nothing runs. What counts is
the compiler's own plan: the arguments, the results, and the largest need for intermediate values
at one time. Convolution and LAPACK kernels may take workspace beside that.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from dsg_jax.priors.latent import with_remat
from dsg_jax.sample import normal_draws
from dsg_jax.solvers import SOLVERS
from dsg_jax.types import Prior, Problem, Projection
from experiments.files import versions_and_hardware, write_atomically
from experiments.programs import solver_of, state_shape
from experiments.restore.memory import GB
from experiments.speed.pieces import TASK, check_solvers, low_resolution, solvers_for
from experiments.speed.published import MODELS, prior_forms
from experiments.speed.settings import MemorySettings

# What latent models compute again in the backward pass -> these parts of a `Prior`.
REMAT = {
    "nothing recomputed": (),
    "U-Net recomputed": ("network",),
    "first stage recomputed": ("first_stage",),
    "both recomputed": ("network", "first_stage"),
}


def recomputing(prior: Prior, parts: tuple[str, ...]) -> Prior:
    """A latent prior of which only these parts recompute their blocks: see `with_remat`."""
    return prior._replace(**{part: getattr(with_remat(prior), part) for part in parts})


def step_memory(solver: str, prior: Prior, size: int, batch: int = 1) -> dict[str, float]:
    """Bytes of an outer step of a solver with the projection, as the compiler plans it.

    Args:
      solver: key of `SOLVERS`.
      prior: see `prior_forms`.
      size: side of the images, pixels.
      batch: samples at once, of one measurement.

    Raises:
      OSError: the compiler of this machine does not tell.
    """
    # of the schedule, as of all settings, only the shape matters
    settings = SOLVERS[solver].settings_for(TASK, np.full(prior.betas.shape, 0.01))
    arrays = Projection(), prior, settings

    def begin(arrays: tuple, problem: Problem, x: jax.Array):
        return jax.vmap(solver_of(solver, arrays, problem).init)(x)

    def step(arrays: tuple, problem: Problem, keys: jax.Array, states, at):
        built = solver_of(solver, arrays, problem)
        return jax.vmap(lambda key, x: built.step(normal_draws(key), x, at))(keys, states)

    problem, keys = low_resolution((size, size, 3)), jax.random.split(jax.random.key(0), batch)
    x = jax.ShapeDtypeStruct((batch, *state_shape(prior, (size, size, 3))), np.float32)
    states = jax.eval_shape(begin, arrays, problem, x)
    at = jax.tree.map(lambda leaf: leaf[0], settings.steps)
    plan = jax.jit(step).lower(arrays, problem, keys, states, at).compile().memory_analysis()
    if plan is None:
        raise OSError(
            f"the compiler for {jax.default_backend()} plans no memory in advance: "
            "set JAX_PLATFORMS=cpu"
        )
    parts: dict[str, float] = {
        "arguments": plan.argument_size_in_bytes,
        "results": plan.output_size_in_bytes - plan.alias_size_in_bytes,
        "intermediate": plan.temp_size_in_bytes,
    }
    return parts | {"total": sum(parts.values())}


def cases(settings: MemorySettings) -> Iterator[tuple[dict[str, str], Prior, int]]:
    """The rows of the table: their titles, the `prior_forms`, and samples at once."""
    for name in MODELS if settings.model == "all" else (settings.model,):
        prior = prior_forms(MODELS[name], settings.dtype)
        chosen = solvers_for(prior, settings.solver)
        for solver in chosen if settings.solver else chosen[:1]:
            title = {"model": name, "solver": solver}
            if prior.first_stage is None:
                yield from ((title | {"case": f"{n} at once"}, prior, n) for n in (1, 10))
            else:
                for words, parts in REMAT.items():
                    yield title | {"case": words}, recomputing(prior, parts), 1


def plan_memory(settings: MemorySettings) -> Callable[[], None]:
    """Check `memory`: whether a solver goes with a model."""
    table = list(cases(settings))
    if not table:
        raise ValueError(
            f"--solver {', '.join(settings.solver)}: none works with the prior {settings.model}"
        )
    for title, prior, _ in table:
        side = MODELS[title["model"]].card["size"]
        check_solvers([title["solver"]], prior, (side, side, 3))
    return lambda: memory(settings, table)


def memory(settings: MemorySettings, table: list[tuple[dict[str, str], Prior, int]]) -> None:
    """Print the table row by row, and write it as JSON where asked."""
    print(f"one step with the projection, {settings.dtype}, for {jax.default_backend()}; GB")
    print(f"{'':46} {'weights etc.':>12} {'intermediate':>12} {'total':>12}")
    rows: list[dict[str, Any]] = []
    for title, prior, batch in table:
        plan = step_memory(title["solver"], prior, MODELS[title["model"]].card["size"], batch)
        rows.append(title | {"bytes": plan})
        names = "{model:10} {solver:12} {case:22}".format(**title)
        sizes = (f"{plan[part] / GB:12.2f}" for part in ("arguments", "intermediate", "total"))
        print(names, *sizes, flush=True)
    if settings.out:
        report = {
            "what": "one step with the projection",
            "dtype": settings.dtype,
            "rows": rows,
            **versions_and_hardware(),
        }
        write_atomically(settings.out, (json.dumps(report, indent=1) + "\n").encode())

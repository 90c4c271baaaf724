"""How much memory one projected step takes at the published models' sizes.

    dsg-jax memory --model sd-1.5

The step is compiled for shapes alone: no weight is ever allocated, and nothing runs. What counts is
the compiler's own plan: the arguments, the results, and the largest need for intermediate values
at one time. Convolution and LAPACK kernels may take workspace beside that.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import numpy as np

from dsg_jax.sample import normal_draws
from dsg_jax.solvers import SOLVERS
from dsg_jax.types import Prior, Projection
from experiments.files import versions_and_hardware, write_atomically
from experiments.restore.batch import solver_of, state_shape
from experiments.speed.pieces import TASK, low_resolution, solvers_for
from experiments.speed.published import MODELS, prior_forms
from experiments.speed.settings import MemorySettings
from experiments.speed.timer import memory_plan

GB = 1e9
REMAT = {
    "nothing recomputed": (False, False),
    "U-Net recomputed": (True, False),
    "first stage recomputed": (False, True),
    "both recomputed": (True, True),
}
"""What latent models compute again in the backward pass -> (U-Net, first stage)."""
BATCHES = (1, 10)
"""Samples at once on models over pixels."""


def planned_bytes(solver: str, prior: Prior, size: int, batch: int = 1) -> dict[str, float]:
    """Bytes of an outer step of a solver with the projection, as the compiler plans it.

    Args:
      solver: key of `SOLVERS`.
      prior: see `prior_forms`.
      size: side of the images, pixels.
      batch: samples at once, of one measurement.

    Raises:
      OSError: the compiler of this machine does not tell.
    """
    shape, problem = state_shape(prior, (size, size, 3)), low_resolution((size, size, 3))
    any_betas = np.full(prior.betas.shape, 0.01)  # of the settings only shapes matter
    settings = SOLVERS[solver].settings_for(TASK, any_betas)
    arrays = Projection(), prior, settings

    def begin(arrays: tuple, keys: jax.Array):
        built = solver_of(solver, arrays, problem)
        return jax.vmap(lambda key: built.init(jax.random.normal(key, shape)))(keys)

    def step(arrays: tuple, problem, keys: jax.Array, states, at):
        built = solver_of(solver, arrays, problem)
        return jax.vmap(lambda key, x: built.step(normal_draws(key), x, at))(keys, states)

    keys = jax.random.split(jax.random.key(0), batch)
    states = jax.eval_shape(begin, arrays, keys)
    at = jax.tree.map(lambda leaf: leaf[0], settings.steps)
    plan = memory_plan(jax.jit(step).lower(arrays, problem, keys, states, at).compile())
    if not plan:
        backend = jax.default_backend()
        raise OSError(
            f"the compiler for {backend} plans no memory in advance: set JAX_PLATFORMS=cpu"
        )
    return plan


def cases(settings: MemorySettings) -> Iterator[tuple[dict[str, str], Prior, int]]:
    """The rows of the table: their titles, the `prior_forms`, and samples at once."""
    for name in MODELS if settings.model == "all" else (settings.model,):
        forms = partial(prior_forms, MODELS[name], dtype=settings.dtype)
        plain = forms()
        solvers = solvers_for(plain)
        chosen = [solver for solver in solvers if solver in settings.solver]
        for solver in chosen if settings.solver else solvers[:1]:
            title = {"model": name, "solver": solver}
            if plain.first_stage is None:
                yield from ((title | {"case": f"{n} at once"}, plain, n) for n in BATCHES)
            else:
                for words, remat in REMAT.items():
                    yield title | {"case": words}, forms(remat=remat), 1


def plan_memory(settings: MemorySettings) -> Callable[[], None]:
    """Check `memory`: whether a solver goes with a model."""
    table = list(cases(settings))
    if not table:
        names = ", ".join(settings.solver)
        raise ValueError(f"--solver {names}: none works with the prior {settings.model}")
    return lambda: memory(settings, table)


def memory(settings: MemorySettings, table: list[tuple[dict[str, str], Prior, int]]) -> None:
    """Print the table row by row, and write it as JSON where asked."""
    print(f"one step with the projection, {settings.dtype}, for {jax.default_backend()}; GB")
    print(f"{'':46} {'weights etc.':>12} {'intermediate':>12} {'total':>12}")
    rows: list[dict[str, Any]] = []
    for title, prior, batch in table:
        plan = planned_bytes(title["solver"], prior, MODELS[title["model"]].size, batch)
        rows.append(title | {"bytes": plan})
        names = "{model:10} {solver:12} {case:22}".format(**title)
        sizes = (f"{plan[part] / GB:12.2f}" for part in ("arguments", "intermediate", "total"))
        print(names, *sizes, flush=True)
    if settings.out:
        report = {"what": "one step with the projection", "dtype": settings.dtype, "rows": rows}
        text = json.dumps(report | versions_and_hardware(), indent=1)
        write_atomically(settings.out, (text + "\n").encode())

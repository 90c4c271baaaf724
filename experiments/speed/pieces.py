"""Where the time of a solver's outer step goes: network, operator, projection, rest.

One piece after the other is taken out of the whole program, and the differences are the pieces, so
that they add up and every one is timed as it is compiled into the step:

    whole -> the network and first stage predict nothing -> y = x -> no projection

The small pieces are differences of small programs, which the network's scatter does not reach.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from dsg_jax.operators.linear import identity, super_resolution
from dsg_jax.sample import sample
from dsg_jax.solvers import SOLVERS
from dsg_jax.solvers.resample.steps import even_counts
from dsg_jax.types import FirstStage, Prior, Problem, Projection
from dsg_jax.user_code import FUNCTIONS
from experiments.programs import check_user_code, solver_of, state_shape
from experiments.speed.timer import Measured, measured

TASK = "super_resolution"
# Options that shorten a run of solvers that have them; what draws exactly has nothing to project.
SHORT = {"levels": 6, "steps": 40, "likelihood": "langevin"}
# Outer steps that are timed at most, from two thirds of a run on: one of ReSample's optimises.
LONGEST = 5


def hollow(prior: Prior, shape: tuple[int, ...]) -> Prior:
    """The prior without its networks: no noise is predicted, a first stage only changes the size.

    ``shape`` is that of the network's states.
    """
    state = jax.ShapeDtypeStruct(shape, jnp.float32)
    predicted = jax.eval_shape(prior.network, state, jax.ShapeDtypeStruct((), jnp.float32))
    empty = prior._replace(network=Partial(lambda x, t: jnp.zeros(predicted.shape)))
    if prior.first_stage is None:
        return empty
    h, w, c = shape
    height, _, colours = jax.eval_shape(prior.first_stage.decode, state).shape
    f, up, down = height // h, np.arange(colours) % c, np.arange(c) % colours
    decode = lambda z: jnp.repeat(jnp.repeat(z, f, 0), f, 1)[..., up]
    encode = lambda x, noise: x.reshape(h, f, w, f, -1).mean((1, 3))[..., down]
    return empty._replace(first_stage=FirstStage(Partial(decode), Partial(encode), f))


def low_resolution(shape: tuple[int, int, int]) -> Problem:
    """A measurement of `TASK` by a factor of 4, of a grey image."""
    operator = super_resolution(shape, 4)
    return Problem(operator, operator.forward(jnp.zeros(shape)), 0.05)


def solvers_for(prior: Prior, named: Sequence[str] = ()) -> list[str]:
    """The solvers that work with a prior, of those that are named where any are."""
    kind = "pixel" if prior.first_stage is None else "latent"
    return [n for n, entry in SOLVERS.items() if entry.prior == kind and n in (named or SOLVERS)]


def check_solvers(solvers: Iterable[str], prior: Prior, shape: tuple[int, int, int]) -> None:
    """Raise ValueError where code of a user's takes part and a solver does not run.

    Args:
      solvers: keys of `SOLVERS`.
      prior: of them; shapes and types will do, but for the first stage's.
      shape: (h, w, c) of the images.
    """
    for name in solvers if FUNCTIONS else ():
        settings = SOLVERS[name].settings_for(TASK, np.full(prior.betas.shape, 0.01))
        check_user_code(name, (Projection(), prior, settings), low_resolution(shape), shape)


def excerpt(name: str, prior: Prior, longest: int = LONGEST) -> tuple[Any, int]:
    """A solver's settings with a few outer steps of a short run, and how many these are."""
    entry = SOLVERS[name]
    options = {option: value for option, value in SHORT.items() if option in entry.options}
    settings = entry.settings_for(TASK, np.asarray(prior.betas, np.float64), **options)
    part = lambda leaf: jnp.asarray(leaf[2 * len(leaf) // 3 :][:longest])
    changes = {"steps": jax.tree.map(part, settings.steps)}
    if hasattr(settings, "frozen"):
        # ReSample: five updates in each optimisation, and in the one that ends the run, so that
        # their number does not depend on the data
        changes["frozen"] = even_counts(settings.steps, 5, 5)
    return replace(settings, **changes), len(jax.tree.leaves(changes["steps"])[0])


def step_calls(
    solver: str, prior: Prior, shape: tuple[int, int, int], batch: int
) -> tuple[dict[str, tuple], int]:
    """What to time, for ``batch`` samples of images (h, w, c); and outer steps in each."""
    state = state_shape(prior, shape)
    settings, count = excerpt(solver, prior)

    def whole(keys: Array, problem: Problem, arrays: tuple) -> Array:
        built = solver_of(solver, arrays, problem)
        return jax.vmap(lambda key: sample(key, built, state)[0])(keys)

    problem, no_camera = low_resolution(shape), Problem(identity(), jnp.zeros(shape), 0.05)
    keys, empty = jax.random.split(jax.random.key(0), batch), hollow(prior, state)
    calls = {
        "whole": (whole, keys, problem, (Projection(), prior, settings)),
        "no network": (whole, keys, problem, (Projection(), empty, settings)),
        "no operator": (whole, keys, no_camera, (Projection(), empty, settings)),
        "no projection": (whole, keys, no_camera, (None, empty, settings)),
    }
    return calls, count


def split(
    solver: str,
    prior: Prior,
    shape: tuple[int, int, int],
    batch: int,
    measure: Callable[[dict[str, tuple]], dict[str, Measured]] = measured,
) -> dict[str, float]:
    """Milliseconds of an outer step of all samples together, by piece, and planned bytes."""
    calls, count = step_calls(solver, prior, shape, batch)
    programs = measure(calls)
    ms = {name: each.milliseconds / count for name, each in programs.items()}
    return {
        "step": ms["whole"],
        "network": ms["whole"] - ms["no network"],
        "operator": ms["no network"] - ms["no operator"],
        "projection": ms["no operator"] - ms["no projection"],
        "rest": ms["no projection"],
        "planned_bytes": programs["whole"].planned_bytes,
    }

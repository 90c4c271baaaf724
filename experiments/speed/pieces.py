"""Where the time of a solver's outer step goes: network, operator, projection, rest.

One piece after the other is taken out of the whole program, and the differences are the pieces, so
that they add up and every one is timed as it is compiled into the step:

    whole -> the network and first stage predict nothing -> y = x -> no projection

The small pieces are differences of small programs, which the network's scatter does not reach.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from dsg_jax.operators.linear import super_resolution
from dsg_jax.sample import sample
from dsg_jax.solvers import SOLVERS
from dsg_jax.solvers.resample.steps import even_counts
from dsg_jax.types import FirstStage, Operator, Prior, Problem, Projection
from experiments.restore.batch import solver_of, state_shape

TASK = "super_resolution"
SHORT = {"levels": 3, "steps": 40}
"""Options that shorten a run of solvers that have them."""
EXCERPT = {"levels": (0, 2), "steps": (26, 31)}
"""Which outer steps are timed; of ReSample's, one optimises the latent."""
UPDATES = 5
"""Of each of ReSample's optimisations; one more optimisation ends the run."""
ENOUGH = 15.0
"""Seconds of a call after which it is not called again."""


class Measured(NamedTuple):
    """A compiled call."""

    milliseconds: float
    """The least of all turns: what else runs on a machine can only add to it."""
    flops: float
    """Of the program before the compiler's passes; bodies of loops count once."""
    bytes_accessed: float
    """Of the compiled program, as XLA counts them; bodies of loops count once."""
    planned_bytes: float
    """Arguments, results and intermediate values."""


def measured(calls: dict[str, tuple], repeat: int = 7) -> dict[str, Measured]:
    """Time calls (function, *arguments), compiled, warmed up and taken in turns.

    Each has ``repeat`` turns, or fewer once it has taken `ENOUGH` seconds.
    """
    facts, compiled = {}, {}
    for name, (function, *arguments) in calls.items():
        lowered = jax.jit(function).lower(*arguments)
        compiled[name] = lowered.compile()
        facts[name] = (cost(lowered, "flops"), cost(compiled[name], "bytes accessed"))
        jax.block_until_ready(compiled[name](*arguments))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeat):
        for name, (_, *arguments) in calls.items():
            if sum(times[name]) < ENOUGH:
                started = time.perf_counter()
                jax.block_until_ready(compiled[name](*arguments))
                times[name].append(time.perf_counter() - started)
    least = {name: 1e3 * min(each) for name, each in times.items()}
    return {name: Measured(least[name], *facts[name], planned(compiled[name])) for name in calls}


def cost(program: Any, name: str) -> float:
    """An entry of XLA's cost analysis, nan where the backend has none."""
    costs = program.cost_analysis()
    costs = costs[0] if isinstance(costs, list) else costs
    return float((costs or {}).get(name, np.nan))


def planned(program: Any) -> float:
    """Bytes that a compiled program reserves, nan where the backend does not tell."""
    plan = program.memory_analysis()
    if plan is None:
        return float("nan")
    return plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes


def hollow(prior: Prior, shape: tuple[int, ...]) -> Prior:
    """The prior without its networks: no noise is predicted, a first stage only changes the size.

    ``shape`` is that of the network's states.
    """
    state = jax.ShapeDtypeStruct(shape, jnp.float32)
    forms = jax.eval_shape(prior.network, state, jax.ShapeDtypeStruct((), jnp.float32))
    network = Partial(lambda x, t: jnp.zeros(forms.shape))
    stage = prior.first_stage
    if stage is None:
        return prior._replace(network=network)
    pixels = jax.eval_shape(stage.decode, state).shape
    f = pixels[0] // shape[0]
    channels = np.arange(pixels[2]) % shape[2], np.arange(shape[2]) % pixels[2]
    enlarge = lambda z: jnp.repeat(jnp.repeat(z, f, 0), f, 1)[..., channels[0]]
    average = lambda x, noise: x.reshape(shape[0], f, shape[1], f, -1).mean((1, 3))[
        ..., channels[1]
    ]
    return prior._replace(
        network=network, first_stage=FirstStage(Partial(enlarge), Partial(average), f)
    )


def no_camera(shape: tuple[int, int, int]) -> Problem:
    """A measurement y = x, without a cost."""
    same = Partial(lambda x: x)
    return Problem(Operator(same, same, same, same), jnp.zeros(shape), 0.05)


def excerpt(name: str, prior: Prior) -> tuple[Any, int]:
    """A solver's settings with a few outer steps of a short run, and how many these are."""
    entry = SOLVERS[name]
    kind = next(option for option in SHORT if option in entry.options)
    settings = entry.settings_for(TASK, np.asarray(prior.betas, np.float64), **{kind: SHORT[kind]})
    first, last = EXCERPT[kind]
    changes = {"steps": jax.tree.map(lambda leaf: jnp.asarray(leaf[first:last]), settings.steps)}
    if hasattr(settings, "frozen"):  # a number of updates that does not depend on the data
        changes["frozen"] = even_counts(settings.steps, UPDATES, UPDATES)
    return replace(settings, **changes), last - first


def step_calls(
    solver: str, prior: Prior, size: int, batch: int, projection: Projection
) -> tuple[dict[str, tuple], int]:
    """What to time, for ``batch`` samples of images of ``size`` pixels; and outer steps in each."""
    shape = (size, size, 3)
    state = state_shape(prior, shape)
    settings, count = excerpt(solver, prior)
    operator = super_resolution(shape, 4)
    problem = Problem(operator, operator.forward(jnp.zeros(shape)), 0.05)

    def whole(
        keys: Array, prior: Prior, projection: Projection | None, problem: Problem, settings: Any
    ) -> Array:
        built = solver_of(solver, (projection, prior, settings), problem)
        return jax.vmap(lambda key: sample(key, built, state)[0])(keys)

    keys, empty = jax.random.split(jax.random.key(0), batch), hollow(prior, state)
    calls = {
        "whole": (whole, keys, prior, projection, problem, settings),
        "no network": (whole, keys, empty, projection, problem, settings),
        "no operator": (whole, keys, empty, projection, no_camera(shape), settings),
        "no projection": (whole, keys, empty, None, no_camera(shape), settings),
    }
    return calls, count


def split(
    solver: str,
    prior: Prior,
    size: int,
    batch: int,
    projection: Projection,
    measure: Callable[[dict[str, tuple]], dict[str, Measured]] = measured,
) -> dict[str, float]:
    """Milliseconds of an outer step of all samples together, by piece, and planned bytes."""
    calls, count = step_calls(solver, prior, size, batch, projection)
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

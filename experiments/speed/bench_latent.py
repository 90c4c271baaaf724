"""How long an outer step of every latent solver takes, plain and projected, in one run."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dsg_jax.operators.linear import super_resolution
from dsg_jax.sample import sample
from dsg_jax.solvers import SOLVERS
from dsg_jax.solvers.resample.steps import even_counts
from dsg_jax.types import Prior, Problem, Projection
from experiments.restore.methods import METHODS, state_shape

TASK = "super_resolution"
PROJECTIONS = {"plain": None, "svd": Projection(), "gram": Projection(engine="gram")}


class Excerpt(NamedTuple):
    """The outer steps to time, as part of a run."""

    options: dict
    """Of `METHODS`."""
    first: int
    last: int


EXCERPTS = {
    "psld": Excerpt({}, 0, 3),
    "latent-dps": Excerpt({}, 0, 3),
    "latent-daps": Excerpt({"levels": 2, "inner_steps": 5}, 0, 1),
    "resample": Excerpt({"steps": 40}, 26, 31),  # one of them optimises the latent
}
PIXEL_EXCERPTS = {
    "dps": Excerpt({"steps": 100}, 0, 3),
    "daps": Excerpt({"levels": 3}, 0, 2),
}
UPDATES = 5
"""Of each of ReSample's optimisations; one more optimisation ends the run."""


def excerpt(name: str, prior: Prior) -> tuple[dict, dict, int]:
    """Arrays and static settings of a solver's excerpt, and its number of outer steps."""
    options, first, last = (EXCERPTS | PIXEL_EXCERPTS)[name]
    traced, static = METHODS[name](TASK, np.asarray(prior.betas, np.float64), **options)
    if name == "resample":
        traced["frozen"] = even_counts(traced["steps"], UPDATES, UPDATES)
    traced["steps"] = jax.tree.map(lambda leaf: jnp.asarray(leaf[first:last]), traced["steps"])
    return traced, static, last - first


def step_milliseconds(name: str, prior: Prior, size: int, measure) -> dict[str, float]:
    """Milliseconds of one outer step by projection; ``measure`` times calls side by side."""
    shape = (size, size, 3)
    traced, static, count = excerpt(name, prior)
    operator = super_resolution(shape, 4)
    problem = Problem(operator, operator.forward(jnp.zeros(shape)), 0.05)

    def run(key, prior, projection, problem, traced):
        solver = SOLVERS[name](prior, problem, projection, **traced, **static)
        return sample(key, solver, state_shape(prior, shape))[0]

    calls = {
        label: (run, jax.random.key(0), prior, projection, problem, traced)
        for label, projection in PROJECTIONS.items()
    }
    return {label: ms / count for label, ms in measure(calls).items()}

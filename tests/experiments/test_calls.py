"""How often solvers ask a prior, counted while they run."""

from collections import Counter

import jax
import numpy as np
import pytest

from dsg_jax.operators.linear import identity
from dsg_jax.sample import sample
from dsg_jax.solvers import SOLVERS
from dsg_jax.types import Problem, Projection
from experiments.calls import counted, total
from experiments.programs import state_shape
from support.gaussian_prior import gaussian_prior
from support.linear_stage import linear_prior

SHAPE = (8, 8, 3)
# Solver, options -> calls of one sample.
EXPECTED = {
    "dps": ({"steps": 6}, {"network": 6, "network VJP": 6}),
    "daps": ({"levels": 3, "ode_steps": 4}, {"network": 12}),
    "psld": (
        {"steps": 5},
        {"network": 5, "network VJP": 5, "decoder": 6, "decoder VJP": 5}
        | {"encoder": 5, "encoder VJP": 5},
    ),
}


@pytest.mark.parametrize("solver", EXPECTED)
def test_calls_of_a_sample(solver):
    entry, (options, expected) = SOLVERS[solver], EXPECTED[solver]
    prior = gaussian_prior() if entry.prior == "pixel" else linear_prior()
    problem, tally = Problem(identity(), np.zeros(SHAPE, np.float32), 0.1), Counter()
    settings = entry.settings_for("identity", prior.clock, **options)

    def restored(prior):
        built = entry.solve(prior, problem, Projection(), settings)
        run = jax.jit(lambda key: sample(key, built, state_shape(prior, SHAPE))[0])
        return run(jax.random.key(0))

    np.testing.assert_array_equal(restored(counted(prior, tally)), restored(prior))
    assert total(tally) == expected

"""The excerpts that the benchmark times are whole solver steps, with and without projection."""

import jax
import pytest

from experiments.speed.bench_latent import EXCERPTS, PROJECTIONS, step_milliseconds
from support.golden_case import tiny_latent_prior


@pytest.mark.parametrize("solver", EXCERPTS)
def test_a_step_of_every_solver_is_timed(solver):
    shapes = []

    def measure(calls):
        shapes.extend(jax.eval_shape(*call).shape for call in calls.values())
        return dict.fromkeys(calls, 60.0)

    found = step_milliseconds(solver, tiny_latent_prior(), 32, measure)
    steps = EXCERPTS[solver].last - EXCERPTS[solver].first
    assert found == dict.fromkeys(PROJECTIONS, 60.0 / steps)
    assert set(shapes) == {(32, 32, 3)}

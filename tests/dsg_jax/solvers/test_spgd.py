"""SPGD against trajectories of the reference code, and on Gaussian priors."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.operators.linear import identity
from dsg_jax.plug_ins import smoothing
from dsg_jax.sample import sample
from dsg_jax.solvers.spgd import SPGDSettings, spgd, spgd_steps
from dsg_jax.types import Problem, Projection
from support.gaussian_prior import gaussian_prior
from support.golden_case import (
    GOLDEN,
    assert_close,
    check_trajectory,
    hwc,
    load,
    problem_of,
    projection_of,
    replay,
    tiny_prior,
)

CASES = sorted(p.stem for p in (GOLDEN / "trajectories_new").glob("spgd*.json"))
SHAPE = (8, 8, 1)
prior = lru_cache(tiny_prior)


@pytest.mark.parametrize("case", CASES)
def test_golden_trajectory(case):
    manifest, arrays = load(f"trajectories_new/{case}")
    config = manifest["config"]
    steps = spgd_steps(levels=config["annealing"]["num_steps"], lr=config["config"]["lr"])
    assert_close("lr", steps.rate, arrays["lr"], manifest)
    problem = problem_of(manifest, arrays, hwc(arrays["x_init"]).shape)
    settings = SPGDSettings(steps=steps, inner_steps=config["config"]["num_steps"])
    projection = projection_of(manifest)
    if "smoothed" not in case:
        solver = spgd(prior(), problem, projection, settings)
        check_trajectory(manifest, arrays, *replay(solver, arrays))
        return
    smoothed = smoothing(config["config"]["beta"])
    plug_ins = (projection, smoothed) if projection else smoothed
    last, states, info = replay(spgd(prior(), problem, plug_ins, settings), arrays)
    assert_close("states", states, hwc(arrays["states"]), manifest)
    assert_close("final", last, hwc(arrays["final"]), manifest)
    assert np.array_equal(info.rank, arrays.get("ranks", np.full((len(states), 3), 32)))
    assert ((info.share > 0) & (info.share != 1)).all()


def restored(levels: int, lr: float, projection: Projection | None = None):
    """A Gaussian prior N(0.2, 0.5^2) and a measurement of 0.4 everywhere: (image, start, info)."""
    problem = Problem(identity(), jnp.full(SHAPE, 0.4), 0.05)
    settings = SPGDSettings(steps=spgd_steps(levels=levels, lr=lr), inner_steps=4)
    solver = spgd(gaussian_prior(0.2, 0.5), problem, projection, settings)
    image, info = jax.jit(lambda key: sample(key, solver, SHAPE))(jax.random.key(0))
    noise = jax.random.normal(jax.random.split(jax.random.key(0))[0], SHAPE)
    return np.asarray(image), np.asarray(noise), info


def test_without_guidance_it_is_the_probability_flow():
    """Of N(m, s^2) the flow takes m + sqrt(s^2 + sigma^2) z from one sigma to the next."""
    image, noise, info = restored(400, lr=0.0)
    exact = 0.2 + 0.5 * (100 * noise - 0.2) / np.sqrt(0.5**2 + 100**2)
    assert np.abs(image - exact).max() < 0.05
    assert (info.inner_steps == 4).all() and (info.share == 1).all()


def test_guidance_pulls_the_sample_to_the_measurement_where_it_is_projected_to():
    free, plain = (restored(20, lr) for lr in (0.0, 0.5))
    assert plain[2].misfit[-1] < 0.4 * free[2].misfit[-1]
    never = restored(20, 0.5, Projection(0.5, period=0))
    np.testing.assert_array_equal(plain[0], never[0])
    _, _, info = restored(20, 0.5, Projection(1, period=3, rule="rank"))
    assert (info.rank == 1).all() and (info.share < 1).all()

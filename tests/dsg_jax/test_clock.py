"""Clocks: levels and times of every family, and one Gaussian prior in all parametrisations."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.clock import adm_clock, clock_of, edm_clock, flow_clock, table_clock
from dsg_jax.diffusion import denoise, predict, velocity
from dsg_jax.operators.linear import inpainting
from dsg_jax.priors.clocks import clock_entry, clock_of_card
from dsg_jax.sample import sample
from dsg_jax.schedule import (
    cosine_betas,
    linear_betas,
    scaled_linear_betas,
    sigmoid_betas,
    vp_betas,
)
from dsg_jax.solvers import SOLVERS, settings_for
from dsg_jax.times import consistency_time, nearest_time, ve_time
from dsg_jax.types import Problem
from support.gaussian_prior import native_gaussian
from support.linear_stage import LATENT, linear_prior

RANGE = 0.001, 80.0
BETAS = vp_betas(*RANGE)
# One range of levels and one grid of VP times, so that all of them ask the same of their networks.
CLOCKS = {
    "eps": table_clock(BETAS),
    "v": table_clock(BETAS, "v"),
    "x0": table_clock(BETAS, "x0"),
    "edm": edm_clock(*RANGE),
    "ve": edm_clock(*RANGE, "ve", times=ve_time),
    "flow": flow_clock(*RANGE),
}
QUICK = {
    "dps": {"steps": 6},
    "daps": {"levels": 3, "inner_steps": 3},
    "psld": {"steps": 6},
    "resample": {"steps": 20, "pixel_limit": 3, "latent_limit": 3},
    "latent-dps": {"steps": 6},
    "latent-daps": {"levels": 3, "inner_steps": 3},
    "fast-dips": {"levels": 3},
    "latent-fast-dips": {"levels": 3, "passes": 2, "corrections": 2},
    "flowdps": {"steps": 6, "step_size": 0.1},
    "flowchef": {"steps": 6, "step_size": 0.1},
    "pnpdm": {"levels": 3, "reverse_steps": 10},
    "sitcom": {"steps": 3, "inner_steps": 3},
    "pigdm": {"steps": 3},
    "diffpir": {"steps": 6},
    "red-diff": {"steps": 6},
    "spgd": {"levels": 3, "inner_steps": 3},
}


@pytest.mark.parametrize(
    "clock, ends, steps",
    [
        (adm_clock(), (0.01, 152.171), linear_betas()),
        (table_clock(linear_betas()), (0.0100005, 157.407), linear_betas()),
        (table_clock(scaled_linear_betas(0.00085, 0.012)), (0.0291672, 14.6147), None),
        (table_clock(cosine_betas()), (0.0064262, 20291.0), cosine_betas()),
        (table_clock(sigmoid_betas()), (0.0122159, 158.743), None),
        (edm_clock(), (0.002, 80.0), None),
        (flow_clock(), (0.001, 999.0), None),
    ],
    ids=["adm", "linear", "scaled linear", "cosine", "sigmoid", "edm", "flow"],
)
def test_clocks_know_their_range(clock, ends, steps):
    np.testing.assert_allclose((clock.sigma_min, clock.sigma_max), ends, rtol=2e-3)
    levels = np.asarray(jax.jit(jax.vmap(clock.sigma))(jnp.arange(1000.0)))
    assert (np.diff(levels) > 0).all()
    if clock.times is not adm_clock().times:  # its closed form is the continuous one
        np.testing.assert_allclose(levels[[0, -1]], ends, rtol=3e-3)
    if steps is not None:
        np.testing.assert_allclose(clock.betas, steps, rtol=1e-6)


def test_zero_terminal_signal_is_the_highest_level_below_it():
    betas = np.append(linear_betas(), 1.0)
    assert table_clock(betas).sigma_max == pytest.approx(157.407 * np.sqrt(1000), rel=1e-3)


def test_native_times():
    sigma = jnp.float32(2.0)
    assert float(edm_clock().time(sigma)) == pytest.approx(np.log(2) / 4)
    assert float(edm_clock(times=consistency_time).time(80.0)) == pytest.approx(1095.5, abs=0.05)
    assert float(edm_clock(0.02, 100, "ve", times=ve_time).time(sigma)) == 0
    assert float(flow_clock().time(jnp.float32(1.0))) == 500
    nearest = table_clock(cosine_betas(), times=nearest_time)
    for t in (0.0, 31.0, 999.0):
        assert float(nearest.time(1.001 * nearest.sigma(t))) == t
    assert float(nearest.time(jnp.float32(0.0))) == -1


def test_variances_have_the_clock_of_their_prior():
    assert clock_of(np.float32(linear_betas())).times is adm_clock().times
    assert clock_of(scaled_linear_betas()).sigma_max == pytest.approx(83.82, rel=1e-3)
    assert clock_of(clock := flow_clock()) is clock


@pytest.mark.parametrize(
    "card, clock",
    [
        ({"parametrisation": "v", "betas": "linear 1e-4 to 0.02"}, adm_clock("v")),
        (
            {"parametrisation": "eps", "betas": {"start": 0.00085, "end": 0.012}},
            table_clock(scaled_linear_betas(0.00085, 0.012)),
        ),
        (
            {"parametrisation": "x0", "clock": {"kind": "table", "schedule": "cosine"}},
            table_clock(cosine_betas(), "x0"),
        ),
        (
            {"parametrisation": "eps", "clock": {"kind": "table", "betas": [0.1, 0.2]}},
            table_clock([0.1, 0.2]),
        ),
        (
            {"parametrisation": "edm", "clock": {"kind": "edm", "times": "consistency"}},
            edm_clock(times=consistency_time),
        ),
        (
            {"parametrisation": "flow", "clock": {"kind": "flow", "sigma_max": 99}},
            flow_clock(1e-3, 99.0),
        ),
    ],
)
def test_cards_say_the_clock_or_mean_what_they_meant_without(card, clock):
    for described in (card, {"clock": clock_entry(card)} | card):
        loaded = clock_of_card(described)
        chex.assert_trees_all_equal(loaded, clock)
        assert jax.tree.structure(loaded) == jax.tree.structure(clock)


@pytest.mark.parametrize("name", CLOCKS)
def test_every_parametrisation_answers_all_questions(name):
    """D = (std^2 y + sigma^2 mean) / (std^2 + sigma^2), e = (y - D) / sigma and v = e - D."""
    prior, y = native_gaussian(CLOCKS[name]), jnp.linspace(-2, 2, 64).reshape(8, 8, 1)

    @jax.jit
    def answers(t):
        sigma = prior.clock.sigma(t)
        eps, _ = predict(prior, y / jnp.sqrt(1 + sigma**2), t)
        v = velocity(prior, y / (1 + sigma), sigma / (1 + sigma))
        return sigma, denoise(prior, y, sigma), eps, v

    for t in (5.0, 300.5, 990.0):
        sigma, x0, eps, v = answers(t)
        exact = (0.09 * y + sigma**2 * 0.1) / (0.09 + sigma**2)
        np.testing.assert_allclose(x0, exact, atol=1e-4)
        np.testing.assert_allclose(eps, (y - exact) / sigma, atol=1e-4)
        np.testing.assert_allclose(v, (y - exact) / sigma - exact, atol=1e-3)
    np.testing.assert_allclose(velocity(prior, y, jnp.float32(1)), y - 0.1, atol=3e-3)


def restored(solver: str, name: str):
    stage = None if SOLVERS[solver].prior == "pixel" else linear_prior().first_stage
    prior = native_gaussian(CLOCKS[name], stage=stage)
    shape = LATENT if stage else (8, 8, 1)
    problem = Problem(inpainting(np.eye(8)), 0.3 * jnp.eye(8)[..., None], 0.05)
    settings = settings_for(solver, "inpainting", prior, **QUICK[solver])
    built = SOLVERS[solver].solve(prior, problem, None, settings)
    return jax.jit(lambda key: sample(key, built, shape)[0])(jax.random.key(0))


@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers_sample_the_same_in_all_parametrisations(solver):
    reference = np.asarray(restored(solver, "eps"))
    assert np.isfinite(reference).all() and reference.std() > 1e-3
    for name in ("v", "x0", "edm", "flow"):
        image = restored(solver, name)
        np.testing.assert_allclose(
            image, reference, atol=1e-3 * np.abs(reference).max(), err_msg=name
        )

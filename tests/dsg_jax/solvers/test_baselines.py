"""SITCOM, DiffPIR, RED-diff and PiGDM against trajectories of the reference code; their maths."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.operators.linear import gaussian_blur, identity, inpainting, super_resolution
from dsg_jax.sample import run, sample
from dsg_jax.schedule import linear_betas
from dsg_jax.solvers.diffpir import DiffPIRSettings, diffpir, diffpir_steps
from dsg_jax.solvers.guidance import regularised
from dsg_jax.solvers.pigdm import PiGDMSettings, pigdm, pigdm_steps
from dsg_jax.solvers.red_diff import REDDiffSettings, red_diff, red_diff_steps
from dsg_jax.solvers.sitcom import SITCOMSettings, SITCOMState, sitcom, sitcom_steps
from dsg_jax.types import Problem
from support.gaussian_prior import gaussian_prior
from support.golden_case import (
    GOLDEN,
    check_trajectory,
    hwc,
    load,
    pattern_draw,
    problem_of,
    projection_of,
    replay,
    tiny_prior,
)

prior = lru_cache(tiny_prior)


def cases(solver: str) -> list[str]:
    return sorted(p.stem for p in (GOLDEN / "trajectories_new").glob(f"{solver}_*.json"))


def golden(case: str) -> tuple[dict, dict, tuple]:
    """Manifest, arrays, and what every solver takes before its settings."""
    manifest, arrays = load(f"trajectories_new/{case}")
    problem = problem_of(manifest, arrays, hwc(arrays["x_init"]).shape)
    return manifest, arrays, (prior(), problem, projection_of(manifest))


@pytest.mark.parametrize("case", cases("sitcom"))
def test_sitcom_trajectory(case):
    manifest, arrays, posed = golden(case)
    config = manifest["config"]
    settings = SITCOMSettings(
        steps=sitcom_steps(linear_betas(), config["n_step"]),
        learning_rate=config["learning_rate"],
        noise_level=config.get("noiselevel"),
        pixel_step=config.get("extra_pixel_step_scale", 0.0),
        script="noise" if config["variant"] == "noise script" else "noise_free",
        inner_steps=config["num_steps"],
    )
    solver, start = sitcom(*posed, settings), jnp.asarray(hwc(arrays["x_init"]))
    record = lambda state, info: (state.x, info)
    replayed = jax.jit(lambda x: run(pattern_draw, solver, SITCOMState(x, x), record=record))
    last, (states, info) = replayed(start)
    check_trajectory(manifest, arrays, solver.image(last), states, info)
    updates = arrays["losses"] >= config.get("stop_below", 0)  # -1 where none was
    assert np.array_equal(info.inner_steps, updates.sum(1))


@pytest.mark.parametrize("case", cases("pigdm"))
def test_pigdm_trajectory(case):
    manifest, arrays, posed = golden(case)
    config = manifest["config"]
    steps = pigdm_steps(config["scheduler"]["num_steps"])
    np.testing.assert_allclose(steps.sigma_next, arrays["sigma_steps"][1:], rtol=1e-6)
    settings = PiGDMSettings(steps=steps, eta=config["eta"], noisy=config["noisy"])
    check_trajectory(manifest, arrays, *replay(pigdm(*posed, settings), arrays))


@pytest.mark.parametrize("case", cases("diffpir"))
def test_diffpir_trajectory(case):
    manifest, arrays, posed = golden(case)
    config = manifest["config"]
    steps = diffpir_steps(config["scheduler"]["num_steps"])
    np.testing.assert_allclose(steps.sigma_next, arrays["sigma_steps"][1:], rtol=1e-6)
    np.testing.assert_allclose(steps.scale, arrays["scaling_steps"][:-1], rtol=1e-6)
    weight = config["lamb"] * config["sigma_n"] ** 2
    settings = DiffPIRSettings(steps=steps, prior_weight=weight, xi=config["xi"])
    check_trajectory(manifest, arrays, *replay(diffpir(*posed, settings), arrays))


@pytest.mark.parametrize("case", cases("reddiff"))
def test_red_diff_trajectory(case):
    manifest, arrays, posed = golden(case)
    config = manifest["config"]
    settings = REDDiffSettings(
        steps=red_diff_steps(config["num_steps"]),
        learning_rate=config["base_lr"],
        observation_weight=config["observation_weight"],
        regularisation=config["base_lambda"],
        schedule=config["lambda_scheduling_type"],
        scaling="twice",
    )
    solver = red_diff(*posed, settings)
    start = solver.init(jnp.asarray(hwc(arrays["x_init"])))
    record = lambda state, info: (state.mu, info)
    replayed = jax.jit(lambda state: run(pattern_draw, solver, state, record=record))
    last, (states, info) = replayed(start)
    check_trajectory(manifest, arrays, solver.image(last), states, info)


@pytest.mark.parametrize(
    "operator",
    [inpainting(np.eye(8)), super_resolution((8, 8, 1), 2), gaussian_blur((8, 8, 1), 5, 1.0)],
)
def test_a_ridge_regression_by_conjugate_gradients_is_the_dense_one(operator):
    columns = jax.vmap(operator.forward, -1, -1)(jnp.eye(64).reshape(8, 8, 1, 64))
    a = np.asarray(columns, np.float64).reshape(-1, 64)
    y = np.asarray(jax.random.normal(jax.random.key(0), columns.shape[:-1]))
    for weight in (0.0025, 25.0):
        exact = a.T @ np.linalg.solve(a @ a.T + weight * np.eye(len(a)), y.ravel())
        ours = jax.jit(regularised)(operator, jnp.asarray(y), weight)
        np.testing.assert_allclose(np.ravel(ours), exact, atol=1e-5 * np.abs(exact).max())


def test_sitcom_stops_every_sample_by_the_noise_of_its_own():
    """At x0_hat below the noise nothing is updated; who stopped waits for the others, unchanged."""
    operator = identity()
    y = jnp.full((8, 8, 1), 0.4)
    settings = SITCOMSettings(steps=sitcom_steps(linear_betas(), 4), learning_rate=0.1)

    @jax.jit
    def restore(sigma):
        solver = sitcom(gaussian_prior(), Problem(operator, y, sigma), None, settings)
        return sample(jax.random.key(0), solver, y.shape)

    sigmas = jnp.asarray([0.05, 0.3, 9.0])
    images, info = jax.vmap(restore)(sigmas)
    assert (info.inner_steps[1:] < 30).all() and (info.inner_steps[2] == 0).all()
    assert (info.misfit < 8 * (sigmas + 0.001)[:, None])[1:].all()
    alone, told = restore(sigmas[1])
    assert np.array_equal(told.inner_steps, info.inner_steps[1])
    np.testing.assert_allclose(alone, images[1], atol=1e-5)


@pytest.mark.parametrize("solve, settings", [
    (diffpir, DiffPIRSettings(steps=diffpir_steps(100), prior_weight=1e-7, data_step="exact")),
    (red_diff, REDDiffSettings(steps=red_diff_steps(300), observation_weight=0.0)),
], ids=["diffpir", "red-diff"])  # fmt: skip
def test_only_one_side_is_believed(solve, settings):
    """DiffPIR with hardly any prior explains y; RED-diff with no measurement finds the mean."""
    problem = Problem(super_resolution((8, 8, 1), 2), jnp.full((4, 4, 1), -0.2), 0.0)
    solver = solve(gaussian_prior(0.5, 0.1), problem, None, settings)
    image, _ = jax.jit(lambda key: sample(key, solver, (8, 8, 1)))(jax.random.key(0))
    seen = problem.operator.forward(image)
    np.testing.assert_allclose(seen.mean(), -0.2 if solve is diffpir else 0.5, atol=0.03)

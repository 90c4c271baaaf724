"""DPS and DAPS against whole trajectories of the reference code, replayed draw by draw."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.priors import load_prior
from dsg_jax.schedule import daps_annealing, daps_ode_grid, linear_betas
from dsg_jax.solvers.daps import DAPSSettings, daps, daps_steps, ode
from dsg_jax.solvers.dps import DPSSettings, dps, dps_steps
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
from support.golden_models import golden_folder

TRAJECTORIES = sorted(p.stem for p in (GOLDEN / "trajectories").glob("*.json"))
DPS_CASES = [c for c in TRAJECTORIES if c.startswith("dps") and "adm" not in c]
DAPS_CASES = [c for c in TRAJECTORIES if c.startswith("daps")]

prior = lru_cache(tiny_prior)


def dps_of(prior, manifest: dict, arrays: dict):
    config = manifest["config"]
    steps = dps_steps(linear_betas(), config["timestep_map"])
    problem = problem_of(manifest, arrays, hwc(arrays["x_init"]).shape)
    settings = DPSSettings(steps=steps, scale=config["scale"])
    return dps(prior, problem, projection_of(manifest), settings)


@pytest.mark.parametrize("case", DPS_CASES)
def test_dps_trajectory(case):
    manifest, arrays = load(f"trajectories/{case}")
    last, states, info = replay(dps_of(prior(), manifest, arrays), arrays)
    check_trajectory(manifest, arrays, last, states, info)
    assert_close("norms", info.misfit, arrays["norms"], manifest)


@pytest.mark.parametrize("case", DAPS_CASES)
def test_daps_trajectory(case):
    manifest, arrays = load(f"trajectories/{case}")
    config = manifest["config"]
    inner = config["inner"]
    steps = daps_steps(
        variant=config["variant"],
        levels=config["annealing"]["num_steps"],
        ode_steps=config["ode"]["num_steps"],
        lr=inner["lr"],
        lr_min_ratio=inner["lr_min_ratio"],
    )
    assert_close("lr", steps.lr, arrays["lr"], manifest)
    hmc = {"inner": "hmc", "momentum": inner["momentum"]} if inner.get("mc_algo") == "hmc" else {}
    solver = daps(
        prior(),
        problem_of(manifest, arrays, hwc(arrays["x_init"]).shape),
        projection_of(manifest),
        DAPSSettings(
            steps=steps,
            variant=config["variant"],
            inner_steps=inner["num_steps"],
            tau_y=inner["tau"],
            **hmc,
        ),
    )
    check_trajectory(manifest, arrays, *replay(solver, arrays))
    for level, expected in enumerate(hwc(arrays["x0hat_0_1"])):
        x = hwc(arrays["x_init"]) if level == 0 else hwc(arrays["states"])[0]
        at = jax.tree.map(lambda a, i=level: jnp.asarray(a[i]), steps)
        value = ode(prior(), jnp.asarray(x), at)
        assert np.max(np.abs(value - expected)) <= manifest["tolerance"]["atol"]["x0hat_0_1"]


@pytest.mark.slow
def test_dps_with_the_adm_network_end_to_end():
    manifest, arrays = load("trajectories/dps_adm_end_to_end")
    solver = dps_of(load_prior(golden_folder("adm-ffhq"))[0], manifest, arrays)
    check_trajectory(manifest, arrays, *replay(solver, arrays))


@pytest.mark.parametrize("respacing", ["full", "r100", "ddim50"])
def test_dps_schedule(respacing):
    _, arrays = load("schedules/dps")
    steps = dps_steps(linear_betas(), arrays[f"{respacing}_timestep_map"])
    low_noise_first = {name: np.asarray(value)[::-1] for name, value in steps._asdict().items()}
    names = {
        "log_beta_tilde": "posterior_log_variance_clipped",
        "log_beta": "log_beta_max",
    }
    if respacing == "full":
        names |= {
            "sqrt_recip": "sqrt_recip_alphas_cumprod",
            "sqrt_recipm1": "sqrt_recipm1_alphas_cumprod",
            "mean_x0": "posterior_mean_coef1",
            "mean_x": "posterior_mean_coef2",
        }
    for ours, theirs in names.items():
        np.testing.assert_allclose(
            low_noise_first[ours], arrays[f"{respacing}_{theirs}"], rtol=2e-6, atol=1e-12
        )
    assert np.array_equal(low_noise_first["time"], arrays[f"{respacing}_timestep_map"])
    assert np.array_equal(steps.step, np.arange(len(steps.step)))


@pytest.mark.parametrize("variant", ["legacy", "main"])
def test_daps_schedule(variant):
    manifest, arrays = load(f"schedules/daps_{variant}")
    for group in ("pixel", "latent") if variant == "main" else ("pixel",):
        config = manifest["config"][group]
        levels, high, low = config["annealing"]
        sigma = daps_annealing(variant, levels, high, low)
        np.testing.assert_allclose(sigma, arrays[f"{group}_sigma"], rtol=1e-6)
        grid = daps_ode_grid(variant, sigma[:-1], *config["ode"])
        np.testing.assert_allclose(grid, arrays[f"{group}_ode_grid"], rtol=2e-6)

"""From a Lightning checkpoint to a restored image: the reference's runs through one file.

PSLD samples with the averaged weights and ReSample with those being trained, as published.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.priors import load_prior
from dsg_jax.sample import run
from dsg_jax.schedule import scaled_linear_betas
from dsg_jax.solvers.ddim import ddim_steps
from dsg_jax.solvers.psld import PSLDSettings, psld
from dsg_jax.solvers.resample import LATENT, PIXEL, resample
from dsg_jax.solvers.resample.stages import ReSampleSettings
from dsg_jax.solvers.resample.steps import resample_steps
from dsg_jax.types import Prior
from support.golden_case import assert_close, hwc, load, pattern_draws, problem_of
from support.golden_models import lightning_folder

IMAGE = (32, 32, 3)
BETAS = scaled_linear_betas()


def prior(weights: str) -> Prior:
    return load_prior(lightning_folder() / weights)[0]


def trajectory(solver, draw, z):
    record = lambda state, info: (state, info)
    last, (states, info) = run(draw, solver, z, record=record)
    return states, info, solver.image(last)


@jax.jit
def psld_run(prior, problem, settings, draw, z):
    return trajectory(psld(prior, problem, None, settings), draw, z)


@pytest.mark.slow
def test_psld_with_averaged_weights():
    manifest, arrays = load("trajectories/psld_checkpoint_end_to_end")
    config = manifest["config"]
    steps = ddim_steps(BETAS, config["S"], eta=config["eta"])
    assert np.array_equal(steps.time, arrays["steps_time_index"][:, 0])
    states, info, image = psld_run(
        prior("ema"),
        problem_of(manifest, arrays, IMAGE),
        PSLDSettings(steps=steps, gamma=config["gamma"], omega=config["omega"]),
        pattern_draws(manifest["draws_total"], 192),
        jnp.asarray(hwc(arrays["x_init"])),
    )
    assert_close("states", states, hwc(arrays["states"]), manifest)
    assert_close("final_latent", states[-1], hwc(arrays["final_latent"]), manifest)
    assert_close("final_image", image, hwc(arrays["final_image"]), manifest)
    assert info.finite.all()


@jax.jit
def resample_run(prior, problem, settings, draw, z):
    solver = resample(prior, problem, None, settings)

    def step(draw, z, at):  # a constant here, for XLA to drop the stages that are not entered
        return solver.step(draw, z, at._replace(stage=np.int32(0)))

    return trajectory(solver._replace(step=step), draw, z)


@pytest.mark.slow
def test_resample_with_raw_weights():
    manifest, arrays = load("trajectories/resample_checkpoint_end_to_end")
    config = manifest["config"]
    steps = resample_steps(BETAS, config["S"])
    assert np.array_equal(steps.ddim.time[::-1], arrays["ddim_timesteps"])
    assert not steps.stage.any()
    stop = {"eps_stop": config["eps_stop"]}
    pixel = PIXEL._replace(lr=config["pixel_lr"], limit=config["max_iters_pixel"], **stop)
    latent = LATENT._replace(lr=config["latent_lr"], limit=config["max_iters_latent"], **stop)
    states, info, image = resample_run(
        prior("raw"),
        problem_of(manifest, arrays, IMAGE),
        ReSampleSettings(steps=steps, pixel=pixel, latent=latent, project_pixel=True),
        pattern_draws(manifest["draws_total"], 192),
        jnp.asarray(hwc(arrays["x_init"])),
    )
    assert_close("states", states, hwc(arrays["states"]), manifest)
    assert_close("dps_norms", info.misfit, arrays["dps_norms"], manifest)
    assert_close("final_image", image, hwc(arrays["final_image"]), manifest)
    assert info.finite.all() and not info.inner_steps.any()

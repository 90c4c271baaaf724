"""PnP-DM against whole trajectories of both released codes, and against a known posterior."""

from functools import lru_cache

import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.operators.spectral import block_average, circular_blur
from dsg_jax.solvers.pnpdm import PnPDMSettings, pnpdm, pnpdm_steps
from dsg_jax.solvers.reverse import inversebench_grid, public_grid
from dsg_jax.types import Problem
from support.golden_case import (
    GOLDEN,
    check_trajectory,
    hwc,
    load,
    problem_of,
    projection_of,
    replay,
    tiny_prior,
)

CASES = sorted(p.stem for p in (GOLDEN / "trajectories_new").glob("pnpdm_*.json"))

prior = lru_cache(tiny_prior)


def settings_of(config: dict) -> PnPDMSettings:
    """The manifest's constants."""
    chain = config.get("langevin", {})
    common = {
        "lr": chain.get("lr", chain.get("gamma", 1.0)),
        "tau_y": chain.get("tau", config["sigma"]),
        "inner_steps": chain.get("num_steps", chain.get("num_iters", 1)),
        "likelihood": "langevin" if chain else "auto",
        "project_coupling": "whole" in config.get("projection", {}).get("projected", ""),
    }
    if config["variant"] == "public":
        ends = tuple(reversed(config["net_sigma_range"]))
        grid = public_grid(config["mode"], config["num_steps"], ends)
        names = "num_iters", "rho", "rho_min", "rho_decay_rate"
        annealing = config
    else:
        grid = inversebench_grid(config["reverse_sde"]["num_steps"], (100.0, 0.01))
        annealing, names = config["annealing"], ("num_steps", "sigma_max", "sigma_min", "rho")
    levels, rho_max, rho_min, decay = (annealing[name] for name in names)
    steps = pnpdm_steps(
        config["variant"], grid, levels=levels, rho_max=rho_max, rho_min=rho_min, decay=decay
    )
    return PnPDMSettings(steps=steps, grid=grid, **common)


def measured(manifest: dict, arrays: dict, shape) -> Problem:
    """The problem; the operators of the exact step are in PnP-DM's cases alone."""
    name, sigma = manifest["config"]["operator"]["name"], manifest["config"]["sigma"]
    if name == "blur_circular":  # convolved one pixel off the kernel's centre
        kernel = np.pad(arrays["kernel"][::-1, ::-1], ((2, 0), (2, 0)))
        return Problem(circular_blur(shape, kernel), jnp.asarray(hwc(arrays["y"])), sigma)
    if name == "block_average":
        y = hwc(arrays["y"].reshape(1, shape[2], shape[0] // 4, shape[1] // 4))
        return Problem(block_average(shape, 4), jnp.asarray(y), sigma)
    return problem_of(manifest, arrays, shape)


def in_coordinates(solver, basis: np.ndarray):
    """The solver, whose noise of z is that of the basis' coordinates, in the reference's order.

    First the coordinate along the means of all blocks, then the others, block by block.
    """

    def step(draw, x, at):
        def turned(k, shape):
            h, w, c = shape
            flat = jnp.moveaxis(draw(k, shape), -1, 0).ravel()
            first, others = jnp.split(flat, [flat.size // 16])
            blocks = jnp.column_stack([first, others.reshape(-1, 15)]) @ basis.T
            image = blocks.reshape(c, h // 4, w // 4, 4, 4).transpose(1, 3, 2, 4, 0).reshape(shape)
            return jnp.where(k == at.level + at.draws, image, draw(k, shape))

        return solver.step(turned, x, at)

    return solver._replace(step=step)


@pytest.mark.parametrize("case", CASES)
def test_trajectory(case):
    manifest, arrays = load(f"trajectories_new/{case}")
    settings = settings_of(manifest["config"])
    problem = measured(manifest, arrays, hwc(arrays["x_init"]).shape)
    projection = projection_of(manifest)
    solver = pnpdm(prior(), problem, projection, settings)
    if "V_small" in arrays:
        solver = in_coordinates(solver, arrays["V_small"])
    levels = arrays.get("sigma_steps", arrays.get("sde_sigmas"))
    np.testing.assert_allclose(settings.grid.sigma, levels[:-1], rtol=1e-5)
    first = arrays.get("i_start", len(levels) - 1 - arrays.get("sde_steps", 0))
    np.testing.assert_array_equal(settings.steps.first, first)
    check_trajectory(manifest, arrays, *replay(solver, arrays))

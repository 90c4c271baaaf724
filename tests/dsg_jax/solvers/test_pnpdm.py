"""PnP-DM against whole trajectories of both released codes, and against a known posterior."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.operators.kernels import gaussian_kernel
from dsg_jax.operators.linear import identity, inpainting
from dsg_jax.operators.spectral import block_average, circular_blur, fourier_subsampling
from dsg_jax.sample import sample
from dsg_jax.solvers.pnpdm import PnPDMSettings, pnpdm, pnpdm_steps
from dsg_jax.solvers.reverse import inversebench_grid, public_grid, reverse
from dsg_jax.types import Problem
from support.gaussian_prior import gaussian_prior
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


MEAN, STD, SIGMA, RHO = 0.2, 0.7, 0.3, 0.6
SIDES = (16, 16, 2)
SAMPLED = {
    "identity": identity(),
    "mask": inpainting(np.indices(SIDES[:2]).sum(0) % 2),
    "circular blur": circular_blur(SIDES, gaussian_kernel(5, 0.8)),
    "block average": block_average(SIDES, 2),
    "fourier": fourier_subsampling(SIDES, np.arange(16)[None] % 3 + 0 * np.arange(16)[:, None] < 1),
}


@pytest.mark.parametrize("name", SAMPLED)
def test_exact_steps_sample_the_known_posterior(name):
    """Of N(MEAN, STD^2) pixels: at a constant coupling x has the likelihood's noise widened by it.

        x ~ N(x | MEAN, STD^2) N(y | A x, SIGMA^2 + RHO^2 A A')

    Its precision is a function of A'A, and so are mean and spread of the samples.
    """
    operator = SAMPLED[name]
    y = operator.forward(0.9 * jnp.ones(SIDES))
    grid = public_grid("edm_sde", 200, (20.0, 0.01), corrected=True)
    steps = pnpdm_steps("public", grid, levels=12, rho_max=RHO, rho_min=RHO)
    settings = PnPDMSettings(steps=steps, grid=grid)
    solver = pnpdm(gaussian_prior(MEAN, STD), Problem(operator, y, SIGMA), None, settings)
    keys = jax.random.split(jax.random.key(5), 64)
    samples = jax.jit(jax.vmap(lambda key: sample(key, solver, SIDES)[0]))(keys)

    variance = lambda e: 1 / (1 / STD**2 + e / (SIGMA**2 + RHO**2 * e))
    pull = operator.adjoint(y - operator.forward(jnp.full(SIDES, MEAN)))
    gain = lambda e: variance(e) / (SIGMA**2 + RHO**2 * e)
    mean = MEAN + operator.spectral(gain, pull)
    white = jax.vmap(lambda x: operator.spectral(lambda e: 1 / jnp.sqrt(variance(e)), x))
    whitened = np.asarray(white(samples - mean))  # independent N(0, 1), if all is right
    error = 1 / np.sqrt(whitened.size)  # of the mean; root 2 times as much of the variance
    assert abs(whitened.mean()) < 4 * error
    assert abs(whitened.var() - 1) < 4 * np.sqrt(2) * error


MODES = [name + ending for name in ("vp", "ve", "edm", "iddpm") for ending in ("_sde", "")]


@pytest.mark.parametrize("corrected", [False, True], ids=["released", "corrected"])
@pytest.mark.parametrize("mode", [*MODES, "inversebench"])
def test_the_prior_step_is_known_for_a_gaussian(mode, corrected):
    """The SDE draws from p(x | z), and the ODE keeps z's place in its distribution."""
    ends, points, sde = (100.0, 0.02), 900, "_sde" in mode or mode == "inversebench"
    grid = inversebench_grid if mode == "inversebench" else partial(public_grid, mode)
    table = grid(points, ends, corrected=corrected)
    first = int(np.sum(table.sigma > 1.0))
    sigma, shape, u = float(table.sigma[first]), (64, 64, 2), 1.3
    z = jnp.full(shape, MEAN + u * np.hypot(STD, sigma))
    draw = lambda k, shape: jax.random.normal(jax.random.fold_in(jax.random.key(0), k), shape)
    x = np.asarray(
        jax.jit(reverse, static_argnums=4)(
            gaussian_prior(MEAN, STD), table, z, first, draw, jnp.int32(0)
        )
    )
    whole = STD**2 + sigma**2
    mean = MEAN + u * (STD**2 / np.sqrt(whole) if sde else STD)
    std = STD * sigma / np.sqrt(whole) if sde else 0.0
    assert abs(x.mean() - mean) < 0.02 and abs(x.std() - std) < 0.02

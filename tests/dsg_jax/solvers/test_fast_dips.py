"""FAST-DIPS in pixels and on latents, against whole trajectories of the reference code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.diffusion import denoise
from dsg_jax.networks import autoencoder, layers
from dsg_jax.networks.autoencoder import VQ_F4, init_params
from dsg_jax.priors import load_prior
from dsg_jax.priors.first_stage import vq_first_stage
from dsg_jax.solvers.admm import ADMM, admm, pushforward
from dsg_jax.solvers.fast_dips import FastDIPSSettings, fast_dips, fast_dips_steps
from dsg_jax.solvers.inner import shared_subspace
from support.golden_case import (
    assert_close,
    check_trajectory,
    hwc,
    load,
    problem_of,
    projection_of,
    relative,
    replay,
    tiny_prior,
)


@pytest.mark.parametrize(
    "case", ["sr4", "inpaint", "hdr", "dsg_sr4_per_channel", "dsg_sr4_official_flat"]
)
def test_fast_dips_trajectory(case):
    manifest, arrays = load(f"trajectories_new/fast_dips_{case}")
    config, start = manifest["config"], hwc(arrays["x_init"])
    steps = fast_dips_steps(config["annealing"]["num_steps"])
    assert_close("sigma_steps", np.append(steps.sigma, 0), arrays["sigma_steps"], manifest)
    passes, corrections = config["K"], config["S"]
    loop = ADMM(
        rho=config["rho"],
        epsilon=config["epsilon"],
        passes=passes,
        corrections=corrections,
        line_search="difference",
    )
    prior, problem = tiny_prior(), problem_of(manifest, arrays, start.shape)
    projection = projection_of(manifest)
    solver = fast_dips(prior, problem, projection, FastDIPSSettings(steps=steps, loop=loop))
    last, states, info = replay(solver, arrays)
    check_trajectory(manifest, arrays, last, states, info)
    assert (info.inner_steps == (passes - 1) * corrections).all()

    @jax.jit
    def account(x, sigma):
        x0 = denoise(prior, x, sigma)
        space = shared_subspace(projection, None, 0, x0)
        forward = problem.operator.forward
        return admm(forward, problem.y, x0, sigma, loop, projection, space)

    before = [start, *hwc(arrays["states"])[:-1]]
    levels = [account(x, sigma) for x, sigma in zip(before, steps.sigma, strict=True)]
    unmoved = np.zeros((len(before), corrections))
    of_all = lambda name: np.hstack([unmoved, [getattr(level, name) for level in levels]])
    assert_close("alpha", of_all("step"), arrays["alpha"], manifest)
    if "halvings" in arrays:
        assert np.array_equal(of_all("halvings"), arrays["halvings"])


@pytest.mark.parametrize("epsilon, line_search", [(0.0, "difference"), (1.5, "exact")])
def test_the_loop_ends_at_the_nearest_image_that_explains_the_measurement(epsilon, line_search):
    """Of a mask m: x0 + (1 - epsilon / |m (y - x0)|) m (y - x0)."""
    x0, y, mask = jax.random.normal(jax.random.key(0), (3, 8, 8, 1))
    mask = mask > 0
    loop = ADMM(rho=4.0, epsilon=epsilon, passes=60, line_search=line_search)
    result = admm(lambda x: mask * x, mask * y, x0, 0.5, loop, None, None)
    change = mask * (y - x0)
    expected = x0 + (1 - epsilon / jnp.linalg.norm(change)) * change
    np.testing.assert_allclose(result.x, expected, atol=1e-3)
    inside = ADMM(epsilon=100.0, line_search=line_search)
    np.testing.assert_array_equal(admm(jnp.abs, y, x0, 0.5, inside, None, None).x, x0)


def test_a_step_that_ends_uphill_is_halved():
    """x^2 towards 1 from 0.1: the first step is for 2 - x0^2, by the slope 0.2."""
    x0 = jnp.full((1, 1, 1), 0.1)
    result = admm(jnp.square, jnp.ones_like(x0), x0, 1e3, ADMM(epsilon=0.0, passes=2), None, None)
    assert result.halvings.tolist() == [3]
    np.testing.assert_allclose(result.x, 0.1 + (1.99 - 0.01) / 0.2 / 8, rtol=1e-5)


def small_stage():
    config = VQ_F4._replace(channels=8, channel_mult=(1, 2), num_res_blocks=1, norm_groups=4)
    return vq_first_stage(init_params(config, jax.random.key(1)), config)


def bundled_stage():
    return load_prior("emoji-64-ldm")[0].first_stage


@pytest.mark.parametrize("stage", [small_stage, bundled_stage])
def test_a_product_with_the_jacobian_of_a_decoder(stage, monkeypatch):
    """As jax's forward mode makes it of the layers without gradients of their own."""
    decode = stage().decode
    z, g = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))

    @jax.jit
    def product(z, g):
        x, pullback = jax.vjp(decode, z)
        return pushforward(pullback, x, g)

    value = product(z, g)
    monkeypatch.setattr(layers, "conv_general_dilated", jax.lax.conv_general_dilated)
    monkeypatch.setattr(autoencoder, "attention", layers.attention.fun)
    _, expected = jax.jit(lambda z, g: jax.jvp(decode, (z,), (g,)))(z, g)
    assert relative(value, expected) < 1e-5

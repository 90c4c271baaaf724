"""FAST-DIPS in pixels and on latents, against whole trajectories of the reference code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.diffusion import denoise
from dsg_jax.networks import autoencoder, layers
from dsg_jax.plug_ins import begin
from dsg_jax.priors import load_prior
from dsg_jax.solvers.admm import ADMM, admm, pushforward
from dsg_jax.solvers.fast_dips import FastDIPSSettings, fast_dips, fast_dips_steps
from dsg_jax.solvers.latent_fast_dips import LatentFastDIPSSettings, latent_fast_dips
from support.golden_case import (
    assert_close,
    check_trajectory,
    hwc,
    load,
    problem_of,
    projection_of,
    relative,
    replay,
    tiny_latent_prior,
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
        space = begin(projection, None, 0, x0)
        forward = problem.operator.forward
        return admm(forward, problem.y, x0, sigma, loop, projection, space)

    before = [start, *hwc(arrays["states"])[:-1]]
    levels = [account(x, sigma) for x, sigma in zip(before, steps.sigma, strict=True)]
    unmoved = np.zeros((len(before), corrections))
    of_all = lambda name: np.hstack([unmoved, [getattr(level, name) for level in levels]])
    assert_close("alpha", of_all("step"), arrays["alpha"], manifest)
    if "halvings" in arrays:
        assert np.array_equal(of_all("halvings"), arrays["halvings"])


@pytest.mark.parametrize("case", ["sr4", "dsg_sr4_per_channel"])
def test_latent_fast_dips_trajectory(case):
    manifest, arrays = load(f"trajectories_new/latent_fast_dips_{case}")
    config = manifest["config"]
    loops = {
        branch: ADMM(
            rho=config[f"rho_{letter}"],
            epsilon=config["epsilon"],
            passes=config[f"K_{letter}"],
            corrections=config[f"S_{letter}"],
        )
        for branch, letter in (("pixel", "x"), ("latent", "z"))
    }
    settings = LatentFastDIPSSettings(
        steps=fast_dips_steps(config["annealing"]["num_steps"], 10.0),
        sigma_switch=config["sigma_switch"],
        time_map="adm",
        **loops,
    )
    problem, projection = problem_of(manifest, arrays, (32, 32, 3)), projection_of(manifest)
    solver = latent_fast_dips(tiny_latent_prior(), problem, projection, settings)
    last, states, info = replay(solver, arrays)
    if projection:  # of images of 32 pixels at the higher levels, of latents of 8 at the others
        full = np.where(settings.steps.sigma > config["sigma_switch"], 32, 8)[:, None]
        assert np.array_equal(info.rank, np.minimum(arrays.pop("ranks"), full))
        assert (info.share < 1).all()
        info = info._replace(share=np.ones_like(info.share))
    check_trajectory(manifest, arrays, last, states, info)


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


def two_layers(z):
    """The layers whose gradients are written out, one after the other."""
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 3))
    layout = ("NHWC", "HWIO", "NHWC")
    padding = ((1, 1), (1, 1))
    z = layers.conv_general_dilated(z[None], kernel, (1, 1), padding, dimension_numbers=layout)
    heads = z.reshape(1, -1, 1, 3)
    return autoencoder.attention(heads, jnp.sin(heads), heads)


def bundled_decoder(z):
    return load_prior("emoji-64-ldm")[0].first_stage.decode(z)


@pytest.mark.parametrize("function", [two_layers, bundled_decoder])
def test_a_product_with_the_jacobian(function, monkeypatch):
    """As jax's forward mode makes it of the layers without gradients of their own."""
    z, g = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))

    @jax.jit
    def product(z, g):
        x, pullback = jax.vjp(function, z)
        return pushforward(pullback, x, g)

    value = product(z, g)
    monkeypatch.setattr(layers, "conv_general_dilated", jax.lax.conv_general_dilated)
    monkeypatch.setattr(autoencoder, "attention", layers.attention.fun)
    _, expected = jax.jit(lambda z, g: jax.jvp(function, (z,), (g,)))(z, g)
    assert relative(value, expected) < 1e-5

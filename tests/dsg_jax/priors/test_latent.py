"""Guidance and parametrisation of latent diffusion networks, on a stand-in for the U-Net."""

import math
from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.diffusion import predict
from dsg_jax.networks.ldm import LDMConfig, LDMUNet, init_params
from dsg_jax.priors import load_prior
from dsg_jax.priors.latent import LDMNetwork, latent_prior, with_guidance, with_remat
from dsg_jax.schedule import scaled_linear_betas
from dsg_jax.types import FirstStage

SMALL = LDMConfig(8, (1,), 0, (), num_heads=2, num_head_channels=-1, context_dim=8, norm_groups=4)
Z, CONTEXT, FREE = np.random.RandomState(1).standard_normal((3, 7, 8)).astype(np.float32)
Z, T = Z[:4, :6].reshape(4, 2, 3), np.float32(400)
TOY = LDMNetwork(np.float32(0.5), SMALL)


def toy(context) -> jax.Array:
    return jnp.sin(0.5 * Z + context.mean() + 0.4)


@pytest.fixture
def passes(monkeypatch) -> list[int]:
    """Replaces the U-Net by a cheap function of all its inputs; the batch size of every call."""
    sizes = []

    def apply(network, variables, x, t, context=None):
        sizes.append(len(x))
        assert t.shape == (len(x),)
        mean = 0 if context is None else context.mean(axis=(1, 2))[:, None, None, None]
        return jnp.sin(variables["params"] * x + mean + t[:, None, None, None] / 1000)

    monkeypatch.setattr(LDMUNet, "apply", apply)
    return sizes


def test_guidance_is_its_formula(passes):
    guided = with_guidance(TOY, CONTEXT, FREE, scale=7.5)
    chex.assert_trees_all_close(
        guided(Z, T), toy(FREE) + 7.5 * (toy(CONTEXT) - toy(FREE)), rtol=1e-5, atol=1e-5
    )
    assert passes == [2]
    chex.assert_trees_all_close(
        jax.jit(lambda network: network(Z, T))(replace(guided, scale=jnp.float32(1))),
        toy(CONTEXT),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("pair", "used"),
    [
        ((CONTEXT,), CONTEXT),
        ((CONTEXT, FREE, 1.0), CONTEXT),
        ((CONTEXT, FREE, 0.0), FREE),
        ((CONTEXT, CONTEXT.copy(), 7.5), CONTEXT),
    ],
    ids=["no unconditional", "scale 1", "scale 0", "equal"],
)
def test_guidance_without_effect_is_one_pass(passes, pair, used):
    chex.assert_trees_all_close(with_guidance(TOY, *pair)(Z, T), toy(used), rtol=1e-5, atol=1e-5)
    assert passes == [1]


def test_velocity_parametrisation_is_converted_by_the_priors_own_schedule(passes):
    network = replace(TOY, config=SMALL._replace(context_dim=None))
    betas = scaled_linear_betas()
    prior = latent_prior(network, betas, FirstStage(jnp.tanh, lambda x, noise: x, 4), "v")
    alpha_bar = np.cumprod(1 - betas)[int(T)]
    v = np.sin(0.5 * Z + 0.4)
    expected = math.sqrt(alpha_bar) * v + math.sqrt(1 - alpha_bar) * Z
    chex.assert_trees_all_close(predict(prior, Z, T)[0], expected, rtol=1e-5, atol=1e-5)
    chex.assert_trees_all_close(prior.betas, betas.astype(np.float32))
    assert passes == [1]


def test_bad_conditioning_names_the_mend():
    key = jax.random.key(0)
    network = LDMNetwork(jax.eval_shape(partial(init_params, SMALL), key), SMALL)
    predict = lambda network: jax.eval_shape(lambda n: n(Z[:2], T), network)
    with pytest.raises(ValueError, match=r"no context.*needs \(batch, tokens, 8\)"):
        predict(network)
    with pytest.raises(ValueError, match=r"shape is \(7, 7\).*needs \(tokens, 8\)"):
        with_guidance(network, CONTEXT[:, 1:])
    with pytest.raises(ValueError, match=r"\(7, 8\) and unconditional \(1, 8\).*one shape"):
        with_guidance(network, CONTEXT, FREE[:1], 2.0)
    free = replace(network, config=SMALL._replace(context_dim=None))
    with pytest.raises(ValueError, match="takes no context"):
        with_guidance(free, CONTEXT)
    with pytest.raises(ValueError, match=r"shape \(1, 7, 8\).*takes none"):
        predict(replace(free, context=CONTEXT))
    with pytest.raises(ValueError, match="8 channels cannot be split into 3 heads"):
        jax.eval_shape(partial(init_params, SMALL._replace(num_heads=3)), key)
    with pytest.raises(ValueError, match="3x2 pixels.*multiples of 2"):
        jax.eval_shape(
            lambda n: n(Z[:3], T),
            replace(network, config=SMALL._replace(channel_mult=(1, 1)), context=CONTEXT),
        )


def test_remat_reaches_network_and_first_stage():
    prior, _ = load_prior("emoji-64-ldm")
    recomputing = with_remat(prior)
    chex.assert_trees_all_equal(jax.tree.leaves(prior), jax.tree.leaves(recomputing))
    z, x = jnp.zeros((16, 16, 3)), jnp.zeros((64, 64, 3))

    def count(candidate):
        chain = lambda z, x: (candidate.network(z, 3.0), candidate.first_stage.decode(z))
        encoded = jax.make_jaxpr(lambda x: candidate.first_stage.encode(x, None))(x)
        return str(jax.make_jaxpr(chain)(z, x)).count("remat2["), str(encoded).count("remat2[")

    assert count(prior) == (0, 0)
    assert min(count(recomputing)) > 0
    with pytest.raises(ValueError, match="over pixels"):
        with_remat(load_prior("emoji")[0])

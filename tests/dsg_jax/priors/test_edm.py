"""EDM's networks as priors: solvers ask them in their own scaling, with one and two channels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.clock import edm_clock
from dsg_jax.diffusion import denoise
from dsg_jax.networks.edm import EDMConfig
from dsg_jax.operators.linear import inpainting
from dsg_jax.priors import load_prior, save_folder
from dsg_jax.priors.edm import edm_prior
from dsg_jax.priors.kinds import structs_of
from dsg_jax.sample import sample
from dsg_jax.solvers import SOLVERS, settings_for
from dsg_jax.solvers.guidance import prior_for
from dsg_jax.types import Prior, Problem, Projection
from support.gaussian_prior import native_gaussian

QUICK = {"dps": {"steps": 6}, "daps": {"levels": 3, "inner_steps": 3}}


def tiny(channels: int, label_dim: int | None = None) -> EDMConfig:
    return EDMConfig("song", 8, 8, (1,), 0, (), channels, channels, label_dim)


def random_params(config: EDMConfig) -> dict:
    rng, structs = np.random.default_rng(0), structs_of("edm", {"unet": config})
    draw = lambda leaf: jnp.asarray(0.3 * rng.standard_normal(leaf.shape), jnp.float32)
    return jax.tree.map(draw, structs)


def flat_prior(channels: int) -> Prior:
    """A network that answers zero, so that the prior is N(0, sigma_data^2) whatever is inside."""
    config = tiny(channels)
    params = random_params(config)
    params["dec.8x8_aux_conv"] = jax.tree.map(jnp.zeros_like, params["dec.8x8_aux_conv"])
    return edm_prior(params, config, edm_clock())


def restored(prior: Prior, solver: str, projection: Projection | None, channels: int):
    shown = 0.3 * jnp.broadcast_to(jnp.eye(8)[..., None], (8, 8, channels))
    problem = Problem(inpainting(np.eye(8)), shown, 0.05)
    settings = settings_for(solver, "inpainting", prior, **QUICK[solver])
    built = SOLVERS[solver].solve(prior, problem, projection, settings)
    return jax.jit(lambda key: sample(key, built, (8, 8, channels)))(jax.random.key(0))


@pytest.mark.parametrize("guidance", ["plain", "projected"])
@pytest.mark.parametrize("solver, channels", [("dps", 1), ("daps", 2)])
def test_restorations_are_those_of_the_same_gaussian(solver, channels, guidance):
    projection = Projection(0.9, rule="per_channel") if guidance == "projected" else None
    image, info = restored(flat_prior(channels), solver, projection, channels)
    exact, _ = restored(native_gaussian(edm_clock(), 0.0, 0.5), solver, projection, channels)
    np.testing.assert_allclose(image, exact, atol=1e-3 * float(jnp.abs(exact).max()))
    assert bool(info.finite.all()) and image.shape == (8, 8, channels)


def test_labels_change_the_answer(tmp_path):
    """No label is that of zeros, as in the reference; a class is said to a folder or a problem."""
    config = tiny(1, label_dim=3)
    prior = lambda label: edm_prior(random_params(config), config, edm_clock(), label=label)
    ask = jax.jit(lambda prior: denoise(prior, jnp.ones((8, 8, 1)), jnp.float32(2)))
    without, zeros, one = (ask(prior(e)) for e in (None, jnp.zeros(3), jnp.eye(3)[1]))
    np.testing.assert_array_equal(without, zeros)
    assert float(jnp.abs(one - without).max()) > 1e-4
    card = {"parametrisation": "edm", "size": 8, "clock": {"kind": "edm"}}
    written = save_folder(tmp_path, "edm", random_params(config), {"unet": config}, card)
    assert written["classes"] == 3
    np.testing.assert_array_equal(ask(load_prior(tmp_path, condition=1)[0]), one)
    problem = Problem(None, None, 0.05, label=jnp.int32(1))
    np.testing.assert_array_equal(ask(prior_for(problem, load_prior(tmp_path)[0], 1.0)), one)

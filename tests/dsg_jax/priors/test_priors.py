"""Priors on disk, the bundled ones, and the velocity parametrisation."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.clock import adm_clock
from dsg_jax.diffusion import denoise
from dsg_jax.metrics import psnr
from dsg_jax.networks.adm import ADMConfig, ADMUNet
from dsg_jax.priors import BUNDLED, adm_prior, init_params, load_prior, save_prior
from dsg_jax.priors.samples import sample_images

SMALL = ADMConfig(
    model_channels=8,
    channel_mult=(1, 2),
    attention_factors=(2,),
    num_head_channels=8,
    resblock_updown=False,
    out_channels=3,
    patch=2,
    norm_groups=4,
)


def random_params() -> dict:
    shapes = jax.eval_shape(lambda: init_params(ADMUNet(SMALL)))
    leaves, structure = jax.tree.flatten(shapes)
    rng = np.random.default_rng(0)
    return jax.tree.unflatten(
        structure, [jnp.asarray(0.1 * rng.normal(size=leaf.shape), jnp.float32) for leaf in leaves]
    )


def test_a_prior_survives_the_disk_in_half_precision(tmp_path):
    params = random_params()
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), params)
    card = save_prior(tmp_path / "p", half, SMALL, {"parametrisation": "eps", "size": 16})
    assert card["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(params))
    prior, read = load_prior(tmp_path / "p")
    assert read == json.loads(json.dumps(card))
    x = jnp.asarray(np.random.default_rng(1).normal(size=(16, 16, 3)), jnp.float32)
    whole = adm_prior(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), half), SMALL)
    assert prior.network.config == SMALL
    predict = jax.jit(lambda network, x: network(x, 5.0))
    np.testing.assert_allclose(predict(prior.network, x), predict(whole.network, x), atol=1e-6)


def test_time_and_noise_level_are_inverse_to_each_other():
    sigma, clock = jnp.asarray([0.01, 0.1, 1.0, 10.0, 100.0]), adm_clock()
    time = clock.time(sigma)
    np.testing.assert_allclose(time, [0.915476, 26.96795, 258.7013, 675.3689, 956.1496], rtol=2e-6)
    np.testing.assert_allclose(1 / clock.alpha_bar(time), 1 + sigma**2, rtol=2e-4)


@pytest.mark.parametrize("sigma", [0.05, 1.0, 50.0])
def test_velocity_and_noise_describe_the_same_denoiser(sigma):
    """x0_hat = c x - s v, with x = c (x0 + sigma n)."""
    prior = adm_prior(random_params(), SMALL, parametrisation="v")
    x = sigma * jnp.asarray(np.random.default_rng(1).normal(size=(16, 16, 3)), jnp.float32)
    c = 1 / np.sqrt(1 + sigma**2)
    raw = adm_prior(prior.network.params, SMALL)
    v = jax.jit(lambda network, x, t: network(x, t))(raw.network, c * x, prior.clock.time(sigma))
    expected = c * (c * x) - sigma * c * v
    denoised = jax.jit(denoise)(prior, x, jnp.float32(sigma))
    np.testing.assert_allclose(denoised, expected, atol=3e-3)


@pytest.mark.parametrize(
    "change, message",
    [({"kind": "gan"}, "kind 'gan'"), ({"version": 9}, "version 9"), (None, "card.json")],
)
def test_a_card_that_is_not_understood_is_refused(tmp_path, change, message):
    card = {"parametrisation": "v", "size": 16}
    save_prior(tmp_path, random_params(), SMALL, card)
    file = tmp_path / "card.json"
    if change is None:
        file.unlink()
    else:
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_prior(tmp_path)


def test_an_unknown_architecture_is_refused(tmp_path):
    save_prior(tmp_path, random_params(), SMALL, {"parametrisation": "v", "size": 16})
    file = tmp_path / "card.json"
    card = json.loads(file.read_text())
    card["architecture"]["experts"] = 8
    file.write_text(json.dumps(card))
    with pytest.raises(ValueError, match="experts"):
        load_prior(tmp_path)


@pytest.mark.parametrize("name", ["emoji", "photo"])
def test_bundled_priors_denoise_held_out_images(name):
    """Every recorded error is far below that of the noisy image, and the files are small."""
    prior, card = load_prior(name)
    size = sum(f.stat().st_size for f in BUNDLED[name].rglob("*") if f.is_file())
    assert size <= 12e6
    errors = card["held_out_denoising_mse"]
    assert all(errors[str(s)] < 0.6 * s**2 for s in (0.1, 0.2, 0.5, 1.0))
    assert set(card["origin"]) >= {"images", "licence", "split"}
    state = jnp.zeros((card["size"], card["size"], 3))
    assert np.isfinite(jax.jit(lambda network, x: network(x, 100.0))(prior.network, state)).all()


def test_importing_the_library_is_light():
    """Neither torch nor matplotlib nor a test dependency comes with the import."""
    program = "import sys, dsg_jax; print({'torch', 'matplotlib', 'skimage'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_the_bundled_latent_prior_keeps_held_out_images():
    """Through its autoencoder, and back as well as the card says; small enough to ship."""
    prior, card = load_prior("emoji-64-ldm")
    folder = BUNDLED["emoji-64-ldm"]
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) <= 14e6
    assert set(card["held_out_reconstruction"]) >= {"psnr", "lpips", "perplexity"}
    errors = card["held_out_denoising_mse"]
    assert all(errors[str(s)] < 0.6 * s**2 for s in (0.2, 0.5, 1.0))
    _, images = sample_images(card["samples"], 4)
    stage = prior.first_stage
    through = jax.jit(
        lambda images: jax.lax.map(lambda x: stage.decode(stage.encode(x, None)), images)
    )
    quality = jax.vmap(psnr)(through(images), images)
    assert float(jnp.mean(quality)) > card["held_out_reconstruction"]["psnr"] - 2

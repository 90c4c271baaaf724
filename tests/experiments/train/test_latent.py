"""From images to a latent prior on disk: first stage, network on its latents, card."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from dsg_jax.networks.autoencoder import AutoencoderConfig
from dsg_jax.networks.ldm import LDMConfig
from dsg_jax.priors import init_latent_params, load_prior, save_latent_prior
from experiments.train import finish, first_stage, latent
from experiments.train.settings import (
    ExportLatentPriorSettings,
    TrainFirstStageSettings,
    TrainLatentPriorSettings,
)
from support.lpips_cases import small_weights

STAGE = AutoencoderConfig(
    channels=4, channel_mult=(1, 1), num_res_blocks=0, codes=16, norm_groups=2
)
UNET = LDMConfig(
    model_channels=8,
    channel_mult=(1,),
    num_res_blocks=1,
    attention_factors=(),
    num_head_channels=4,
    norm_groups=4,
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(first_stage.CONFIGS, "emoji", STAGE)
    monkeypatch.setitem(latent.CONFIGS, "emoji", UNET)
    monkeypatch.setattr(finish, "lpips_weights", small_weights)


def random_params(config) -> dict:
    shapes = jax.eval_shape(lambda: init_latent_params(*config))
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.1 * rng.normal(size=leaf.shape), jnp.float32), shapes
    )


@pytest.mark.parametrize("codes", [16, pytest.param(None, marks=pytest.mark.slow)])
def test_a_latent_prior_survives_the_disk(codes, tmp_path):
    """With embeddings to choose from, as a text-conditional model has them."""
    stage = STAGE._replace(codes=codes)
    unet = UNET._replace(num_head_channels=4, context_dim=6)
    embeddings = np.arange(60, dtype=np.float32).reshape(2, 5, 6)
    params = random_params((unet, stage)) | {"conditions": embeddings}
    betas = {"start": 0.00085, "end": 0.012, "steps": 1000}
    facts = {"parametrisation": "v", "size": 16, "latent_scale": 0.5, "betas": betas}
    facts |= {"conditions": {"names": ["", "a face"], "default": 0}}
    with pytest.raises(ValueError, match="the card lacks latent_scale"):
        save_latent_prior(
            tmp_path, params, unet, stage, {k: v for k, v in facts.items() if k != "latent_scale"}
        )
    save_latent_prior(tmp_path, params, unet, stage, facts)
    plain, _ = load_prior(tmp_path)
    np.testing.assert_array_equal(plain.network.context, embeddings[0])
    prior, card = load_prior(tmp_path, condition="a face", guidance_scale=3.0)
    assert (card["channels"], card["size_multiple"]) == (3, 2)
    assert prior.network.config == unet and prior.network.scale == 3
    chex.assert_trees_all_equal(prior.network.params, params["unet"])
    np.testing.assert_array_equal(prior.network.context, embeddings[1])
    np.testing.assert_array_equal(prior.network.unconditional, embeddings[0])
    np.testing.assert_allclose(prior.betas[jnp.array([0, -1])], [0.00085, 0.012], rtol=1e-6)
    assert float(prior.clock.alpha_bar(0.0)) == pytest.approx(1 - 0.00085, abs=1e-6)
    _, parameters, scale = prior.first_stage.encode.args
    chex.assert_trees_all_equal(parameters["encoder"], params["first_stage"]["encoder"])
    assert scale == 0.5 and prior.first_stage.factor == 2


@pytest.mark.slow
def test_images_become_a_prior(source, tmp_path, constant_rate):
    facts = {"name": "emoji", "source": source, "size": 32}
    training = facts | {"batch_size": 4, "save_every": 2}
    stage = TrainFirstStageSettings(**training, out=tmp_path / "stage", steps=2, lpips_weight=0)
    first_stage.plan_train_first_stage(stage)()
    for run, steps in (("whole", 4), ("parts", 2), ("parts", 4)):
        unet = {"first_stage": stage.out, "out": tmp_path / run, "steps": steps}
        latent.plan_train_latent_prior(TrainLatentPriorSettings(**training, **unet))()
    states = []
    for run in ("whole", "parts"):
        with ocp.CheckpointManager((tmp_path / run).absolute()) as manager:
            states.append(manager.restore(4, args=ocp.args.StandardRestore()))
    chex.assert_trees_all_equal(*states)
    out = tmp_path / "tiny-ldm"
    runs = {"first_stage": stage.out, "run": tmp_path / "whole"}
    finish.plan_export_latent_prior(ExportLatentPriorSettings(**facts, **runs, out=out))()
    prior, card = load_prior(out)
    assert card["samples"] == "emoji" and card["training"]["unet"]["steps"] == 4
    assert card["held_out_reconstruction"]["lpips"] > 0
    assert card == json.loads((out / "card.json").read_text())
    assert (out / "samples.png").is_file()
    z = jnp.asarray(np.random.default_rng(0).normal(size=(8, 8, 3)), jnp.float32)
    assert prior.first_stage.decode(z + 0.1 * prior.network(z, 500.0)).shape == (16, 16, 3)

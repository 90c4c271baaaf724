"""The trainer of first stages: resumable, keeps codes in use, logs what the first stage does."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from dsg_jax.metrics import psnr
from dsg_jax.networks.autoencoder import Autoencoder, AutoencoderConfig
from dsg_jax.priors.first_stage import CODES, vq_first_stage
from experiments.train import first_stage
from experiments.train.first_stage import (
    REVIVE_AFTER,
    Perception,
    first_stage_loss,
    held_out_quality,
    revived,
)
from experiments.train.loop import make_optimizer
from experiments.train.settings import TrainFirstStageSettings
from support.lpips_cases import small_weights

TINY = AutoencoderConfig(channels=4, channel_mult=(1, 1), num_res_blocks=0, codes=16, norm_groups=2)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(first_stage.CONFIGS, "emoji", TINY)
    monkeypatch.setattr(first_stage, "lpips_weights", small_weights)


def last_state(run):
    with ocp.CheckpointManager(run.absolute()) as manager:
        return manager.restore(manager.latest_step(), args=ocp.args.StandardRestore())


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(source, tmp_path, monkeypatch, constant_rate):
    monkeypatch.setattr(first_stage, "REVIVE_AFTER", 2)
    sizes = {"size": 16, "batch_size": 4, "save_every": 2, "lpips_weight": 0}
    for run, steps in (("whole", 6), ("parts", 2), ("parts", 6)):
        folders = {"source": source, "out": tmp_path / run}
        settings = TrainFirstStageSettings(name="emoji", **folders, **sizes, steps=steps)
        first_stage.plan_train_first_stage(settings)()
    whole, parts = (last_state(tmp_path / run) for run in ("whole", "parts"))
    chex.assert_trees_all_equal(whole, parts)
    log = [json.loads(line) for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [2, 4, 6]
    assert set(log[0]) >= {"loss", "l1", "lpips", "codebook", "codes_used", "images_per_second"}
    assert 1 <= log[-1]["held_out"]["perplexity"] <= log[-1]["held_out"]["codes_used"] <= 16
    assert log[-1]["held_out"]["lpips"] is None
    assert log[-1]["l1"] < log[0]["l1"]


@pytest.mark.slow
def test_held_out_quality_is_that_of_the_first_stage():
    network, perception = Autoencoder(TINY), Perception(small_weights("alex"), 0.5)
    images = np.random.default_rng(0).uniform(-1, 1, (16, 32, 32, 3)).astype(np.float32)
    params = first_stage.initial_state(network, 0, make_optimizer(1e-3, 6)).params
    reported = held_out_quality(params, network=network, perception=perception, images=images)
    stage = vq_first_stage(params, TINY, scale=reported["latent_scale"])

    @jax.jit
    @jax.vmap
    def through_the_stage(x):
        z = stage.encode(x, None)
        decoded = stage.decode(z)
        return psnr(decoded, x), jnp.mean(jnp.abs(decoded - x)), z

    quality, l1, z = through_the_stage(images)
    assert reported["psnr"] == pytest.approx(float(jnp.mean(quality)), abs=1e-3)
    assert float(jnp.std(z)) == pytest.approx(1, rel=1e-4)
    loss, (terms, _) = jax.jit(first_stage_loss, static_argnums=1)(
        params, network, perception, images
    )
    assert terms["lpips"] > 0.01
    assert float(terms["lpips"]) == pytest.approx(reported["lpips"], rel=1e-4)
    assert float(terms["l1"]) == pytest.approx(float(jnp.mean(l1)), rel=1e-4)
    total = terms["l1"] + 0.5 * terms["lpips"] + 1.25 * terms["codebook"]
    assert float(loss) == pytest.approx(float(total), rel=1e-5)


def test_idle_codes_move_to_latents_of_the_batch():
    rng = np.random.default_rng(1)
    trees = [{CODES: {"kernel": rng.random((3, 16)).astype(np.float32)}, "x": n} for n in (0, 1)]
    idle = jnp.zeros(16, jnp.int32).at[jnp.array([2, 7, 9])].set(REVIVE_AFTER)
    z = rng.standard_normal((2, 4, 4, 3)).astype(np.float32)
    moved = revived(trees, idle, z, jax.random.key(0))
    in_use = np.asarray(idle) == 0
    positions = {tuple(pixel) for pixel in z.reshape(-1, 3).tolist()}
    for before, after in zip(trees, moved):
        old, new = before[CODES]["kernel"], np.asarray(after[CODES]["kernel"])
        np.testing.assert_array_equal(new[:, in_use], old[:, in_use])
        assert {tuple(code) for code in new[:, ~in_use].T.tolist()} <= positions
        assert after["x"] == before["x"]
    np.testing.assert_array_equal(*(tree[CODES]["kernel"][:, ~in_use] for tree in moved))

"""The trainer: a killed run continues as if it had never stopped."""

import json

import numpy as np
import pytest

from dsg_jax.networks.adm import ADMConfig
from dsg_jax.priors import load_prior
from experiments.train import images as training_images
from experiments.train import pixel as train_prior
from experiments.train.finish import export_prior, restored_ema
from experiments.train.images import emoji_split, held_out

TINY = ADMConfig(
    model_channels=8,
    channel_mult=(1, 2),
    attention_factors=(),
    resblock_updown=False,
    out_channels=3,
    patch=2,
    norm_groups=4,
    middle_attention=False,
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(train_prior.CONFIGS, "emoji", TINY)


def train(source, out, steps):
    settings = {"size": 16, "batch_size": 4, "save_every": 2, "learning_rate": 1e-3}
    train_prior.train("emoji", source, out, steps=steps, **settings)


def test_families_stay_on_one_side_of_the_split(source):
    training, outside = emoji_split(source)
    families = [{p.stem.split("-")[0] for p in side} for side in (training, outside)]
    assert families[0] and families[1] and not families[0] & families[1]
    assert all(held_out(f, 14) for f in families[1])


def dying(batches, at):
    """Batches that stop the run when it asks for the given one, as Ctrl-C would."""

    def build(paths, size, seed):
        draw = batches(paths, size, seed)

        def one(step, count):
            if step == at:
                raise KeyboardInterrupt
            return draw(step, count)

        return one

    return build


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(source, tmp_path, monkeypatch):
    train(source, tmp_path / "whole", 4)
    split, batches = training_images.SOURCES["emoji"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setitem(training_images.SOURCES, "emoji", (split, dying(batches, 3)))
        train(source, tmp_path / "parts", 4)
    assert restored_ema(tmp_path / "parts", TINY)[0] == 2
    train(source, tmp_path / "parts", 4)
    (step, whole), (_, parts) = (restored_ema(tmp_path / n, TINY) for n in ("whole", "parts"))
    assert step == 4
    for a, b in zip(flat(whole), flat(parts), strict=True):
        np.testing.assert_array_equal(a, b)
    log = [json.loads(line) for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [2, 4]


@pytest.mark.slow
def test_an_exported_prior_is_what_was_trained(source, tmp_path):
    train(source, tmp_path / "run", 2)
    card = export_prior("emoji", tmp_path / "run", source, tmp_path / "prior", size=16)
    prior, read = load_prior(tmp_path / "prior")
    assert read["training"]["steps"] == 2 and read["parameters"] == card["parameters"]
    assert (tmp_path / "prior" / "samples.png").is_file()
    fresh = train_prior.initial_state(train_prior.ADMUNet(TINY), *optimizer_and_size(), 5)
    state = train_prior.with_weights_of(fresh, str(tmp_path / "prior"))
    for a, b in zip(flat(state.ema["params"]), flat(prior.network.params), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="another architecture"):
        train_prior.with_weights_of(fresh, "emoji")


def optimizer_and_size():
    return train_prior.make_optimizer(1e-3, 4), 16


def flat(tree):
    return (
        [leaf for child in tree.values() for leaf in flat(child)]
        if isinstance(tree, dict)
        else [tree]
    )

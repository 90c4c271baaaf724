"""The trainer: a killed run continues as if it had never stopped."""

import json
from functools import partial

import chex
import pytest

from dsg_jax.networks.adm import ADMConfig, ADMUNet
from dsg_jax.priors import load_prior
from experiments.train import images, pixel
from experiments.train.finish import plan_export_prior, restored_ema
from experiments.train.images import held_out
from experiments.train.loop import make_optimizer
from experiments.train.settings import ExportPriorSettings, TrainPriorSettings

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
    monkeypatch.setitem(pixel.CONFIGS, "emoji", TINY)


def train(source, out, steps):
    sizes = {"size": 16, "batch_size": 4, "save_every": 2, "steps": steps}
    pixel.plan_train_prior(TrainPriorSettings(name="emoji", source=source, out=out, **sizes))()


def test_families_stay_on_one_side_of_the_split(source):
    training, outside = images.SOURCES["emoji"].split(source)
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


def ema_of(run):
    return restored_ema(ADMUNet(TINY), run, "train-prior")


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(source, tmp_path, monkeypatch):
    train(source, tmp_path / "whole", 4)
    emoji = images.SOURCES["emoji"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        mortal = emoji._replace(batches=dying(emoji.batches, 3))
        patch.setitem(images.SOURCES, "emoji", mortal)
        train(source, tmp_path / "parts", 4)
    assert ema_of(tmp_path / "parts")[0] == 2
    train(source, tmp_path / "parts", 4)
    (step, whole), (_, parts) = (ema_of(tmp_path / n) for n in ("whole", "parts"))
    assert step == 4
    chex.assert_trees_all_equal(whole, parts)
    log = [json.loads(line) for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [2, 4]


@pytest.mark.slow
def test_an_exported_prior_is_what_was_trained(source, tmp_path):
    train(source, tmp_path / "run", 2)
    folders = {"run": tmp_path / "run", "source": source, "out": tmp_path / "prior"}
    card = plan_export_prior(ExportPriorSettings(name="emoji", **folders, size=16))()
    prior, read = load_prior(tmp_path / "prior")
    assert read["training"]["steps"] == 2 and read["parameters"] == card["parameters"]
    assert (tmp_path / "prior" / "samples.png").is_file()
    begin = partial(pixel.initial_state, ADMUNet(TINY), 16, 5, make_optimizer(1e-3, 4))
    state = begin(start=str(tmp_path / "prior"))
    chex.assert_trees_all_equal(state.params["params"], prior.network.params)
    chex.assert_trees_all_equal(state.ema, state.params)
    with pytest.raises(ValueError, match="another architecture"):
        begin(start="emoji")

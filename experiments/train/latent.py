"""Train the diffusion network of a latent prior on a first stage's latents; resumable after a kill.

python -m experiments train-latent-prior emoji --source FOLDER \
    --first-stage runs/emoji-first-stage --out runs/emoji-latent
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dsg_jax.clock import table_clock
from dsg_jax.networks.autoencoder import init_params
from dsg_jax.networks.ldm import LDMConfig, LDMUNet
from dsg_jax.priors.first_stage import vq_first_stage
from dsg_jax.schedule import scaled_linear_betas
from dsg_jax.types import FirstStage
from experiments.images import from_bytes
from experiments.train import first_stage
from experiments.train.images import SOURCES, Batches, load_emojis
from experiments.train.loop import check_images, log_lines, newest_ema, train_until
from experiments.train.pixel import Levels, held_out_errors, initial_state, train_step
from experiments.train.settings import TrainLatentPriorSettings

CONFIGS = {
    "emoji": LDMConfig(
        model_channels=64,
        channel_mult=(1, 2, 2),
        num_res_blocks=1,
        attention_factors=(2, 4),
        num_head_channels=32,
        norm_groups=16,
    )
}
BETAS: dict[str, Any] = {"start": 0.0015, "end": 0.0195, "steps": 1000}


def latent_levels() -> Levels:
    """The noise levels that the schedule's table reaches, at the table's times."""
    return Levels(table_clock(scaled_linear_betas(**BETAS)), log_mean=0.0, low=0.04, high=69.0)


class Trained(NamedTuple):
    """The result of a run of `train-first-stage`.

    Attributes:
      params: EMA parameters, float32.
      facts: the last line of its log, of which ``held_out`` says how well images survive.
    """

    step: int
    params: dict
    facts: dict

    def stage(self, name: str) -> FirstStage:
        """As a first stage whose latents have unit variance."""
        scale = self.facts["held_out"]["latent_scale"]
        return vq_first_stage(self.params, first_stage.CONFIGS[name], scale=scale)


def trained_first_stage(name: str, run: Path) -> Trained:
    """The newest checkpoint of a run.

    Raises:
      FileNotFoundError: a folder without one.
      ValueError: a checkpoint of another architecture, or a damaged log.
    """
    forms = jax.eval_shape(partial(init_params, first_stage.CONFIGS[name]), jax.random.key(0))
    step, ema = newest_ema(run, forms, "train-first-stage")
    lines = [line for line in log_lines(run) if line["step"] == step]
    try:
        if 0 < lines[-1]["held_out"]["latent_scale"] < math.inf:
            return Trained(step, ema, lines[-1])
    except (LookupError, TypeError):
        pass
    raise ValueError(f"the log of {run} has no latent_scale at step {step}: train it further")


def latents_of(stage: FirstStage, images: np.ndarray) -> np.ndarray:
    """uint8 (n, h, w, 3) -> float32 (2 n, h/f, w/f, c): of the images, then of their mirrors."""
    encode = jax.jit(lambda x: jax.lax.map(lambda x: stage.encode(x, None), x, batch_size=16))
    return np.concatenate([encode(from_bytes(x)) for x in (images, images[:, :, ::-1])])


def latent_batches(latents: np.ndarray, seed: int) -> Batches:
    """Random latents; batch n depends on the seed and n only."""

    def batch(step: int, count: int) -> np.ndarray:
        return latents[np.random.default_rng((seed, step)).integers(len(latents), size=count)]

    return batch


def plan_train_latent_prior(settings: TrainLatentPriorSettings) -> Callable[[], None]:
    """Check `train-latent-prior`.

    Raises:
      ValueError: a size that the networks cannot take, or a first stage of another architecture.
      FileNotFoundError: no images below ``source``, or no trained first stage.
    """
    name = settings.name
    check_images(settings, first_stage.CONFIGS[name].factor * CONFIGS[name].size_multiple)
    return partial(train, settings, trained_first_stage(name, settings.first_stage).stage(name))


def train(settings: TrainLatentPriorSettings, stage: FirstStage) -> None:
    """Train until the last step, from the newest checkpoint or from random weights."""
    training, held_out = (
        latents_of(stage, load_emojis(paths, settings.size))
        for paths in SOURCES[settings.name].split(settings.source)
    )
    validation = latent_batches(held_out, settings.seed + 1)(0, 256)
    network, levels = LDMUNet(CONFIGS[settings.name]), latent_levels()
    train_until(
        settings,
        partial(initial_state, network, network.config.size_multiple, settings.seed),
        partial(train_step, levels=levels, network=network),
        latent_batches(training, settings.seed),
        partial(held_out_errors, network=network, x0=validation, levels=levels),
    )

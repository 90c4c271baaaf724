"""Train the diffusion network of a latent prior on a first stage's latents; resumable after a kill.

python -m experiments train-latent-prior emoji --source FOLDER \
    --first-stage runs/emoji-first-stage --out runs/emoji-latent
"""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from dsg_jax.diffusion import table_time
from dsg_jax.networks.autoencoder import init_params
from dsg_jax.networks.ldm import LDMConfig, LDMUNet
from dsg_jax.priors.first_stage import vq_first_stage
from dsg_jax.schedule import scaled_linear_betas
from dsg_jax.types import FirstStage
from experiments.train import first_stage as train_first_stage
from experiments.train.images import Batches, emoji_split, load_emojis, to_unit
from experiments.train.loop import log_lines, make_optimizer, newest_ema, train_until
from experiments.train.pixel import Levels, held_out_errors, initial_state, train_step

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
    betas = jnp.asarray(scaled_linear_betas(**BETAS), jnp.float32)
    return Levels(Partial(table_time, betas), log_mean=0.0, low=0.04, high=69.0)


class Trained(NamedTuple):
    """What a run of `train-first-stage` produced."""

    step: int
    params: dict
    """EMA parameters, float32."""
    facts: dict
    """The last line of its log, of which ``held_out`` says how well images survive."""

    def stage(self, name: str) -> FirstStage:
        """As a first stage whose latents have unit variance."""
        scale = self.facts["held_out"]["latent_scale"]
        return vq_first_stage(self.params, train_first_stage.CONFIGS[name], scale=scale)


def trained_first_stage(name: str, run: Path) -> Trained:
    """The newest checkpoint of a run.

    Raises:
      FileNotFoundError: a folder without one.
      ValueError: a checkpoint of another architecture.
    """
    wanted = jax.eval_shape(
        partial(init_params, train_first_stage.CONFIGS[name]), jax.random.key(0)
    )
    step, ema = newest_ema(run, wanted, "train-first-stage")
    return Trained(step, ema, next(line for line in log_lines(run) if line["step"] == step))


def latents_of(stage: FirstStage, images: np.ndarray) -> np.ndarray:
    """uint8 (n, h, w, 3) -> float32 (2 n, h/f, w/f, c): of the images, then of their mirrors."""
    encode = jax.jit(lambda x: jax.lax.map(lambda x: stage.encode(x, None), x, batch_size=16))
    return np.concatenate([encode(to_unit(x)) for x in (images, images[:, :, ::-1])])


def latent_batches(latents: np.ndarray, seed: int) -> Batches:
    """Random latents; batch n depends on the seed and n only."""

    def batch(step: int, count: int) -> np.ndarray:
        return latents[np.random.default_rng((seed, step)).integers(len(latents), size=count)]

    return batch


def check(name: str, source: Path, first_stage: Path, size: int, **_settings) -> None:
    """Refuse what `train` cannot begin with.

    Raises:
      ValueError: an unknown name, a size that the networks cannot take, another architecture.
      FileNotFoundError: no images below ``source``, or no trained first stage.
    """
    if name not in CONFIGS:
        raise ValueError(f"no latent prior {name!r} to train: choose from {', '.join(CONFIGS)}")
    multiple = train_first_stage.CONFIGS[name].factor * CONFIGS[name].size_multiple
    if size < 1 or size % multiple:
        raise ValueError(f"size {size}: give a multiple of {multiple} pixels")
    emoji_split(source)
    trained_first_stage(name, first_stage)


def train(
    name: str,
    source: Path,
    first_stage: Path,
    out: Path,
    *,
    size: int = 64,
    steps: int = 5000,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    save_every: int = 100,
    seed: int = 0,
) -> None:
    """Train the named latent prior until ``steps``, continuing from ``out``."""
    stage, levels = trained_first_stage(name, first_stage).stage(name), latent_levels()
    training, held_out = (
        latents_of(stage, load_emojis(paths, size)) for paths in emoji_split(source)
    )
    validation = latent_batches(held_out, seed + 1)(0, 256)
    network, optimizer = LDMUNet(CONFIGS[name]), make_optimizer(learning_rate, steps)
    key = jax.random.key(seed)
    train_until(
        steps,
        initial_state(network, optimizer, CONFIGS[name].size_multiple, seed),
        lambda state, z: train_step(state, z, key, levels, network=network, optimizer=optimizer),
        latent_batches(training, seed),
        lambda state: {"held_out": held_out_errors(state.ema, network, validation, levels)},
        out,
        batch_size=batch_size,
        save_every=save_every,
    )

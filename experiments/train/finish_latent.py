"""Turn a trained first stage and a network on its latents into a prior that `load_prior` reads.

python -m experiments export-latent-prior emoji --first-stage runs/emoji-first-stage \
    --run runs/emoji-latent --source FOLDER --out emoji-64-ldm
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from dsg_jax.metrics.lpips import lpips_weights
from dsg_jax.networks import ldm
from dsg_jax.networks.autoencoder import Autoencoder
from dsg_jax.networks.ldm import LDMConfig, LDMUNet
from dsg_jax.priors import load_prior, save_latent_prior
from experiments.train import first_stage as train_first_stage
from experiments.train.finish import LOSS, ORIGIN, save_samples
from experiments.train.first_stage import Perception, held_out_quality
from experiments.train.images import emoji_batches, emoji_split, load_emojis
from experiments.train.latent import (
    BETAS,
    CONFIGS,
    latent_batches,
    latent_levels,
    latents_of,
    trained_first_stage,
)
from experiments.train.loop import newest_ema, training_facts
from experiments.train.pixel import held_out_errors

SIZED_FOR = "training on two CPU cores: 64 px images where the published models have 256"
STAGE_LOSS = "absolute error, LPIPS (AlexNet), codebook and commitment; no discriminator"


def restored_unet(run: Path, config: LDMConfig) -> tuple[int, dict]:
    """Step and EMA parameters of the newest checkpoint of `train-latent-prior`."""
    wanted = {"params": jax.eval_shape(partial(ldm.init_params, config), jax.random.key(0))}
    step, ema = newest_ema(run, wanted, "train-latent-prior")
    return step, ema["params"]


def check(name: str, run: Path, first_stage: Path, source: Path, **_settings) -> None:
    """Refuse what `export_latent_prior` cannot begin with.

    Raises:
      ValueError: an unknown name, or checkpoints of another architecture.
      FileNotFoundError: no checkpoint, no images, or no LPIPS weights.
    """
    if name not in CONFIGS:
        raise ValueError(f"no latent prior {name!r}: choose from {', '.join(CONFIGS)}")
    restored_unet(run, CONFIGS[name])
    trained_first_stage(name, first_stage)
    emoji_split(source)
    lpips_weights("alex")


def export_latent_prior(
    name: str, run: Path, first_stage: Path, source: Path, out: Path, *, size: int = 64
) -> dict:
    """Write the prior in half precision and return its card."""
    config, stage_config = CONFIGS[name], train_first_stage.CONFIGS[name]
    step, ema = restored_unet(run, config)
    trained = trained_first_stage(name, first_stage)
    half = jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float16), {"unet": ema, "first_stage": trained.params}
    )
    full = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), half)
    training, held_out = emoji_split(source)
    images = emoji_batches(held_out, size, 1)(0, 64)
    latents = latents_of(trained.stage(name), load_emojis(held_out, size))
    latents = latent_batches(latents, 1)(0, 256)
    card = {
        "name": out.name,
        "samples": name,
        "parametrisation": "v",
        "betas": BETAS,
        "latent_scale": trained.facts["held_out"]["latent_scale"],
        "image_range": [-1, 1],
        "size": size,
        "sized_for": SIZED_FOR,
        "weights": "EMA, float16",
        "origin": ORIGIN[name] | {"trained_on": len(training), "held_out": len(held_out)},
        "training": {
            "first_stage": training_facts(first_stage, trained.step) | {"loss": STAGE_LOSS},
            "unet": training_facts(run, step) | {"loss": LOSS},
        },
        "held_out_reconstruction": held_out_quality(
            full["first_stage"],
            Autoencoder(stage_config),
            Perception(lpips_weights("alex")),
            images,
        ),
        "held_out_denoising_mse": held_out_errors(
            {"params": full["unet"]}, LDMUNet(config), latents, latent_levels()
        ),
    }
    card = save_latent_prior(out, half, config, stage_config, card)
    prior, _ = load_prior(out)
    save_samples(out / "samples.png", prior, latents.shape[1:])
    return card

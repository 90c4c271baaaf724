"""Turn training runs into priors that `load_prior` reads: EMA weights, card, sample grid.

python -m experiments export-prior emoji --run runs/emoji --source FOLDER --out FOLDER
python -m experiments export-latent-prior emoji --first-stage runs/stage --run runs/unet ...
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dsg_jax.diffusion import denoise
from dsg_jax.metrics.lpips import LPIPSWeights, lpips_weights
from dsg_jax.networks.adm import ADMUNet
from dsg_jax.networks.autoencoder import Autoencoder
from dsg_jax.networks.ldm import LDMUNet
from dsg_jax.priors import load_prior, save_latent_prior, save_prior
from dsg_jax.priors.files import record_files
from dsg_jax.schedule import poly7
from dsg_jax.types import Prior
from experiments.images import save_png
from experiments.train import first_stage, latent, pixel
from experiments.train.first_stage import Perception, held_out_quality
from experiments.train.images import SOURCES, load_emojis
from experiments.train.latent import Trained, latent_batches, latents_of, trained_first_stage
from experiments.train.loop import newest_ema, training_facts
from experiments.train.pixel import held_out_errors
from experiments.train.settings import ExportLatentPriorSettings, ExportPriorSettings

LOSS = "velocity, log-normal noise levels, EMA 0.999, Adam, cosine decay"


def generate(key: jax.Array, prior: Prior, shape: tuple[int, ...], steps: int = 40) -> jax.Array:
    """An unconditional sample: Heun's method on the probability-flow ODE, decoded if a latent."""
    sigma_max, sigma_min = (80.0, 0.02) if prior.first_stage is None else (69.0, 0.04)
    sigmas = np.append(poly7(np.float64(sigma_max), sigma_min, np.linspace(0, 1, steps)), 0.0)
    pairs = jnp.asarray(np.stack([sigmas[:-1], sigmas[1:]], axis=1), jnp.float32)

    def slope(x, sigma):
        return (x - denoise(prior, x, sigma)) / sigma

    def heun(x, pair):
        sigma, after = pair
        first = slope(x, sigma)
        euler = x + (after - sigma) * first
        second = slope(euler, jnp.maximum(after, 1e-3))
        return jnp.where(after > 0, x + (after - sigma) * (first + second) / 2, euler), None

    x = jax.lax.scan(heun, sigma_max * jax.random.normal(key, shape), pairs)[0]
    return x if prior.first_stage is None else prior.first_stage.decode(x)


def save_samples(folder: Path, shape: tuple[int, ...]) -> None:
    """Write two rows of eight unconditional samples of the prior in a folder to samples.png.

    ``shape`` is that of the prior's states.
    """
    prior, keys = load_prior(folder)[0], jax.random.split(jax.random.key(0), 16)
    samples = np.asarray(jax.jit(jax.vmap(lambda key: generate(key, prior, shape)))(keys))
    size = samples.shape[1]
    rows = samples.reshape(2, 8, size, size, 3).transpose(0, 2, 1, 3, 4)
    save_png(folder / "samples.png", rows.reshape(2 * size, 8 * size, 3))
    record_files(folder)


def restored_ema(network: ADMUNet | LDMUNet, run: Path, trainer: str) -> tuple[int, dict]:
    """Step and EMA parameters of the newest checkpoint of a network."""
    fresh = partial(pixel.fresh_params, network=network, size=network.config.size_multiple)
    step, ema = newest_ema(run, jax.eval_shape(fresh, jax.random.key(0)), trainer)
    return step, ema["params"]


def in_half_precision(params: dict) -> tuple[dict, dict]:
    """Parameters in float16, and these in float32: what is stored, and what loads as."""
    half = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), params)
    return half, jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), half)


def common_facts(settings: ExportPriorSettings) -> dict[str, Any]:
    """What the cards of both kinds say."""
    training, held_out = SOURCES[settings.name].split(settings.source)
    counts = {"trained_on": len(training), "held_out": len(held_out)}
    return {
        "parametrisation": "v",
        "image_range": [-1, 1],
        "size": settings.size,
        "weights": "EMA, float16",
        "origin": SOURCES[settings.name].origin | counts,
    }


def plan_export_prior(settings: ExportPriorSettings) -> Callable[[], dict]:
    """Check `export-prior`.

    Raises:
      ValueError: a checkpoint of another architecture, or a damaged log.
      FileNotFoundError: no checkpoint, or no images.
    """
    network = ADMUNet(pixel.CONFIGS[settings.name])
    step, ema = restored_ema(network, settings.run, "train-prior")
    training_facts(settings.run, step)  # refused before anything is computed
    SOURCES[settings.name].split(settings.source)
    return partial(export_prior, settings, step, ema)


def export_prior(settings: ExportPriorSettings, step: int, ema: dict) -> dict:
    """Write the prior in half precision and return its card."""
    config, size, source = pixel.CONFIGS[settings.name], settings.size, SOURCES[settings.name]
    half, full = in_half_precision(ema)
    images = source.batches(source.split(settings.source)[1], size, 1)(0, 64)
    card = common_facts(settings) | {
        "name": settings.name,
        "betas": "linear 1e-4 to 0.02, 1000 steps",
        "training": training_facts(settings.run, step) | {"loss": LOSS},
        "held_out_denoising_mse": held_out_errors(
            {"params": full}, network=ADMUNet(config), x0=images, levels=pixel.adm_levels()
        ),
    }
    card = save_prior(settings.out, half, config, card)
    save_samples(settings.out, (size, size, 3))
    return card


def plan_export_latent_prior(settings: ExportLatentPriorSettings) -> Callable[[], dict]:
    """Check `export-latent-prior`.

    Raises:
      ValueError: checkpoints of another architecture, or a damaged log.
      FileNotFoundError: no checkpoint, no images, or no LPIPS weights.
    """
    network = LDMUNet(latent.CONFIGS[settings.name])
    step, ema = restored_ema(network, settings.run, "train-latent-prior")
    training_facts(settings.run, step)  # refused before anything is computed
    trained = trained_first_stage(settings.name, settings.first_stage)
    SOURCES[settings.name].split(settings.source)
    return partial(export_latent_prior, settings, step, ema, trained, lpips_weights("alex"))


def export_latent_prior(
    settings: ExportLatentPriorSettings,
    step: int,
    ema: dict,
    trained: Trained,
    weights: LPIPSWeights,
) -> dict:
    """Write the prior in half precision and return its card."""
    name, source = settings.name, SOURCES[settings.name]
    config, stage_config = latent.CONFIGS[name], first_stage.CONFIGS[name]
    half, full = in_half_precision({"unet": ema, "first_stage": trained.params})
    held_out = source.split(settings.source)[1]
    images = source.batches(held_out, settings.size, 1)(0, 64)
    latents = latents_of(trained.stage(name), load_emojis(held_out, settings.size))
    stage_loss = "absolute error, LPIPS (AlexNet), codebook and commitment; no discriminator"
    card = common_facts(settings) | {
        "name": settings.out.name,
        "samples": name,
        "betas": latent.BETAS,
        "latent_scale": trained.facts["held_out"]["latent_scale"],
        "sized_for": "training on two CPU cores: 64 px images where the published models have 256",
        "training": {
            "first_stage": training_facts(settings.first_stage, trained.step)
            | {"loss": stage_loss},
            "unet": training_facts(settings.run, step) | {"loss": LOSS},
        },
        "held_out_reconstruction": held_out_quality(
            full["first_stage"], Autoencoder(stage_config), Perception(weights), images
        ),
        "held_out_denoising_mse": held_out_errors(
            {"params": full["unet"]},
            network=LDMUNet(config),
            x0=latent_batches(latents, 1)(0, 256),
            levels=latent.latent_levels(),
        ),
    }
    card = save_latent_prior(settings.out, half, config, stage_config, card)
    save_samples(settings.out, latents.shape[1:])
    return card

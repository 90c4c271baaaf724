"""Turn a training run into a prior that `load_prior` reads: EMA weights, card, sample grid.

python -m experiments export-prior emoji --run runs/emoji --source FOLDER --out FOLDER
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from dsg_jax.diffusion import denoise, table_time
from dsg_jax.networks.adm import ADMConfig, ADMUNet
from dsg_jax.priors import adm_prior, init_params, load_prior, save_prior
from dsg_jax.schedule import poly7
from dsg_jax.types import Prior
from experiments.images import save_png
from experiments.train.images import SOURCES
from experiments.train.loop import newest_ema, training_facts
from experiments.train.pixel import CONFIGS, held_out_errors

ORIGIN = {
    "emoji": {
        "images": "Fluent Emoji 3D on white, npm package @lobehub/fluent-emoji-3d 1.1.0",
        "licence": "MIT",
        "split": "by first code point (hash, 1 in 14 held out), so variants stay together",
        "augmentation": "mirroring",
    },
    "photo": {
        "images": "crops at eight scales of 50 photographs, npm package tabler-ui 0.0.34",
        "licence": "MIT (package)",
        "split": "by whole photograph (hash, 1 in 8 held out)",
        "augmentation": "random crop, scale and mirroring",
    },
}

LOSS = "velocity, log-normal noise levels, EMA 0.999, Adam, cosine decay"


def generate(key: jax.Array, prior: Prior, shape: tuple[int, ...], steps: int = 40) -> jax.Array:
    """An unconditional sample: Heun's method on the probability-flow ODE, decoded if a latent."""
    sigma_max, sigma_min = (80.0, 0.02) if prior.first_stage is None else (69.0, 0.04)
    sigmas = np.append(poly7(np.float64(sigma_max), sigma_min, np.linspace(0, 1, steps)), 0.0)
    pairs = jnp.asarray(np.stack([sigmas[:-1], sigmas[1:]], axis=1), jnp.float32)

    def slope(x, sigma):
        t = None if prior.first_stage is None else table_time(prior.betas, sigma)
        return (x - denoise(prior, x, sigma, t)) / sigma

    def heun(x, pair):
        sigma, after = pair
        first = slope(x, sigma)
        euler = x + (after - sigma) * first
        second = slope(euler, jnp.maximum(after, 1e-3))
        return jnp.where(after > 0, x + (after - sigma) * (first + second) / 2, euler), None

    x = jax.lax.scan(heun, sigma_max * jax.random.normal(key, shape), pairs)[0]
    return x if prior.first_stage is None else prior.first_stage.decode(x)


def save_samples(file: Path, prior: Prior, shape: tuple[int, ...]) -> None:
    """Write two rows of eight unconditional samples; ``shape`` is that of the prior's states."""
    keys = jax.random.split(jax.random.key(0), 16)
    samples = np.asarray(jax.jit(jax.vmap(lambda key: generate(key, prior, shape)))(keys))
    size = samples.shape[1]
    rows = samples.reshape(2, 8, size, size, 3).transpose(0, 2, 1, 3, 4)
    save_png(file, rows.reshape(2 * size, 8 * size, 3))


def restored_ema(run: Path, config: ADMConfig) -> tuple[int, dict]:
    """Step and EMA parameters of the newest checkpoint of `train-prior`."""
    wanted = {"params": jax.eval_shape(partial(init_params, ADMUNet(config)))}
    step, ema = newest_ema(run, wanted, "train-prior")
    return step, ema["params"]


def export_prior(name: str, run: Path, source: Path, out: Path, *, size: int = 64) -> dict:
    """Write the prior in half precision and return its card."""
    config = CONFIGS[name]
    step, ema = restored_ema(run, config)
    half = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), ema)
    full = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), half)
    prior = adm_prior(full, config, parametrisation="v")
    split, batches = SOURCES[name]
    training, held_out = split(source)
    images = batches(held_out, size, 1)(0, 64)
    card = {
        "name": name,
        "parametrisation": "v",
        "betas": "linear 1e-4 to 0.02, 1000 steps",
        "image_range": [-1, 1],
        "size": size,
        "weights": "EMA, float16",
        "origin": ORIGIN[name] | {"trained_on": len(training), "held_out": len(held_out)},
        "training": training_facts(run, step) | {"loss": LOSS},
        "held_out_denoising_mse": held_out_errors({"params": full}, ADMUNet(config), images),
    }
    card = save_prior(out, half, config, card)
    save_samples(out / "samples.png", prior, (size, size, 3))
    load_prior(out)
    return card

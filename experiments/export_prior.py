"""Turn a training run into a prior that `load_prior` reads: EMA weights, card, sample grid.

python -m experiments export-prior emoji --run runs/emoji --source FOLDER --out FOLDER
"""

import json
import platform
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from dsg_jax.diffusion import denoise
from dsg_jax.networks.adm import ADMUNet
from dsg_jax.priors import adm_prior, init_params, load_prior, save_prior
from dsg_jax.schedule import poly7
from dsg_jax.types import Prior
from experiments.images import save_png
from experiments.train_prior import CONFIGS, held_out_errors
from experiments.training_images import SOURCES

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


def generate(key: jax.Array, prior: Prior, size: int, steps: int = 40) -> jax.Array:
    """An unconditional sample (size, size, 3): Heun's method on the probability-flow ODE."""
    sigmas = np.append(poly7(np.float64(80.0), 0.02, np.linspace(0, 1, steps)), 0.0)
    pairs = jnp.asarray(np.stack([sigmas[:-1], sigmas[1:]], axis=1), jnp.float32)

    def heun(x, pair):
        sigma, after = pair
        slope = (x - denoise(prior, x, sigma)) / sigma
        euler = x + (after - sigma) * slope
        safe = jnp.maximum(after, 1e-3)
        slope_after = (euler - denoise(prior, euler, safe)) / safe
        return jnp.where(after > 0, x + (after - sigma) * (slope + slope_after) / 2, euler), None

    x = sigmas[0] * jax.random.normal(key, (size, size, 3))
    return jax.lax.scan(heun, x, pairs)[0]


def restored_ema(run: Path, config) -> tuple[int, dict]:
    """Step and EMA parameters of the newest checkpoint of a training run."""
    wanted = jax.eval_shape(partial(init_params, ADMUNet(config)))
    with ocp.CheckpointManager(run.absolute()) as manager:
        step = manager.latest_step()
        if step is None:
            raise FileNotFoundError(f"{run} holds no checkpoint of train-prior")
        stored = manager.restore(step, args=ocp.args.StandardRestore())
    ema = stored["ema"]["params"]
    if jax.tree.map(jnp.shape, ema) != jax.tree.map(lambda leaf: leaf.shape, wanted):
        raise ValueError(f"the checkpoint in {run} is not of this prior's architecture")
    return step, ema


def training_facts(run: Path, step: int) -> dict:
    """What the log says about a run."""
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return {
        "steps": step,
        "hours": round(sum(line["seconds"] for line in log) / 3600, 2),
        "last_loss": log[-1]["loss"],
        "images_per_second": log[-1]["images_per_second"],
        "hardware": f"{jax.device_count()} x {jax.devices()[0].device_kind}, {platform.machine()}",
        "loss": "velocity, log-normal noise levels, EMA 0.999, Adam, cosine decay",
    }


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
        "training": training_facts(run, step),
        "held_out_denoising_mse": held_out_errors({"params": full}, ADMUNet(config), images),
    }
    card = save_prior(out, half, config, card)
    keys = jax.random.split(jax.random.key(0), 16)
    samples = np.asarray(jax.jit(jax.vmap(lambda key: generate(key, prior, size)))(keys))
    rows = samples.reshape(2, 8, size, size, 3).transpose(0, 2, 1, 3, 4)
    save_png(out / "samples.png", rows.reshape(2 * size, 8 * size, 3))
    load_prior(out)
    return card

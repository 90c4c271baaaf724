"""Train a pixel prior on real images: noise prediction, EMA, resumable after a kill.

    python -m experiments train-prior emoji --source FOLDER --out runs/emoji

Written for any number of devices (the batch is split over them, parameters are replicated). Batch
n and its noise are functions of the seed and n, so a resumed run continues as if never stopped.
"""

import json
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax.sharding import NamedSharding, PartitionSpec
from tqdm import tqdm

from dsg_jax.networks.adm import ADMConfig, ADMUNet
from dsg_jax.schedule import linear_betas
from experiments.training_images import SOURCES

_SMALL = ADMConfig(
    model_channels=32,
    channel_mult=(1, 2, 3, 4),
    attention_factors=(8,),
    num_head_channels=32,
    resblock_updown=False,
    out_channels=3,
    patch=2,
    norm_groups=8,
)
CONFIGS = {
    "emoji": _SMALL,
    "photo": _SMALL._replace(attention_factors=(), middle_attention=False),
}
HELD_OUT_TIMES = (20, 60, 100, 300, 600, 900)


class TrainState(NamedTuple):
    """Everything a resumed run needs."""

    step: jax.Array
    params: dict
    ema: dict
    moments: optax.OptState


def denoising_loss(params, network, alpha_bar, x0, key, t=None) -> jax.Array:
    """Mean squared error of the predicted noise (Ho et al. 2020), low noise drawn more often."""
    key_t, key_noise = jax.random.split(key)
    if t is None:
        u = jax.random.uniform(key_t, x0.shape[:1])
        t = jnp.floor(len(alpha_bar) * u**1.5).astype(jnp.int32)
    a = alpha_bar[t][:, None, None, None]
    noise = jax.random.normal(key_noise, x0.shape)
    predicted = network.apply(params, jnp.sqrt(a) * x0 + jnp.sqrt(1 - a) * noise, t)
    return jnp.mean((predicted - noise) ** 2)


def make_optimizer(learning_rate: float, steps: int) -> optax.GradientTransformation:
    """Adam with warm-up, cosine decay and a clipped global norm."""
    warmup = min(300, steps // 10)
    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, warmup, steps, 0.02 * learning_rate)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))


@partial(jax.jit, static_argnames=("network", "optimizer"), donate_argnums=0)
def train_step(state: TrainState, x0, key, alpha_bar, *, network, optimizer):
    """One optimiser step on a batch; returns the new state and the loss."""
    key = jax.random.fold_in(key, state.step)
    loss, grads = jax.value_and_grad(denoising_loss)(state.params, network, alpha_bar, x0, key)
    updates, moments = optimizer.update(grads, state.moments)
    params = optax.apply_updates(state.params, updates)
    decay = jnp.minimum(0.999, (1 + state.step) / (10 + state.step))
    ema = optax.incremental_update(params, state.ema, 1 - decay)
    return TrainState(state.step + 1, params, ema, moments), loss


_jitted_loss = jax.jit(denoising_loss, static_argnums=1)


def held_out_errors(params, network, alpha_bar, images: np.ndarray) -> dict[int, float]:
    """Noise-prediction error on held-out images, one number per diffusion time."""
    loss = _jitted_loss
    times = {t: jnp.full(len(images), t) for t in HELD_OUT_TIMES}
    key = jax.random.key(1)
    return {t: float(loss(params, network, alpha_bar, images, key, ts)) for t, ts in times.items()}


def train(
    name: str,
    source: Path,
    out: Path,
    *,
    size: int = 64,
    steps: int = 5000,
    batch_size: int = 32,
    learning_rate: float = 6e-4,
    save_every: int = 100,
    seed: int = 0,
) -> None:
    """Train the named prior until ``steps``, continuing from the newest checkpoint in ``out``."""
    split, batches = SOURCES[name]
    training, held_out = split(source)
    draw = batches(training, size, seed)
    validation = batches(held_out, size, seed + 1)(0, 64)

    network = ADMUNet(CONFIGS[name])
    optimizer = make_optimizer(learning_rate, steps)
    alpha_bar = jnp.asarray(np.cumprod(1 - linear_betas()), jnp.float32)
    example = jnp.zeros((1, size, size, 3)), jnp.zeros((1,))
    params = jax.jit(network.init)(jax.random.key(seed), *example)
    ema = jax.tree.map(jnp.copy, params)
    state = TrainState(jnp.zeros((), jnp.int32), params, ema, optimizer.init(params))

    mesh = jax.make_mesh((jax.device_count(),), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    state = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
    over_batch = NamedSharding(mesh, PartitionSpec("batch"))
    step_fn = partial(train_step, network=network, optimizer=optimizer)
    out.mkdir(parents=True, exist_ok=True)
    with ocp.CheckpointManager(out.absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=2)) as manager:
        if manager.latest_step() is not None:
            state = manager.restore(manager.latest_step(), args=ocp.args.StandardRestore(state))
        progress = tqdm(range(int(state.step), steps), initial=int(state.step), total=steps, mininterval=20)
        losses, started = [], time.perf_counter()
        for step in progress:
            x0 = jax.device_put(draw(step, batch_size), over_batch)
            state, loss = step_fn(state, x0, jax.random.key(seed), alpha_bar)
            losses.append(loss)
            if (step + 1) % save_every and step + 1 < steps:
                continue
            manager.save(step + 1, args=ocp.args.StandardSave(state))
            seconds, started = time.perf_counter() - started, time.perf_counter()
            record = {
                "step": step + 1,
                "loss": float(np.mean(jax.device_get(losses))),
                "images_per_second": round(len(losses) * batch_size / seconds, 1),
                "held_out": held_out_errors(state.ema, network, alpha_bar, validation),
            }
            with open(out / "log.jsonl", "a") as log:
                log.write(json.dumps(record) + "\n")
            progress.set_postfix(loss=f"{record['loss']:.4f}", ips=record["images_per_second"])
            losses = []

"""Train the autoencoder of a latent prior on real images; resumable after a kill.

python -m experiments train-first-stage emoji --source FOLDER --out runs/emoji-first-stage

VQ-f4 without the discriminator: absolute error, LPIPS by AlexNet, codebook and commitment terms.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dsg_jax.metrics import psnr
from dsg_jax.metrics.lpips import TRUNKS, LPIPSWeights, lpips, lpips_weights
from dsg_jax.networks.autoencoder import Autoencoder, AutoencoderConfig, init_params
from dsg_jax.priors.first_stage import CODES, nearest_code
from experiments.train.images import SOURCES, training_and_validation
from experiments.train.loop import make_optimizer, train_until, updated_ema

_SMALL = AutoencoderConfig(
    channels=16, channel_mult=(1, 2, 4), num_res_blocks=1, codes=2048, norm_groups=8
)
CONFIGS = {"emoji": _SMALL, "photo": _SMALL}
COMMITMENT = 0.25
REVIVE_AFTER = 100
"""Steps without use after which a code is moved to where the encoder's outputs are."""


class TrainState(NamedTuple):
    """Everything a resumed run needs."""

    step: jax.Array
    params: dict
    ema: dict
    moments: optax.OptState
    idle: jax.Array
    """(codes,) steps since each code was the nearest to some latent pixel."""


class Perception(NamedTuple):
    """The perceptual term: weight * LPIPS; ``weights`` None leaves it out."""

    weights: LPIPSWeights | None
    weight: jax.Array | float = 0.5

    def distance(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """Mean LPIPS of two batches."""
        if self.weights is None:
            return jnp.zeros(())
        return jnp.mean(jax.vmap(partial(lpips, self.weights))(x, y))


class Reconstruction(NamedTuple):
    """What became of a batch of images."""

    image: jax.Array
    z: jax.Array
    """Latents before the quantisation."""
    code: jax.Array
    """Their nearest codes, differentiable in the codebook."""
    chosen: jax.Array
    """Which codes these are."""


def reconstruct(params, network: Autoencoder, x) -> Reconstruction:
    """Encode, quantise with a straight-through gradient, decode."""
    apply: Callable = partial(network.apply, {"params": params})
    codes, z = params[CODES]["kernel"], apply(x, method="encode")
    chosen = nearest_code(codes, z)
    code = codes.T[chosen]
    image = apply(z + jax.lax.stop_gradient(code - z), method="decode")
    return Reconstruction(image, z, code, chosen)


def first_stage_loss(params, network: Autoencoder, perception: Perception, x):
    """Loss of one batch: (total, (its terms, the reconstruction)).

        |x - D(z_q)| + w LPIPS(x, D(z_q)) + |sg(z) - e|^2 + 0.25 |z - sg(e)|^2

    with z = E(x), its nearest codes e and z_q = z + sg(e - z), all terms means (van den Oord et al.
    2017, equation 3, with the error of Rombach et al. 2022). Departs from the latter: no
    discriminator, and LPIPS by AlexNet, a tenth of the cost of VGG16.
    """
    result = reconstruct(params, network, x)
    terms = {
        "l1": jnp.mean(jnp.abs(x - result.image)),
        "lpips": perception.distance(x, result.image),
        "codebook": jnp.mean((jax.lax.stop_gradient(result.z) - result.code) ** 2),
    }
    commitment = jnp.mean((result.z - jax.lax.stop_gradient(result.code)) ** 2)
    loss = terms["l1"] + perception.weight * terms["lpips"] + terms["codebook"]
    loss += COMMITMENT * commitment
    return loss, ({"loss": loss} | terms, result)


def revived(trees: list[dict], idle, z, key) -> list[dict]:
    """Parameter trees whose long-idle codes are moved to random latent pixels of the batch."""
    positions = z.reshape(-1, z.shape[-1])
    fresh = positions[jax.random.randint(key, idle.shape, 0, len(positions))].T
    moved = [jnp.where(idle >= REVIVE_AFTER, fresh, tree[CODES]["kernel"]) for tree in trees]
    return [tree | {CODES: {"kernel": codes}} for tree, codes in zip(trees, moved, strict=True)]


@partial(jax.jit, static_argnames=("network", "optimizer"), donate_argnums=0)
def train_step(state: TrainState, x, key, perception, *, network, optimizer):
    """One optimiser step on a batch; returns the new state and the terms of the loss."""
    gradient = jax.grad(first_stage_loss, has_aux=True)
    grads, (terms, result) = gradient(state.params, network, perception, x)
    updates, moments = optimizer.update(grads, state.moments)
    params = optax.apply_updates(state.params, updates)
    ema = updated_ema(state.ema, params, state.step)
    used = jnp.zeros(state.idle.shape, bool).at[result.chosen].set(True)
    idle = jnp.where(used, 0, state.idle + 1)
    key = jax.random.fold_in(key, state.step)
    params, ema = revived([params, ema], idle, result.z, key)
    terms["codes_used"] = jnp.mean(used)
    idle = jnp.where(idle >= REVIVE_AFTER, 0, idle)
    return TrainState(state.step + 1, params, ema, moments, idle), terms


@partial(jax.jit, static_argnames="network")
def _reconstructed(params, x, perception, *, network):
    """Of a batch: PSNR and LPIPS of each image, latents, and which codes they chose."""
    result = reconstruct(params, network, x)
    distance = jax.vmap(lambda x, y: perception.distance(x[None], y[None]))(x, result.image)
    return jax.vmap(psnr)(result.image, x), distance, result.z, result.chosen


def held_out_quality(params, network: Autoencoder, perception: Perception, images) -> dict:
    """How well held-out images survive: means over images, use of the codes, scale of the latents.

    ``perplexity`` is the exponential of the entropy of the codes, at most their number;
    ``latent_scale`` makes the latents of unit variance (an argument of `vq_first_stage`).
    """
    batches = np.split(images, range(16, len(images), 16))
    parts = [_reconstructed(params, x, perception, network=network) for x in batches]
    quality, distance, z, chosen = (np.concatenate(part) for part in zip(*parts, strict=True))
    shares = np.bincount(chosen.reshape(-1)) / chosen.size
    shares = shares[shares > 0]
    return {
        "psnr": float(quality.mean()),
        "lpips": None if perception.weights is None else float(distance.mean()),
        "codes_used": len(shares),
        "perplexity": float(np.exp(-np.sum(shares * np.log(shares)))),
        "latent_mean": z.mean(axis=(0, 1, 2)).tolist(),
        "latent_std": z.std(axis=(0, 1, 2)).tolist(),
        "latent_scale": float(1 / z.std()),
    }


def initial_state(network: Autoencoder, optimizer, seed: int) -> TrainState:
    """Fresh parameters, their copy as EMA, empty moments, and no code idle yet."""
    key = jax.random.key(seed, impl="rbg")  # compiles in a third of the default generator's time
    params = jax.jit(partial(init_params, network.config))(key)
    ema = jax.tree.map(jnp.copy, params)
    idle = jnp.zeros(network.config.codes, jnp.int32)
    return TrainState(jnp.zeros((), jnp.int32), params, ema, optimizer.init(params), idle)


def check(name: str, source: Path, size: int, lpips_weight: float, **_settings) -> None:
    """Refuse what `train` cannot begin with.

    Raises:
      ValueError: an unknown name, or a size that the network or LPIPS cannot take.
      FileNotFoundError: no images below ``source``, or no LPIPS weights.
    """
    if name not in CONFIGS:
        raise ValueError(f"no first stage {name!r} to train: choose from {', '.join(CONFIGS)}")
    factor = CONFIGS[name].factor
    least = TRUNKS["alex"].smallest if lpips_weight else 1
    if size % factor or size < least:
        raise ValueError(f"size {size}: give a multiple of {factor} pixels, at least {least}")
    SOURCES[name][0](source)
    if lpips_weight:
        lpips_weights("alex")


def train(
    name: str,
    source: Path,
    out: Path,
    *,
    size: int = 64,
    steps: int = 5000,
    batch_size: int = 16,
    learning_rate: float = 1e-3,
    lpips_weight: float = 0.25,
    save_every: int = 100,
    seed: int = 0,
) -> None:
    """Train the first stage of the named images until ``steps``, continuing from ``out``."""
    draw, validation = training_and_validation(name, source, size, seed)
    network, optimizer = Autoencoder(CONFIGS[name]), make_optimizer(learning_rate, steps)
    perception = Perception(lpips_weights("alex") if lpips_weight else None, lpips_weight)
    key = jax.random.key(seed)
    train_until(
        steps,
        initial_state(network, optimizer, seed),
        lambda state, x: train_step(
            state, x, key, perception, network=network, optimizer=optimizer
        ),
        draw,
        lambda state: {"held_out": held_out_quality(state.ema, network, perception, validation)},
        out,
        batch_size=batch_size,
        save_every=save_every,
    )

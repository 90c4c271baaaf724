"""Train the autoencoder of a latent prior on real images; resumable after a kill.

python -m experiments train-first-stage emoji --source FOLDER --out runs/emoji-first-stage

VQ-f4 without the discriminator: absolute error, LPIPS by AlexNet, codebook and commitment terms.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dsg_jax.metrics import psnr
from dsg_jax.metrics.lpips import TRUNKS, LPIPSWeights, lpips, lpips_weights
from dsg_jax.networks.autoencoder import Autoencoder, AutoencoderConfig, init_params
from dsg_jax.priors.first_stage import CODES, nearest_code
from experiments.train.images import training_and_validation
from experiments.train.loop import check_images, descended, fresh_state, train_until
from experiments.train.settings import TrainFirstStageSettings

_SMALL = AutoencoderConfig(
    channels=16, channel_mult=(1, 2, 4), num_res_blocks=1, codes=2048, norm_groups=8
)
CONFIGS = {"emoji": _SMALL, "photo": _SMALL}
COMMITMENT = 0.25
# Steps without use after which a code is moved to where the encoder's outputs are.
REVIVE_AFTER = 100


class FirstStageState(NamedTuple):
    """A `TrainState` with the use of the codes.

    Attributes:
      idle: (codes,) steps since each code was the nearest to some latent pixel.
    """

    step: jax.Array
    params: dict
    ema: dict
    moments: optax.OptState
    idle: jax.Array


class Perception(NamedTuple):
    """The perceptual term: weight * LPIPS; ``weights`` None leaves it out."""

    weights: LPIPSWeights | None
    weight: jax.Array | float = 0.5

    def distance(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """Mean LPIPS of two batches."""
        if self.weights is None:
            return jnp.zeros(())
        return jnp.mean(jax.vmap(partial(lpips, self.weights))(x, y))


def reconstruct(params, network: Autoencoder, x) -> tuple[jax.Array, ...]:
    """Encode a batch of images, quantise with a straight-through gradient, decode.

    Returns:
      (b, h, w, 3) the decoded images, the latents before the quantisation, their nearest codes,
      differentiable in the codebook, and the numbers of these codes.
    """
    apply: Callable = partial(network.apply, {"params": params})
    codes, z = params[CODES]["kernel"], apply(x, method="encode")
    chosen = nearest_code(codes, z)
    code = codes.T[chosen]
    return apply(z + jax.lax.stop_gradient(code - z), method="decode"), z, code, chosen


def first_stage_loss(params, network: Autoencoder, perception: Perception, x):
    """Loss of one batch: (total, (its terms, its latents and the numbers of their codes)).

        |x - D(z_q)| + w LPIPS(x, D(z_q)) + |sg(z) - e|^2 + 0.25 |z - sg(e)|^2

    with z = E(x), its nearest codes e and z_q = z + sg(e - z), all terms means (van den Oord et al.
    2017, equation 3, with the error of Rombach et al. 2022). Departs from the latter: no
    discriminator, and LPIPS by AlexNet, a tenth of the cost of VGG16.
    """
    image, z, code, chosen = reconstruct(params, network, x)
    terms = {
        "l1": jnp.mean(jnp.abs(x - image)),
        "lpips": perception.distance(x, image),
        "codebook": jnp.mean((jax.lax.stop_gradient(z) - code) ** 2),
    }
    loss = terms["l1"] + perception.weight * terms["lpips"] + terms["codebook"]
    loss += COMMITMENT * jnp.mean((z - jax.lax.stop_gradient(code)) ** 2)
    return loss, ({"loss": loss} | terms, (z, chosen))


def revived(trees: list[dict], idle, z, key) -> list[dict]:
    """Parameter trees whose long-idle codes are moved to random latent pixels of the batch."""
    positions = z.reshape(-1, z.shape[-1])
    fresh = positions[jax.random.randint(key, idle.shape, 0, len(positions))].T
    moved = [jnp.where(idle >= REVIVE_AFTER, fresh, tree[CODES]["kernel"]) for tree in trees]
    return [tree | {CODES: {"kernel": codes}} for tree, codes in zip(trees, moved, strict=True)]


@partial(jax.jit, static_argnames=("network", "optimizer"), donate_argnums=0)
def train_step(state: FirstStageState, x, *, key, perception, network, optimizer):
    """One optimiser step on a batch; returns the new state and the terms of the loss."""
    gradient = jax.grad(first_stage_loss, has_aux=True)
    grads, (terms, (z, chosen)) = gradient(state.params, network, perception, x)
    used = jnp.zeros(state.idle.shape, bool).at[chosen].set(True)
    idle = jnp.where(used, 0, state.idle + 1)
    key = jax.random.fold_in(key, state.step)
    state = descended(state, grads, optimizer)
    params, ema = revived([state.params, state.ema], idle, z, key)
    idle = jnp.where(idle >= REVIVE_AFTER, 0, idle)
    state = state._replace(params=params, ema=ema, idle=idle)
    return state, terms | {"codes_used": jnp.mean(used)}


@partial(jax.jit, static_argnames="network")
def _reconstructed(params, x, perception, *, network):
    """PSNR and LPIPS of each image of a batch, its latents, and the numbers of their codes."""
    image, z, _, chosen = reconstruct(params, network, x)
    distance = jax.vmap(lambda x, y: perception.distance(x[None], y[None]))(x, image)
    return jax.vmap(psnr)(image, x), distance, z, chosen


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


def initial_state(network: Autoencoder, seed: int, optimizer) -> FirstStageState:
    """Fresh parameters, and no code idle yet."""
    key = jax.random.key(seed, impl="rbg")  # compiles in a third of the default generator's time
    params = jax.jit(partial(init_params, network.config))(key)
    idle = jnp.zeros(network.config.codes, jnp.int32)
    return FirstStageState(*fresh_state(params, optimizer), idle)


def plan_train_first_stage(settings: TrainFirstStageSettings) -> Callable[[], None]:
    """Check `train-first-stage`.

    Raises:
      ValueError: a size that the network or LPIPS cannot take.
      FileNotFoundError: no images below ``source``, or no LPIPS weights.
    """
    least = TRUNKS["alex"].smallest if settings.lpips_weight else 1
    check_images(settings, CONFIGS[settings.name].factor, least)
    weights = lpips_weights("alex") if settings.lpips_weight else None
    return partial(train, settings, Perception(weights, settings.lpips_weight))


def train(settings: TrainFirstStageSettings, perception: Perception) -> None:
    """Train until the last step, from the newest checkpoint or from random weights."""
    draw, validation = training_and_validation(settings)
    network = Autoencoder(CONFIGS[settings.name])
    train_until(
        settings,
        partial(initial_state, network, settings.seed),
        partial(train_step, perception=perception, network=network),
        draw,
        partial(held_out_quality, network=network, perception=perception, images=validation),
    )

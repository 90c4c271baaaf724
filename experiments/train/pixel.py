"""Train a pixel prior on real images: velocity prediction, EMA, resumable after a kill.

python -m experiments train-prior emoji --source FOLDER --out runs/emoji
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial

from dsg_jax.diffusion import time_of_sigma
from dsg_jax.networks.adm import ADMConfig, ADMUNet
from dsg_jax.networks.ldm import LDMConfig
from dsg_jax.priors import load_prior
from dsg_jax.priors.pixel import ADMNetwork
from experiments.train.images import SOURCES, training_and_validation
from experiments.train.loop import make_optimizer, train_until, updated_ema

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
HELD_OUT_SIGMAS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0, 100.0)


class TrainState(NamedTuple):
    """Everything a resumed run needs."""

    step: jax.Array
    params: dict
    ema: dict
    moments: optax.OptState


class Levels(NamedTuple):
    """The noise levels to train at, log-normal (Karras et al. 2022) within bounds."""

    time: Callable[[jax.Array], jax.Array]
    """sigma -> the network's time."""
    log_mean: float = -0.7
    log_std: float = 1.6
    low: float = 0.005
    high: float = 120.0

    def draw(self, key: jax.Array, count: int) -> jax.Array:
        """``count`` random levels."""
        log_sigma = self.log_mean + self.log_std * jax.random.normal(key, (count,))
        return jnp.exp(jnp.clip(log_sigma, jnp.log(self.low), jnp.log(self.high)))


ADM_LEVELS = Levels(Partial(time_of_sigma))


def noised(x0: jax.Array, sigma: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The variance-preserving state at noise level sigma, and the velocity to predict there.

    x = c x0 + s n and v = c n - s x0 with c = 1 / sqrt(1 + sigma^2), s = sigma c (Salimans & Ho
    2022). Unlike the noise, v stays of unit size at every sigma, so that x0_hat = c x - s v is as
    good at sigma 100 as the network is.
    """
    c = jax.lax.rsqrt(1 + sigma**2)[:, None, None, None]
    s = sigma[:, None, None, None] * c
    return c * x0 + s * noise, c * noise - s * x0


def velocity_loss(params, network, levels: Levels, x0, key) -> jax.Array:
    """Mean squared error of the velocity at random noise levels."""
    key_sigma, key_noise = jax.random.split(key)
    sigma = levels.draw(key_sigma, len(x0))
    x, v = noised(x0, sigma, jax.random.normal(key_noise, x0.shape))
    return jnp.mean((network.apply(params, x, levels.time(sigma)) - v) ** 2)


@partial(jax.jit, static_argnames=("network", "optimizer"), donate_argnums=0)
def train_step(state: TrainState, x0, key, levels, *, network, optimizer):
    """One optimiser step on a batch; returns the new state and its named loss."""
    key = jax.random.fold_in(key, state.step)
    loss, grads = jax.value_and_grad(velocity_loss)(state.params, network, levels, x0, key)
    updates, moments = optimizer.update(grads, state.moments)
    params = optax.apply_updates(state.params, updates)
    ema = updated_ema(state.ema, params, state.step)
    return TrainState(state.step + 1, params, ema, moments), {"loss": loss}


@partial(jax.jit, static_argnames="network")
def _denoising_error(params, x0, sigma, time, *, network) -> jax.Array:
    noise = jax.random.normal(jax.random.key(1), x0.shape)
    sigma = jnp.full(len(x0), sigma)
    x, _ = noised(x0, sigma, noise)
    c = jax.lax.rsqrt(1 + sigma**2)[:, None, None, None]
    s = sigma[:, None, None, None] * c
    x0_hat = c * x - s * network.apply(params, x, time(sigma))
    return jnp.mean((x0_hat - x0) ** 2)


def held_out_errors(
    params, network, x0: np.ndarray, levels: Levels = ADM_LEVELS
) -> dict[float, float]:
    """Mean squared error of x0_hat on held-out images or latents, one number per noise level."""
    error = partial(_denoising_error, params, x0, time=levels.time, network=network)
    return {
        sigma: float(error(jnp.float32(sigma)))
        for sigma in HELD_OUT_SIGMAS
        if levels.low <= sigma <= levels.high
    }


@partial(jax.jit, static_argnames=("network", "size"))
def _fresh_params(key, *, network: nn.Module, size: int) -> dict:
    config: ADMConfig | LDMConfig = network.config
    example = jnp.zeros((1, size, size, config.in_channels)), jnp.zeros((1,))
    return dict(network.init(key, *example))


def initial_state(network: nn.Module, optimizer, size: int, seed: int) -> TrainState:
    """Fresh parameters, their copy as EMA, and empty moments."""
    key = jax.random.key(seed, impl="rbg")  # compiles in a fraction of the default's time
    params = _fresh_params(key, network=network, size=size)
    ema = jax.tree.map(jnp.copy, params)
    return TrainState(jnp.zeros((), jnp.int32), params, ema, optimizer.init(params))


def weights_of(prior: str, wanted: dict) -> dict:
    """The parameters of a prior; ValueError unless they have the shapes of those wanted."""
    network = load_prior(prior)[0].network
    params = {"params": network.params} if isinstance(network, ADMNetwork) else {}
    shapes = [jax.tree.map(lambda leaf: leaf.shape, tree) for tree in (params, wanted)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"the prior {prior!r} has another architecture than the one to train: leave out --start"
        )
    return params


def with_weights_of(state: TrainState, prior: str) -> TrainState:
    """The fresh state with the weights of a prior of the same architecture."""
    params = weights_of(prior, state.params)
    return state._replace(params=params, ema=jax.tree.map(jnp.copy, params))


def check(name: str, source: Path, size: int, start: str | None, **_settings) -> None:
    """Refuse what `train` cannot begin with.

    Raises:
      ValueError: an unknown name, a size that the network cannot take, or a prior to start with
        that has another architecture.
      FileNotFoundError: no images below ``source``, or no such prior.
    """
    if name not in SOURCES:
        raise ValueError(f"no prior {name!r} to train: choose from {', '.join(SOURCES)}")
    multiple = CONFIGS[name].size_multiple
    if size < 1 or size % multiple:
        raise ValueError(f"size {size}: give a multiple of {multiple} pixels")
    SOURCES[name][0](source)
    if start is not None:
        fresh = partial(_fresh_params, network=ADMUNet(CONFIGS[name]), size=size)
        weights_of(start, jax.eval_shape(fresh, jax.random.key(0)))


def train(
    name: str,
    source: Path,
    out: Path,
    *,
    size: int = 64,
    steps: int = 5000,
    batch_size: int = 16,
    learning_rate: float = 1e-3,
    save_every: int = 100,
    seed: int = 0,
    start: str | None = None,
) -> None:
    """Train the named prior until ``steps``, continuing from the newest checkpoint in ``out``.

    Without a checkpoint it begins at random weights, or at those of the prior ``start``.
    """
    draw, validation = training_and_validation(name, source, size, seed)
    network, optimizer = ADMUNet(CONFIGS[name]), make_optimizer(learning_rate, steps)
    state = initial_state(network, optimizer, size, seed)
    state = state if start is None else with_weights_of(state, start)
    key = jax.random.key(seed)
    train_until(
        steps,
        state,
        lambda state, x0: train_step(
            state, x0, key, ADM_LEVELS, network=network, optimizer=optimizer
        ),
        draw,
        lambda state: {"held_out": held_out_errors(state.ema, network, validation)},
        out,
        batch_size=batch_size,
        save_every=save_every,
    )

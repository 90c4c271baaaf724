"""Train a pixel prior on real images: velocity prediction, EMA, resumable after a kill.

python -m experiments train-prior emoji --source FOLDER --out runs/emoji
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dsg_jax.checkpoints import load_prior
from dsg_jax.clock import Clock, adm_clock
from dsg_jax.networks.adm import ADMConfig, ADMUNet
from dsg_jax.networks.ldm import LDMConfig
from dsg_jax.priors.pixel import ADMNetwork
from experiments.train.images import training_and_validation
from experiments.train.loop import TrainState, check_images, descended, fresh_state, train_until
from experiments.train.settings import TrainPriorSettings

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


class Levels(NamedTuple):
    """The noise levels to train at, log-normal (Karras et al. 2022) within bounds.

    Attributes:
      clock: says the network's times.
    """

    clock: Clock
    log_mean: float = -0.7
    log_std: float = 1.6
    low: float = 0.005
    high: float = 120.0

    def draw(self, key: jax.Array, count: int) -> jax.Array:
        """``count`` random levels."""
        log_sigma = self.log_mean + self.log_std * jax.random.normal(key, (count,))
        return jnp.exp(jnp.clip(log_sigma, jnp.log(self.low), jnp.log(self.high)))


def adm_levels() -> Levels:
    """The noise levels of ADM's clock."""
    return Levels(adm_clock())


def coefficients(sigma: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Weights c = 1 / sqrt(1 + sigma^2) and s = sigma c, (b, 1, 1, 1) each, of (b,) levels."""
    c = jax.lax.rsqrt(1 + sigma**2)[:, None, None, None]
    return c, sigma[:, None, None, None] * c


def noised(x0: jax.Array, sigma: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The variance-preserving state at noise level sigma, and the velocity to predict there.

    x = c x0 + s n and v = c n - s x0, see `coefficients` (Salimans & Ho 2022). Unlike the noise, v
    stays of unit size at every sigma, so that x0_hat = c x - s v is as good at sigma 100 as the
    network is.
    """
    c, s = coefficients(sigma)
    return c * x0 + s * noise, c * noise - s * x0


def velocity_loss(params, network, levels: Levels, x0, key) -> jax.Array:
    """Mean squared error of the velocity at random noise levels."""
    key_sigma, key_noise = jax.random.split(key)
    sigma = levels.draw(key_sigma, len(x0))
    x, v = noised(x0, sigma, jax.random.normal(key_noise, x0.shape))
    return jnp.mean((network.apply(params, x, levels.clock.time(sigma)) - v) ** 2)


@partial(jax.jit, static_argnames=("network", "optimizer"), donate_argnums=0)
def train_step(state: TrainState, x0, *, key, levels, network, optimizer):
    """One optimiser step on a batch; returns the new state and its named loss."""
    key = jax.random.fold_in(key, state.step)
    loss, grads = jax.value_and_grad(velocity_loss)(state.params, network, levels, x0, key)
    return descended(state, grads, optimizer), {"loss": loss}


@partial(jax.jit, static_argnames="network")
def denoising_error(params, x0, sigma, clock, *, network) -> jax.Array:
    """Mean squared error of x0_hat at a noise level."""
    noise = jax.random.normal(jax.random.key(1), x0.shape)
    sigma = jnp.full(len(x0), sigma)
    x, _ = noised(x0, sigma, noise)
    c, s = coefficients(sigma)
    x0_hat = c * x - s * network.apply(params, x, clock.time(sigma))
    return jnp.mean((x0_hat - x0) ** 2)


def held_out_errors(
    params, *, network: nn.Module, x0: np.ndarray, levels: Levels
) -> dict[float, float]:
    """Mean squared error of x0_hat on held-out images or latents, one number per noise level."""
    error = partial(denoising_error, params, x0, clock=levels.clock, network=network)
    return {
        sigma: float(error(jnp.float32(sigma)))
        for sigma in HELD_OUT_SIGMAS
        if levels.low <= sigma <= levels.high
    }


@partial(jax.jit, static_argnames=("network", "size"))
def fresh_params(key: jax.Array, *, network: nn.Module, size: int) -> dict:
    """Random parameters; ``size`` is the side of the states, pixels or latent pixels."""
    config: ADMConfig | LDMConfig = network.config
    example = jnp.zeros((1, size, size, config.in_channels)), jnp.zeros((1,))
    return dict(network.init(key, *example))


def initial_state(
    network: nn.Module, size: int, seed: int, optimizer, start: str | None = None
) -> TrainState:
    """Random parameters, or those of a prior of the same architecture; empty moments."""
    key = jax.random.key(seed, impl="rbg")  # compiles in a fraction of the default's time
    params = fresh_params(key, network=network, size=size)
    return fresh_state(params if start is None else weights_of(start, params), optimizer)


def weights_of(prior: str, forms: dict) -> dict:
    """The parameters of a prior; ValueError unless they have the shapes of ``forms``."""
    network = load_prior(prior)[0].network
    params = {"params": network.params} if isinstance(network, ADMNetwork) else {}
    if jax.tree.map(jnp.shape, params) != jax.tree.map(jnp.shape, forms):
        raise ValueError(
            f"the prior {prior!r} has another architecture than the one to train: leave out --start"
        )
    return params


def plan_train_prior(settings: TrainPriorSettings) -> Callable[[], None]:
    """Check `train-prior`.

    Raises:
      ValueError: a size that the network cannot take, or a prior to start with that has another
        architecture.
      FileNotFoundError: no images below ``source``, or no such prior.
    """
    check_images(settings, CONFIGS[settings.name].size_multiple)
    if settings.start is not None:
        fresh = partial(fresh_params, network=ADMUNet(CONFIGS[settings.name]), size=settings.size)
        weights_of(settings.start, jax.eval_shape(fresh, jax.random.key(0)))
    return partial(train, settings)


def train(settings: TrainPriorSettings) -> None:
    """Train until the last step, from the newest checkpoint, else from random or given weights."""
    draw, validation = training_and_validation(settings)
    network, levels = ADMUNet(CONFIGS[settings.name]), adm_levels()
    train_until(
        settings,
        partial(initial_state, network, settings.size, settings.seed, start=settings.start),
        partial(train_step, levels=levels, network=network),
        draw,
        partial(held_out_errors, network=network, x0=validation, levels=levels),
    )

"""The wiring that ADM's and latent diffusion's U-Nets share; the blocks are each network's own.

These functions run inside a network's ``__call__``, so the modules they make are its children.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from dsg_jax.networks.layers import timestep_embedding


class _Levels(Protocol):
    @property
    def model_channels(self) -> int: ...
    @property
    def channel_mult(self) -> tuple[float, ...]: ...
    @property
    def num_res_blocks(self) -> int: ...
    @property
    def attention_factors(self) -> tuple[int, ...]: ...


class Blocks(NamedTuple):
    """What a network puts at each place; the last argument is the place's name in the checkpoint.

    All of them map a (b, h, w, c) feature map to another.

    Attributes:
      residual: (map, number of output channels, name).
      attention: (map, name).
      resample: (map, "down" or "up", name); halves or doubles the size.
    """

    residual: Callable[[Array, int, str], Array]
    attention: Callable[[Array, str], Array]
    resample: Callable[[Array, str, str], Array]


def embed_time(t: Array, width: int, dtype: jnp.dtype) -> Array:
    """(b,) times -> (b, 4 width): sinusoids through two dense layers, no final activation."""
    emb = timestep_embedding(t, width).astype(dtype)
    emb = nn.silu(nn.Dense(4 * width, dtype=dtype, name="time_embed.0")(emb))
    return nn.Dense(4 * width, dtype=dtype, name="time_embed.2")(emb)


def down_path(h: Array, config: _Levels, blocks: Blocks) -> tuple[Array, list[Array]]:
    """From the stem's (b, h, w, model_channels) to the smallest map, and the skips on the way."""
    skips, factor = [h], 1
    for level, mult in enumerate(config.channel_mult):
        for _ in range(config.num_res_blocks):
            name = f"input_blocks.{len(skips)}"
            h = blocks.residual(h, int(mult * config.model_channels), f"{name}.0")
            if factor in config.attention_factors:
                h = blocks.attention(h, f"{name}.1")
            skips.append(h)
        if level + 1 < len(config.channel_mult):
            h = blocks.resample(h, "down", f"input_blocks.{len(skips)}.0")
            skips.append(h)
            factor *= 2
    return h, skips


def up_path(h: Array, skips: list[Array], config: _Levels, blocks: Blocks) -> Array:
    """Back to full size; every residual block takes one skip, the last one first."""
    n, factor = 0, 2 ** (len(config.channel_mult) - 1)
    for level, mult in reversed(list(enumerate(config.channel_mult))):
        for i in range(config.num_res_blocks + 1):
            name, inner = f"output_blocks.{n}", 1
            h = jnp.concatenate([h, skips[-1 - n]], axis=-1)
            h = blocks.residual(h, int(mult * config.model_channels), f"{name}.0")
            if factor in config.attention_factors:
                h = blocks.attention(h, f"{name}.1")
                inner = 2
            if level and i == config.num_res_blocks:
                h = blocks.resample(h, "up", f"{name}.{inner}")
                factor //= 2
            n += 1
    return h

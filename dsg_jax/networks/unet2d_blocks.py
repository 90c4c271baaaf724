"""The configuration of diffusers' `UNet2DModel`, and the blocks that it is made of.

Modules carry the checkpoint's names: the parameter path ``("down_blocks.0.resnets.1", "norm1",
"scale")`` is the key ``down_blocks.0.resnets.1.norm1.weight``. Fields of the configuration are
those of ``config.json``, and their defaults those of the class: a key that a file lacks means them.
"""

from functools import partial
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from dsg_jax.networks.layers import (
    Conv,
    GroupNorm,
    average_pool,
    upsample_nearest,
)


class UNet2DConfig(NamedTuple):
    """Architecture of a `UNet2DModel`, in the words of its ``config.json``.

    Attributes:
      down_block_types: fine to coarse; "Attn..." has one attention after every residual block.
      up_block_types: coarse to fine.
      attention_head_dim: width of a head; None is one head as wide as the block.
      attn_norm_num_groups: of the middle attention alone. None is ``norm_num_groups``, but no norm
        where the time scales and shifts.
      mid_block_scale_factor: the middle divides input + branch by it.
      downsample_padding: 1 is symmetric, 0 is zeros at the far ends only.
      downsample_type: of blocks with attention; the others have a convolution always.
      upsample_type: likewise.
      freq_shift: see `layers.timestep_embedding`.
      flip_sin_to_cos: cosines before sines.
      time_embedding_type: "learned" is a table of ``num_train_timesteps`` whole times.
      center_input_sample: the network sees 2 x - 1.
      class_embed_type: None with ``num_class_embeds`` n is a table of n labels; "timestep" embeds
        a label as it does a time; "identity" takes the embedding itself.
    """

    in_channels: int = 3
    out_channels: int = 3
    block_out_channels: tuple[int, ...] = (224, 448, 672, 896)
    layers_per_block: int = 2
    down_block_types: tuple[Literal["DownBlock2D", "AttnDownBlock2D"], ...] = (
        "DownBlock2D",
        "AttnDownBlock2D",
        "AttnDownBlock2D",
        "AttnDownBlock2D",
    )
    up_block_types: tuple[Literal["UpBlock2D", "AttnUpBlock2D"], ...] = (
        "AttnUpBlock2D",
        "AttnUpBlock2D",
        "AttnUpBlock2D",
        "UpBlock2D",
    )
    mid_block_type: Literal["UNetMidBlock2D"] | None = "UNetMidBlock2D"
    add_attention: bool = True
    attention_head_dim: int | None = 8
    norm_num_groups: int = 32
    attn_norm_num_groups: int | None = None
    norm_eps: float = 1e-5
    resnet_time_scale_shift: Literal["default", "scale_shift"] = "default"
    mid_block_scale_factor: float = 1
    downsample_padding: Literal[0, 1] = 1
    downsample_type: Literal["conv", "resnet"] = "conv"
    upsample_type: Literal["conv", "resnet"] = "conv"
    freq_shift: float = 0
    flip_sin_to_cos: bool = True
    time_embedding_dim: int | None = None
    time_embedding_type: Literal["positional", "learned"] = "positional"
    num_train_timesteps: int | None = None
    center_input_sample: bool = False
    class_embed_type: Literal["timestep", "identity"] | None = None
    num_class_embeds: int | None = None
    act_fn: Literal["silu", "swish"] = "silu"

    @property
    def size_multiple(self) -> int:
        """Height and width of an input must be multiples of this."""
        return 2 ** (len(self.block_out_channels) - 1)

    @property
    def embedding_width(self) -> int:
        """Of the embedded time, to which that of a label is added."""
        return self.time_embedding_dim or 4 * self.block_out_channels[0]

    @property
    def has_labels(self) -> bool:
        """Whether the network wants a label."""
        return self.class_embed_type is not None or self.num_class_embeds is not None


# google/ddpm-celebahq-256, -church-256, -bedroom-256 and -cat-256. The training script's default
# network has the same names and shapes with other numbers.
DDPM_256 = UNet2DConfig(
    block_out_channels=(128, 128, 256, 256, 512, 512),
    down_block_types=(*("DownBlock2D",) * 4, "AttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "AttnUpBlock2D", *("UpBlock2D",) * 4),
    attention_head_dim=None,
    downsample_padding=0,
    flip_sin_to_cos=False,
    freq_shift=1,
    norm_eps=1e-6,
)


class ResnetBlock(nn.Module):
    """Residual block, whose sum is divided by ``over``; ``resample`` is "down", "up" or "none"."""

    features: int
    config: UNet2DConfig
    dtype: jnp.dtype
    resample: str = "none"
    over: float = 1

    @nn.compact
    def __call__(self, x: Array, emb: Array) -> Array:
        """Maps (b, h, w, c) and embedded times (b, e) -> (b, h', w', features)."""
        config, dtype = self.config, self.dtype
        norm = partial(GroupNorm, config.norm_num_groups, config.norm_eps)
        scales = config.resnet_time_scale_shift == "scale_shift"
        h = nn.silu(norm(name="norm1")(x)).astype(dtype)
        if self.resample != "none":
            change = average_pool if self.resample == "down" else upsample_nearest
            h, x = change(h), change(x)
        h = Conv(self.features, dtype=dtype, name="conv1")(h)
        width = self.features * (2 if scales else 1)
        emb = nn.Dense(width, dtype=dtype, name="time_emb_proj")(nn.silu(emb))[:, None, None]
        if scales:
            scale, shift = jnp.split(emb, 2, axis=-1)
            h = norm(name="norm2")(h) * (1 + scale) + shift
        else:
            h = norm(name="norm2")(h + emb)
        h = Conv(self.features, dtype=dtype, name="conv2")(nn.silu(h).astype(dtype))
        if x.shape[-1] != self.features:
            x = Conv(self.features, size=1, dtype=dtype, name="conv_shortcut")(x)
        return (x + h) / self.over


class Attention(nn.Module):
    """Self-attention over the pixels, softmax in float32; without groups there is no norm."""

    groups: int | None
    config: UNet2DConfig
    dtype: jnp.dtype
    over: float = 1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """(b, h, w, c) -> same shape; input + attended values, divided by ``over``."""
        b, c, dtype = x.shape[0], x.shape[-1], self.dtype
        width = self.config.attention_head_dim or c
        h = x
        if self.groups is not None:
            h = GroupNorm(self.groups, self.config.norm_eps, name="group_norm")(x)
        tokens = h.reshape(b, -1, c).astype(dtype)
        heads = lambda name: nn.Dense(c // width * width, dtype=dtype, name=name)(tokens).reshape(
            b, -1, c // width, width
        )
        q, k, v = heads("to_q"), heads("to_k"), heads("to_v")
        logits = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(logits * width**-0.5, axis=-1).astype(dtype)
        attended = jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(b, tokens.shape[1], -1)
        return (
            x + nn.Dense(c, dtype=dtype, name="to_out.0")(attended).reshape(x.shape)
        ) / self.over


class Table(nn.Module):
    """Rows by their numbers; (width, rows), transposed against the checkpoint's."""

    rows: int
    width: int

    @nn.compact
    def __call__(self, index: Array) -> Array:
        """(b,) numbers, rounded and moved to the table's ends -> (b, width)."""
        shape = (self.width, self.rows)
        kernel = self.param("kernel", nn.initializers.normal(1.0), shape)
        rows = jnp.round(jnp.asarray(index, jnp.float32)).astype(jnp.int32)
        return jnp.take(kernel, rows, axis=1, mode="clip").T

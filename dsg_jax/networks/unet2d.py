"""The U-Net of pixel diffusion in Hugging Face's diffusers, `UNet2DModel`, with its options.

Modules carry the checkpoint's names: the parameter path ``("down_blocks.0.resnets.1", "norm1",
"scale")`` is the key ``down_blocks.0.resnets.1.norm1.weight``.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from dsg_jax.networks.layers import (
    Conv,
    GroupNorm,
    check_size,
    timestep_embedding,
    upsample_nearest,
)
from dsg_jax.networks.unet2d_blocks import Attention, ResnetBlock, Table, UNet2DConfig

_ATTENDS = "Attn"  # how the types of blocks with attention begin


class UNet2D(nn.Module):
    """(b, h, w, c) image and (b,) times, and labels where it has them -> (b, h, w, out_channels).

    ``dtype`` is the compute type of convolutions, projections and attention; norms, softmax and the
    output stay in float32.
    """

    config: UNet2DConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, t: Array, y: Array | None = None) -> Array:
        """See the class; ``y`` is (b,) labels, or (b, e) embeddings of the type "identity".

        Raises:
          ValueError: a label is missing or there is one too many, or the lists of blocks have not
            one entry a level.
        """
        config, dtype = self.config, self.dtype
        levels = len(config.block_out_channels)
        if {len(config.down_block_types), len(config.up_block_types)} != {levels}:
            raise ValueError(
                f"{len(config.down_block_types)} down_block_types and {len(config.up_block_types)} "
                f"up_block_types for {levels} block_out_channels: each level has one of each"
            )
        check_size(x, config.size_multiple)
        emb = self._embedded(t, y)
        x = 2 * x - 1 if config.center_input_sample else x
        h = Conv(config.block_out_channels[0], dtype=dtype, name="conv_in")(x)
        h, skips = self._down(h, emb)
        if config.mid_block_type is not None:
            h = self._middle(h, emb)
        h = self._up(h, skips, emb)
        h = GroupNorm(config.norm_num_groups, config.norm_eps, name="conv_norm_out")(h)
        h = Conv(config.out_channels, dtype=dtype, name="conv_out")(nn.silu(h).astype(dtype))
        return h.astype(jnp.float32)

    def _embedded(self, t: Array, y: Array | None) -> Array:
        config, first = self.config, self.config.block_out_channels[0]
        if (y is not None) != config.has_labels:
            raise ValueError(
                "this network wants a label" if y is None else "this network takes no label"
            )
        waves: Callable[[Array], Array] = partial(
            timestep_embedding,
            width=first,
            freq_shift=config.freq_shift,
            cosines_first=config.flip_sin_to_cos,
        )
        if config.time_embedding_type == "learned":
            if not config.num_train_timesteps:
                raise ValueError("time_embedding_type='learned' needs num_train_timesteps")
            waves = Table(config.num_train_timesteps, first, name="time_proj")
        emb = self._perceptron(waves(t), "time_embedding")
        if y is None:
            return emb
        if config.class_embed_type == "identity":
            return emb + y
        if config.class_embed_type == "timestep":
            return emb + self._perceptron(waves(y), "class_embedding")
        classes = config.num_class_embeds or 0
        return emb + Table(classes, config.embedding_width, name="class_embedding")(y)

    def _perceptron(self, x: Array, name: str) -> Array:
        dense = partial(nn.Dense, self.config.embedding_width, dtype=self.dtype)
        h = nn.silu(dense(name=f"{name}.linear_1")(x.astype(self.dtype)))
        return dense(name=f"{name}.linear_2")(h)

    def _down(self, h: Array, emb: Array) -> tuple[Array, list[Array]]:
        """The smallest map, and the skips on the way."""
        config, skips = self.config, [h]
        for i, (kind, width) in enumerate(
            zip(config.down_block_types, config.block_out_channels, strict=True)
        ):
            for j in range(config.layers_per_block):
                h = self._block(h, emb, width, kind, f"down_blocks.{i}", j)
                skips.append(h)
            if i + 1 < len(config.block_out_channels):
                name = f"down_blocks.{i}.downsamplers.0"
                if kind.startswith(_ATTENDS) and config.downsample_type == "resnet":
                    h = self._resnet(width, name, resample="down")(h, emb)
                else:
                    padding = config.downsample_padding, 1
                    h = Conv(width, 3, 2, padding, self.dtype, name=f"{name}.conv")(h)
                skips.append(h)
        return h, skips

    def _middle(self, h: Array, emb: Array) -> Array:
        config, width, over = self.config, h.shape[-1], self.config.mid_block_scale_factor
        h = self._resnet(width, "mid_block.resnets.0", over=over)(h, emb)
        if config.add_attention:
            groups = config.attn_norm_num_groups
            if groups is None and config.resnet_time_scale_shift == "default":
                groups = config.norm_num_groups
            name = "mid_block.attentions.0"
            h = Attention(groups, config, self.dtype, over, name=name)(h)
        return self._resnet(width, "mid_block.resnets.1", over=over)(h, emb)

    def _up(self, h: Array, skips: list[Array], emb: Array) -> Array:
        """Back to full size; every residual block takes one skip, the last one first."""
        config = self.config
        for i, (kind, width) in enumerate(
            zip(config.up_block_types, config.block_out_channels[::-1], strict=True)
        ):
            for j in range(config.layers_per_block + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = self._block(h, emb, width, kind, f"up_blocks.{i}", j)
            if skips:
                name = f"up_blocks.{i}.upsamplers.0"
                if kind.startswith(_ATTENDS) and config.upsample_type == "resnet":
                    h = self._resnet(width, name, resample="up")(h, emb)
                else:
                    h = Conv(width, dtype=self.dtype, name=f"{name}.conv")(upsample_nearest(h))
        return h

    def _block(self, h: Array, emb: Array, width: int, kind: str, name: str, j: int) -> Array:
        h = self._resnet(width, f"{name}.resnets.{j}")(h, emb)
        if not kind.startswith(_ATTENDS):
            return h
        groups = self.config.norm_num_groups
        return Attention(groups, self.config, self.dtype, name=f"{name}.attentions.{j}")(h)

    def _resnet(self, width: int, name: str, resample: str = "none", over: float = 1) -> nn.Module:
        return ResnetBlock(width, self.config, self.dtype, resample, over, name=name)


def init_params(config: UNet2DConfig, key: Array) -> dict:
    """Random parameters; under `jax.eval_shape` only their names, shapes and types."""
    side, width = config.size_multiple, config.embedding_width
    label = jnp.zeros((1, width) if config.class_embed_type == "identity" else 1)
    labels = (label,) if config.has_labels else ()
    image = jnp.zeros((1, side, side, config.in_channels))
    return UNet2D(config).init(key, image, jnp.ones(1), *labels)["params"]

"""The U-Net of latent diffusion models (Rombach et al. 2022), unconditional or with a context.

It differs from ADM's in what is inside the blocks: the time embedding is added instead of scaling,
maps are resampled by learned convolutions, and with a context every self-attention becomes a
spatial transformer. Modules carry the checkpoint's names, as in `adm`; the published files have
them behind ``model.diffusion_model.``.
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from dsg_jax.networks.adm import ADMConfig, AttentionBlock, Resample, ResBlock
from dsg_jax.networks.layers import Conv, GroupNorm, check_size
from dsg_jax.networks.transformer import SpatialTransformer
from dsg_jax.networks.unet import Blocks, down_path, embed_time, up_path

_ZEROS = nn.initializers.zeros  # the last layer of every residual branch starts at zero


class LDMConfig(NamedTuple):
    """Architecture of a latent diffusion U-Net; the defaults are the FFHQ-256 model's.

    ``attention_factors`` are downsampling factors with respect to the latent. Heads have
    ``num_head_channels`` channels; -1 uses ``num_heads`` of them at every level instead.
    ``context_dim`` is the width of the context's tokens for the spatial transformers; None is the
    unconditional network, with plain self-attention in the legacy (heads, qkv) channel order.
    """

    model_channels: int = 224
    channel_mult: tuple[int, ...] = (1, 2, 3, 4)
    num_res_blocks: int = 2
    attention_factors: tuple[int, ...] = (2, 4, 8)
    num_heads: int = 4
    num_head_channels: int = 32
    context_dim: int | None = None
    in_channels: int = 3
    out_channels: int = 3
    norm_groups: int = 32

    @property
    def size_multiple(self) -> int:
        """Height and width of a latent must be multiples of this."""
        return 2 ** (len(self.channel_mult) - 1)


LDM_FFHQ = LDMConfig()
# ImageNet, class-conditional: the published cin256-v2.
LDM_CIN256 = LDMConfig(
    model_channels=192,
    channel_mult=(1, 2, 3, 5),
    num_heads=1,
    num_head_channels=-1,
    context_dim=512,
)
# Stable Diffusion v1.5; v2's projections of tokens are linear, as 1x1 convolutions are.
SD_1_5 = LDMConfig(
    model_channels=320,
    channel_mult=(1, 2, 4, 4),
    attention_factors=(1, 2, 4),
    num_heads=8,
    num_head_channels=-1,
    context_dim=768,
    in_channels=4,
    out_channels=4,
)
SD_2_1 = SD_1_5._replace(num_head_channels=64, context_dim=1024)


class LDMUNet(nn.Module):
    """(b, h, w, c) latent, (b,) times and a context -> (b, h, w, out_channels), the noise.

    Times are in 0..999, possibly fractional. ``dtype`` is the compute type of convolutions,
    projections and attention; norms, softmax and the output stay in float32. ``remat`` recomputes
    the inside of every block in the backward pass (`jax.checkpoint`) instead of storing it: less
    memory, about a third more work for a gradient, the same parameters and numbers.
    """

    config: LDMConfig = LDM_FFHQ
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, t: Array, context: Array | None = None) -> Array:
        """See the class; ``context`` is (b, tokens, context_dim), None for an unconditional one."""
        config, dtype = self.config, self.dtype
        check_size(x, config.size_multiple)
        self._check_context(context)
        blocks = self._blocks(embed_time(t, config.model_channels, dtype), context)
        h = Conv(config.model_channels, dtype=dtype, name="input_blocks.0.0")(x)
        h, skips = down_path(h, config, blocks)
        h = blocks.residual(h, h.shape[-1], "middle_block.0")
        h = blocks.attention(h, "middle_block.1")
        h = blocks.residual(h, h.shape[-1], "middle_block.2")
        h = up_path(h, skips, config, blocks)
        h = nn.silu(GroupNorm(config.norm_groups, name="out.0")(h))
        h = Conv(config.out_channels, dtype=dtype, kernel_init=_ZEROS, name="out.2")(h)
        return h.astype(jnp.float32)

    def _check_context(self, context: Array | None) -> None:
        dim = self.config.context_dim
        if (context is None) != (dim is None) or (context is not None and context.shape[-1] != dim):
            offered = "no context" if context is None else f"a context of shape {context.shape}"
            takes = "takes none" if dim is None else f"needs (batch, tokens, {dim})"
            raise ValueError(f"{offered} was given to a network that {takes}")

    def _blocks(self, emb: Array, context: Array | None) -> Blocks:
        config, dtype = self.config, self.dtype
        keep = nn.remat if self.remat else lambda module: module
        residual, legacy, transformer = map(keep, (ResBlock, AttentionBlock, SpatialTransformer))
        shared = ADMConfig(
            num_heads=config.num_heads,
            num_head_channels=config.num_head_channels,
            resblock_updown=False,
            norm_groups=config.norm_groups,
            use_scale_shift_norm=False,
        )

        def attention(h: Array, name: str) -> Array:
            if context is None:
                return legacy(shared, dtype, name=name)(h)
            width = config.num_head_channels
            heads = config.num_heads if width == -1 else h.shape[-1] // width
            return transformer(heads, config.norm_groups, dtype, name=name)(h, context)

        return Blocks(
            lambda h, features, name: residual(features, shared, dtype, name=name)(h, emb),
            attention,
            lambda h, direction, name: Resample(shared, dtype, direction, name=name)(h, emb),
        )


def init_params(config: LDMConfig, key: Array) -> dict:
    """Random parameters; under `jax.eval_shape` only their names, shapes and types."""
    size = config.size_multiple
    latent = jnp.zeros((1, size, size, config.in_channels))
    context = None if config.context_dim is None else jnp.zeros((1, 1, config.context_dim))
    return LDMUNet(config).init(key, latent, jnp.zeros(1), context)["params"]

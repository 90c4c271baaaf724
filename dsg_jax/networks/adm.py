"""The ADM U-Net of guided-diffusion (Dhariwal & Nichol 2021), the pixel prior of DPS and DAPS.

Each module is named by its place in the PyTorch checkpoint: the parameter path
``("input_blocks.1.0", "in_layers.0", "scale")`` is the key ``input_blocks.1.0.in_layers.0.weight``.
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from dsg_jax.networks.layers import (
    Conv,
    GroupNorm,
    attention,
    average_pool,
    check_size,
    pixel_shuffle,
    pixel_unshuffle,
    upsample_nearest,
)
from dsg_jax.networks.unet import Blocks, down_path, embed_time, up_path

_ZEROS = nn.initializers.zeros  # the last layer of every residual branch starts at zero


class ADMConfig(NamedTuple):
    """Architecture of an ADM U-Net; the defaults are the FFHQ-256 network of DPS.

    ``attention_factors`` are downsampling factors (16 = the 16x16 maps of a 256 px image).
    ``num_head_channels`` = -1 uses ``num_heads`` instead, and ``num_heads_upsample`` of them on the
    way up if that is not -1 too. Without ``resblock_updown`` the maps are resampled by one strided
    or one upsampled convolution, at half the cost of a block. Without ``use_scale_shift_norm`` the
    time is added between the convolutions of a block. ``num_classes`` is the number of rows of a
    class-conditional network's table, which has none for "no class". Three fields are ours, for
    small priors: ``patch``, a pixel-unshuffle stem, ``norm_groups``, and ``middle_attention``.
    """

    model_channels: int = 128
    channel_mult: tuple[float, ...] = (1, 1, 2, 2, 4, 4)
    num_res_blocks: int = 1
    attention_factors: tuple[int, ...] = (16,)
    num_heads: int = 4
    num_head_channels: int = 64
    new_attention_order: bool = False
    in_channels: int = 3
    out_channels: int = 6
    resblock_updown: bool = True
    patch: int = 1
    norm_groups: int = 32
    middle_attention: bool = True
    num_classes: int | None = None
    use_scale_shift_norm: bool = True
    num_heads_upsample: int = -1

    @property
    def size_multiple(self) -> int:
        """Height and width of an input must be multiples of this."""
        return self.patch * 2 ** (len(self.channel_mult) - 1)


ADM_FFHQ_256 = ADMConfig()
ADM_IMAGENET_256 = ADMConfig(model_channels=256, num_res_blocks=2, attention_factors=(8, 16, 32))
# ImageNet with a class, by the side of the images.
ADM_IMAGENET_CLASSES = {
    64: ADMConfig(
        192, (1, 2, 3, 4), 3, attention_factors=(2, 4, 8), new_attention_order=True,
        num_classes=1000,
    ),
    128: ADMConfig(
        256, (1, 1, 2, 3, 4), 2, attention_factors=(4, 8, 16), num_head_channels=-1,
        num_classes=1000,
    ),
    256: ADM_IMAGENET_256._replace(num_classes=1000),
    512: ADMConfig(
        256, (0.5, 1, 1, 2, 2, 4, 4), 2, attention_factors=(16, 32, 64), num_classes=1000
    ),
}  # fmt: skip
# The LSUN models that the consistency models were distilled from.
ADM_CONSISTENCY_256 = ADM_IMAGENET_256._replace(
    new_attention_order=True, out_channels=3, use_scale_shift_norm=False
)


class ResBlock(nn.Module):
    """Residual block; ``resample`` is "down", "up" or "none".

    The embedded times scale and shift what is between its convolutions, or are added to it.
    """

    features: int
    config: ADMConfig
    dtype: jnp.dtype
    resample: str = "none"

    @nn.compact
    def __call__(self, x: Array, emb: Array) -> Array:
        """Maps (b, h, w, c) and the embedded times (b, e) -> (b, h', w', features)."""
        groups, dtype = self.config.norm_groups, self.dtype
        h = nn.silu(GroupNorm(groups, name="in_layers.0")(x)).astype(dtype)
        if self.resample != "none":
            change = average_pool if self.resample == "down" else upsample_nearest
            h, x = change(h), change(x)
        h = Conv(self.features, dtype=dtype, name="in_layers.2")(h)
        width = self.features * (2 if self.config.use_scale_shift_norm else 1)
        emb = nn.Dense(width, dtype=dtype, name="emb_layers.1")(nn.silu(emb))[:, None, None, :]
        norm = GroupNorm(groups, name="out_layers.0")
        if self.config.use_scale_shift_norm:
            scale, shift = jnp.split(emb, 2, axis=-1)
            h = norm(h) * (1 + scale) + shift
        else:
            h = norm(h + emb)
        h = nn.silu(h).astype(dtype)
        h = Conv(self.features, dtype=dtype, kernel_init=_ZEROS, name="out_layers.3")(h)
        if x.shape[-1] != self.features:
            x = Conv(self.features, size=1, dtype=dtype, name="skip_connection")(x)
        return x + h


class Resample(nn.Module):
    """Change the size by two: inside a residual block, or by one convolution (`op`, `conv`)."""

    config: ADMConfig
    dtype: jnp.dtype
    direction: str

    @nn.compact
    def __call__(self, x: Array, emb: Array) -> Array:
        """Maps (b, h, w, c) and the embedded times (b, e) -> half or double the size."""
        if self.config.resblock_updown:
            block = ResBlock(x.shape[-1], self.config, self.dtype, resample=self.direction)
            nn.share_scope(self, block)
            return block(x, emb)
        if self.direction == "down":
            return Conv(x.shape[-1], stride=2, dtype=self.dtype, name="op")(x)
        return Conv(x.shape[-1], dtype=self.dtype, name="conv")(upsample_nearest(x))


class AttentionBlock(nn.Module):
    """Multi-head self-attention over the pixels, softmax in float32."""

    config: ADMConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """(b, h, w, c) -> same shape; the input is added to the attended values."""
        b, height, width, c = x.shape
        per_head = self.config.num_head_channels
        heads = self.config.num_heads if per_head == -1 else c // per_head
        if c % (heads if per_head == -1 else per_head):
            raise ValueError(
                f"{c} channels cannot be split into heads with num_heads={self.config.num_heads} "
                f"and num_head_channels={per_head}; choose a divisor of {c}"
            )
        tokens = GroupNorm(self.config.norm_groups, name="norm")(x).reshape(b, -1, c)
        qkv = nn.Dense(3 * c, dtype=self.dtype, name="qkv")(tokens)
        if self.config.new_attention_order:
            q, k, v = jnp.moveaxis(qkv.reshape(b, -1, 3, heads, c // heads), 2, 0)
        else:
            q, k, v = jnp.moveaxis(qkv.reshape(b, -1, heads, 3, c // heads), 3, 0)
        scale = (c // heads) ** -0.25
        attended = attention(q * scale, k * scale, v).reshape(b, -1, c)
        h = nn.Dense(c, dtype=self.dtype, kernel_init=_ZEROS, name="proj_out")(attended)
        return x + h.reshape(b, height, width, c)


class ClassTable(nn.Module):
    """What is added to the embedded time for each class; one class a column, as in `Codebook`."""

    classes: int
    features: int

    @nn.compact
    def __call__(self, labels: Array) -> Array:
        """(b,) numbers of classes -> (b, features) in float32."""
        shape = (self.features, self.classes)
        table = self.param("kernel", nn.initializers.normal(1.0), shape)
        return jnp.take(table.astype(jnp.float32), labels, axis=1).T


class ADMUNet(nn.Module):
    """(b, h, w, c) image and (b,) times in 0..999, possibly fractional -> (b, h, w, out_channels).

    A class-conditional network also takes (b,) numbers of classes. The first ``in_channels`` output
    channels are the noise prediction, the rest the variance values. ``dtype`` is the compute type
    of convolutions, projections and attention; norms, softmax and the output stay in float32.
    """

    config: ADMConfig = ADM_FFHQ_256
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, t: Array, labels: Array | None = None) -> Array:
        """See the class; height and width must be multiples of ``config.size_multiple``."""
        config, dtype = self.config, self.dtype
        check_size(x, config.size_multiple)
        blocks = self._blocks(self._embedding(t, labels))
        h = pixel_unshuffle(x, config.patch)
        stem = int(config.channel_mult[0] * config.model_channels)
        h = Conv(stem, dtype=dtype, name="input_blocks.0.0")(h)
        h, skips = down_path(h, config, blocks)
        h = blocks.residual(h, h.shape[-1], "middle_block.0")
        if config.middle_attention:
            h = blocks.attention(h, "middle_block.1")
        h = blocks.residual(h, h.shape[-1], "middle_block.2")
        h = up_path(h, skips, config, blocks)

        h = nn.silu(GroupNorm(config.norm_groups, name="out.0")(h))
        channels = config.out_channels * config.patch**2
        h = Conv(channels, dtype=dtype, kernel_init=_ZEROS, name="out.2")(h)
        return pixel_shuffle(h, config.patch).astype(jnp.float32)

    def _embedding(self, t: Array, labels: Array | None) -> Array:
        """Of the times, and of the classes where the network has them."""
        config, classes = self.config, self.config.num_classes
        if (labels is None) != (classes is None):
            raise ValueError(
                "classes were given to a network that takes none"
                if classes is None
                else f"the network is class-conditional: give a class from 0 to {classes - 1}, by "
                "--class-label or load_prior(..., condition=207)"
            )
        emb = embed_time(t, config.model_channels, self.dtype)
        if labels is None or classes is None:
            return emb
        table = ClassTable(classes, emb.shape[-1], name="label_emb")
        return (emb + table(labels)).astype(self.dtype)

    def _blocks(self, emb: Array) -> Blocks:
        config, dtype = self.config, self.dtype
        up = config._replace(num_heads=config.num_heads_upsample)
        up = config if config.num_heads_upsample == -1 else up

        def attention(h: Array, name: str) -> Array:
            heads = up if name.startswith("output_blocks") else config
            return AttentionBlock(heads, dtype, name=name)(h)

        return Blocks(
            lambda h, features, name: ResBlock(features, config, dtype, name=name)(h, emb),
            attention,
            lambda h, direction, name: Resample(config, dtype, direction, name=name)(h, emb),
        )

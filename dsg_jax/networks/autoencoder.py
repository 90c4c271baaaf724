"""The convolutional autoencoders of latent diffusion (Rombach et al. 2022, appendix G).

One architecture, two bottlenecks: a codebook (VQ-f4 of the FFHQ and ImageNet models) or a diagonal
Gaussian (KL-f8 of Stable Diffusion). Each module is named by its place in the PyTorch checkpoint:
``("encoder", "down.0.block.0", "norm1", "scale")`` is ``encoder.down.0.block.0.norm1.weight``.
"""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from dsg_jax.networks.layers import Conv, GroupNorm, attention, check_size, upsample_nearest

_EPS = 1e-6  # of every norm here; the diffusion networks have 1e-5


class AutoencoderConfig(NamedTuple):
    """Architecture of an autoencoder; the defaults are VQ-f4.

    ``codes`` is the size of the codebook, None for a Gaussian bottleneck, whose encoder gives means
    and log-variances. Attention is single-headed and in the middle of both halves; ``codes`` and
    KL models of larger factors also have it behind the blocks of some levels, those of
    ``attention_factors`` (8 = the 32x32 maps of a 256 px image). ``norm_groups`` is ours, for small
    autoencoders.
    """

    channels: int = 128
    channel_mult: tuple[int, ...] = (1, 2, 4)
    num_res_blocks: int = 2
    latent_channels: int = 3
    codes: int | None = 8192
    image_channels: int = 3
    norm_groups: int = 32
    attention_factors: tuple[int, ...] = ()

    @property
    def factor(self) -> int:
        """Pixels that a side of a latent pixel covers; images must be multiples of it."""
        return 2 ** (len(self.channel_mult) - 1)

    @property
    def encoded_channels(self) -> int:
        """Channels of an encoder's output: the latent's, or its means and log-variances."""
        return self.latent_channels * (1 if self.codes else 2)


VQ_F4 = AutoencoderConfig()
KL_F8 = AutoencoderConfig(channel_mult=(1, 2, 4, 4), latent_channels=4, codes=None)


class ResnetBlock(nn.Module):
    """Two normalised convolutions beside a shortcut."""

    features: int
    groups: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """(b, h, w, c) -> (b, h, w, features)."""
        dtype = self.dtype
        h = nn.silu(GroupNorm(self.groups, _EPS, name="norm1")(x)).astype(dtype)
        h = Conv(self.features, dtype=dtype, name="conv1")(h)
        h = nn.silu(GroupNorm(self.groups, _EPS, name="norm2")(h)).astype(dtype)
        h = Conv(self.features, dtype=dtype, name="conv2")(h)
        if x.shape[-1] != self.features:
            x = Conv(self.features, size=1, dtype=dtype, name="nin_shortcut")(x)
        return x + h


class AttentionBlock(nn.Module):
    """Self-attention of one head over all pixels, softmax in float32."""

    groups: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """(b, h, w, c) -> same shape; the input is added to the attended values."""
        b, height, width, c = x.shape
        h = GroupNorm(self.groups, _EPS, name="norm")(x)
        project = partial(Conv, c, size=1, dtype=self.dtype)
        q, k, v = (project(name=name)(h).reshape(b, -1, 1, c) for name in "qkv")
        attended = attention(q * c**-0.5, k, v).reshape(b, height, width, c)
        return x + project(name="proj_out")(attended)


def _block(half: nn.Module, x: Array, features: int, name: str) -> Array:
    kind = nn.remat(ResnetBlock) if half.remat else ResnetBlock
    return kind(features, half.config.norm_groups, half.dtype, name=name)(x)


def _attention(half: nn.Module, x: Array, name: str) -> Array:
    kind = nn.remat(AttentionBlock) if half.remat else AttentionBlock
    return kind(half.config.norm_groups, half.dtype, name=name)(x)


def _level(half: nn.Module, x: Array, level: int, blocks: int, name: str) -> Array:
    """The blocks of a level of an encoder ("down") or a decoder ("up")."""
    config = half.config
    for i in range(blocks):
        features = config.channel_mult[level] * config.channels
        x = _block(half, x, features, f"{name}.{level}.block.{i}")
        if 2**level in config.attention_factors:
            x = _attention(half, x, f"{name}.{level}.attn.{i}")
    return x


def _middle(half: nn.Module, x: Array) -> Array:
    x = _block(half, x, x.shape[-1], "mid.block_1")
    x = _attention(half, x, "mid.attn_1")
    return _block(half, x, x.shape[-1], "mid.block_2")


def _output(half: nn.Module, x: Array, features: int) -> Array:
    x = nn.silu(GroupNorm(half.config.norm_groups, _EPS, name="norm_out")(x))
    return Conv(features, dtype=half.dtype, name="conv_out")(x.astype(half.dtype))


class Encoder(nn.Module):
    """(b, h, w, c) image -> (b, h/f, w/f, encoded channels)."""

    config: AutoencoderConfig
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """See the class; each halving pads one row and one column at the far ends only."""
        config = self.config
        x = Conv(config.channels, dtype=self.dtype, name="conv_in")(x)
        for level in range(len(config.channel_mult)):
            x = _level(self, x, level, config.num_res_blocks, "down")
            if level + 1 < len(config.channel_mult):
                name = f"down.{level}.downsample.conv"
                down = Conv(x.shape[-1], stride=2, padding=(0, 1), dtype=self.dtype, name=name)
                x = down(x)
        return _output(self, _middle(self, x), config.encoded_channels)


class Decoder(nn.Module):
    """(b, h/f, w/f, latent channels) -> (b, h, w, c) image, unclipped."""

    config: AutoencoderConfig
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """See the class; level 0 is the finest and comes last."""
        config = self.config
        width = config.channel_mult[-1] * config.channels
        x = _middle(self, Conv(width, dtype=self.dtype, name="conv_in")(z))
        for level in reversed(range(len(config.channel_mult))):
            x = _level(self, x, level, config.num_res_blocks + 1, "up")
            if level:
                up = Conv(x.shape[-1], dtype=self.dtype, name=f"up.{level}.upsample.conv")
                x = up(upsample_nearest(x))
        return _output(self, x, config.image_channels)


class Codebook(nn.Module):
    """The codes, one a column: (latent channels, codes), transposed against the checkpoint's."""

    config: AutoencoderConfig

    @nn.compact
    def __call__(self) -> Array:
        """The table of codes, in float32."""
        shape = (self.config.latent_channels, self.config.codes)
        return self.param("kernel", nn.initializers.normal(1.0), shape)


class Autoencoder(nn.Module):
    """Both halves with the 1x1 convolutions at the bottleneck; quantisation is not in here.

    ``dtype`` is the compute type of convolutions and attention; norms, softmax and the results stay
    in float32. ``remat`` recomputes every block in the backward pass instead of storing its
    activations: the same numbers with less memory and about a third more time.
    """

    config: AutoencoderConfig = VQ_F4
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    def setup(self) -> None:
        """Name the five parts as the checkpoints do."""
        config, dtype = self.config, self.dtype
        self.encoder = Encoder(config, dtype, self.remat)
        self.decoder = Decoder(config, dtype, self.remat)
        self.quant_conv = Conv(config.encoded_channels, size=1, dtype=dtype)
        self.post_quant_conv = Conv(config.latent_channels, size=1, dtype=dtype)
        if config.codes:
            self.quantize = Codebook(config, name="quantize.embedding")

    def encode(self, x: Array) -> Array:
        """(b, h, w, c) image -> (b, h/f, w/f, encoded channels), float32.

        Raises:
          ValueError: an image whose sides are not multiples of ``config.factor``.
        """
        check_size(x, self.config.factor)
        return self.quant_conv(self.encoder(x)).astype(jnp.float32)

    def decode(self, z: Array) -> Array:
        """(b, h/f, w/f, latent channels) -> (b, h, w, c) image, unclipped, float32."""
        return self.decoder(self.post_quant_conv(z)).astype(jnp.float32)

    def __call__(self, x: Array) -> tuple[Array, Array, Array | None]:
        """Every part once: (encoded, decoded from its first channels, codes), for `init`."""
        z = self.encode(x)
        codes = self.quantize() if self.config.codes else None
        return z, self.decode(z[..., : self.config.latent_channels]), codes


def init_params(config: AutoencoderConfig, key: Array) -> dict:
    """Random parameters, without an outer "params"; under `jax.eval_shape` only their shapes."""
    image = jnp.zeros((1, config.factor, config.factor, config.image_channels))
    return Autoencoder(config).init(key, image)["params"]

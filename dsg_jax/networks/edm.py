"""The networks of EDM (Karras et al. 2022): SongUNet (DDPM++, NCSN++) and DhariwalUNet (ADM's).

InverseBench uses the same. Every module is named by its place in the checkpoint, so that the
parameter path ``("enc.32x32_block0", "conv0", "kernel")`` is ``enc.32x32_block0.conv0.weight``.
Levels are called after the size that an image of ``resolution`` has there, whatever comes in.
"""

import math
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from dsg_jax.networks.layers import Conv, GroupNorm, check_size, filtered_down, filtered_up


class EDMConfig(NamedTuple):
    """Architecture of a SongUNet or DhariwalUNet; the defaults are InverseBench's at 128 px.

    Attributes:
      family: "song" or "dhariwal".
      resolution: side of the images that it was trained at.
      attention_resolutions: the nominal sizes of the levels with attention.
      out_channels: twice ``in_channels`` in iDDPM's networks, whose second half is not used.
      label_dim: length of the class vectors; None for an unconditional network.
      embedding_mult: width of the embedded noise level over ``model_channels``.
      noise_mult: the same before its dense layers ("song").
      embedding: of the noise level, "positional" or "fourier" ("song").
      encoder: how the image enters the lower levels again: "standard" not at all, "skip" or
        "residual" ("song").
      decoder: "skip" adds an image at every level, "standard" has one at the end ("song").
      filter_taps: of the resampling filter; (1, 1) is the mean of 2x2 and nearest neighbours.
    """

    family: Literal["song", "dhariwal"] = "dhariwal"
    resolution: int = 128
    model_channels: int = 128
    channel_mult: tuple[int, ...] = (1, 1, 1, 2, 2)
    num_res_blocks: int = 1
    attention_resolutions: tuple[int, ...] = (16,)
    in_channels: int = 1
    out_channels: int = 1
    label_dim: int | None = None
    embedding_mult: int = 4
    noise_mult: int = 1
    embedding: Literal["positional", "fourier"] = "positional"
    encoder: Literal["standard", "skip", "residual"] = "standard"
    decoder: Literal["standard", "skip"] = "standard"
    filter_taps: tuple[int, ...] = (1, 1)

    @property
    def size_multiple(self) -> int:
        """Height and width of an input must be multiples of this."""
        return 2 ** (len(self.channel_mult) - 1)

    @property
    def norm_eps(self) -> float:
        """Of every group norm."""
        return 1e-6 if self.family == "song" else 1e-5

    def level_name(self, level: int) -> str:
        """Such as "64x64"."""
        side = self.resolution >> level
        return f"{side}x{side}"

    def heads(self, features: int) -> int:
        """Of an attention; 0 where there is none, as in narrow levels of DhariwalUNet."""
        return 1 if self.family == "song" else features // 64


def _norm(features: int, config: EDMConfig, name: str) -> GroupNorm:
    return GroupNorm(min(32, features // 4), config.norm_eps, name=name)


class Block(nn.Module):
    """Residual block, with attention at its end; ``resample`` is "down", "up" or "none".

    DhariwalUNet scales and shifts by the noise level. SongUNet adds it, and divides every sum of
    two branches by sqrt(2).
    """

    features: int
    config: EDMConfig
    dtype: jnp.dtype
    resample: Literal["down", "up", "none"] = "none"
    attention: bool = False

    @nn.compact
    def __call__(self, x: Array, emb: Array) -> Array:
        """(b, h, w, c) and the embedded levels (b, e), activated -> (b, h', w', features)."""
        config, dtype, song = self.config, self.dtype, self.config.family == "song"
        gain, width = math.sqrt(0.5) if song else 1.0, x.shape[-1]
        h = self._resized(nn.silu(_norm(width, config, "norm0")(x)).astype(dtype))
        h = Conv(self.features, dtype=dtype, name="conv0")(h)
        shifts = nn.Dense(self.features * (1 if song else 2), dtype=dtype, name="affine")(emb)
        shifts, norm = shifts[:, None, None, :], _norm(self.features, config, "norm1")
        if song:
            h = norm(h + shifts)
        else:
            scale, shift = jnp.split(shifts, 2, axis=-1)
            h = norm(h) * (1 + scale) + shift
        h = Conv(self.features, dtype=dtype, name="conv1")(nn.silu(h).astype(dtype))
        x = self._resized(x)
        if width != self.features or (song and self.resample != "none"):
            x = Conv(self.features, size=1, dtype=dtype, name="skip")(x)
        x = (x + h) * gain
        if self.attention and config.heads(self.features):
            x = (x + self._attended(x)) * gain
        return x

    def _resized(self, x: Array) -> Array:
        if self.resample == "none":
            return x
        change = filtered_down if self.resample == "down" else filtered_up
        return change(x, self.config.filter_taps)

    def _attended(self, x: Array) -> Array:
        """Channels of the projection are (head, channel of the head, q or k or v)."""
        b, height, width, c = x.shape
        heads = self.config.heads(c)
        tokens = _norm(c, self.config, "norm2")(x).astype(self.dtype).reshape(b, -1, c)
        qkv = nn.Dense(3 * c, dtype=self.dtype, name="qkv")(tokens)
        q, k, v = jnp.moveaxis(qkv.reshape(b, -1, heads, c // heads, 3), -1, 0)
        logits = jnp.einsum("bqhd,bkhd->bhqk", q, k / math.sqrt(c // heads))
        weights = jax.nn.softmax(logits.astype(jnp.float32), axis=-1).astype(self.dtype)
        attended = jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(b, -1, c)
        return nn.Dense(c, dtype=self.dtype, name="proj")(attended).reshape(x.shape)


class EDMUNet(nn.Module):
    """(b, h, w, c) scaled state and (b,) c_noise -> (b, h, w, out_channels), EDM's F.

    ``labels`` (b, label_dim) are rows such as one-hot classes; None is no class, zeros. ``dtype``
    is the compute type of convolutions, projections and attention; norms, softmax and the output
    are float32.
    """

    config: EDMConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, t: Array, labels: Array | None = None) -> Array:
        """See the class; height and width must be multiples of ``config.size_multiple``."""
        check_size(x, self.config.size_multiple)
        emb = self._embedded(t, labels)
        h, skips = self._encode(x, emb)
        return self._decode(h, skips, emb).astype(jnp.float32)

    def _embedded(self, t: Array, labels: Array | None) -> Array:
        """(b, e): the noise levels and the labels, activated."""
        config, dtype = self.config, self.dtype
        song, width = config.family == "song", config.model_channels * config.noise_mult
        half, wide = width // 2, config.embedding_mult * config.model_channels
        if config.embedding == "fourier":
            init = nn.initializers.normal(16)
            frequencies = 2 * jnp.pi * self.param("map_noise.freqs", init, (half,))
        else:
            steps = jnp.arange(half, dtype=jnp.float32) / (half - 1 if song else half)
            frequencies = jnp.exp(-jnp.log(10000.0) * steps)
        angles = t.astype(jnp.float32)[:, None] * frequencies
        waves = (jnp.sin, jnp.cos) if song else (jnp.cos, jnp.sin)
        emb = jnp.concatenate([wave(angles) for wave in waves], axis=-1)
        label_dim = config.label_dim or 0
        labels = jnp.zeros((len(t), label_dim)) if labels is None else labels
        if label_dim and song:
            emb = emb + nn.Dense(width, name="map_label")(labels * math.sqrt(label_dim))
        emb = nn.silu(nn.Dense(wide, dtype=dtype, name="map_layer0")(emb))
        emb = nn.Dense(wide, dtype=dtype, name="map_layer1")(emb)
        if label_dim and not song:
            emb = emb + nn.Dense(wide, use_bias=False, name="map_label")(labels)
        return nn.silu(emb)

    def _encode(self, x: Array, emb: Array) -> tuple[Array, list[Array]]:
        """To the lowest level, and the skips on the way."""
        config, dtype = self.config, self.dtype
        first = 1 if config.family == "song" else config.channel_mult[0]
        image, skips, h = x, [], x
        for level, mult in enumerate(config.channel_mult):
            name = f"enc.{config.level_name(level)}"
            if level == 0:
                h = Conv(first * config.model_channels, dtype=dtype, name=f"{name}_conv")(x)
            else:
                h = self._block(h, emb, h.shape[-1], f"{name}_down", "down")
                h, image = self._image_again(h, image, name)
            skips.append(h)
            for i in range(config.num_res_blocks):
                attention = config.resolution >> level in config.attention_resolutions
                width = mult * config.model_channels
                h = self._block(h, emb, width, f"{name}_block{i}", attention=attention)
                skips.append(h)
        return h, skips

    def _image_again(self, h: Array, image: Array, name: str) -> tuple[Array, Array]:
        """The features of a level with the image added to them, and the image for the next one."""
        config, width = self.config, h.shape[-1]
        if config.encoder == "skip":
            image = filtered_down(image, config.filter_taps)
            h = h + Conv(width, size=1, dtype=self.dtype, name=f"{name}_aux_skip")(image)
        elif config.encoder == "residual":
            # the filter comes behind the convolution, and so does all of the padding before it
            before = 1 + (len(config.filter_taps) - 1) // 2
            conv = Conv(
                width, padding=(before, before), dtype=self.dtype, name=f"{name}_aux_residual"
            )
            h = image = (h + filtered_down(conv(image), config.filter_taps, 0)) / math.sqrt(2)
        return h, image

    def _decode(self, h: Array, skips: list[Array], emb: Array) -> Array:
        """Back to full size; every block behind a level's first takes one skip, the last first."""
        config, song = self.config, self.config.family == "song"
        image = None
        for level, mult in reversed(list(enumerate(config.channel_mult))):
            name, width = f"dec.{config.level_name(level)}", mult * config.model_channels
            if level + 1 == len(config.channel_mult):
                h = self._block(h, emb, h.shape[-1], f"{name}_in0", attention=True)
                h = self._block(h, emb, h.shape[-1], f"{name}_in1")
            else:
                h = self._block(h, emb, h.shape[-1], f"{name}_up", "up")
            for i in range(config.num_res_blocks + 1):
                attention = config.resolution >> level in config.attention_resolutions
                attention = attention and (not song or i == config.num_res_blocks)
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = self._block(h, emb, width, f"{name}_block{i}", attention=attention)
            if song and (level == 0 or config.decoder == "skip"):
                layer = self._image(h, f"{name}_aux_norm", f"{name}_aux_conv")
                coarser = None if image is None else filtered_up(image, config.filter_taps)
                image = layer if coarser is None else coarser + layer
        return self._image(h, "out_norm", "out_conv") if image is None else image

    def _image(self, h: Array, norm: str, conv: str) -> Array:
        h = nn.silu(_norm(h.shape[-1], self.config, norm)(h)).astype(self.dtype)
        return Conv(self.config.out_channels, dtype=self.dtype, name=conv)(h)

    def _block(
        self, h: Array, emb: Array, width: int, name: str, resample="none", attention=False
    ) -> Array:
        block = Block(width, self.config, self.dtype, resample, attention, name=name)
        return block(h, emb)

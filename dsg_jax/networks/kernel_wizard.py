"""The blurring half of KernelWizard: an image and a blur code -> the blurred image.

Source: Tran et al. 2021, "Explore Image Deblurring via Encoded Blur Kernel Space". Module names are
the checkpoint's keys, as in the other networks. Its kernel extractor, four fifths of the file,
estimates a code from an image pair; blurring never runs it and it is not here.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from dsg_jax.networks.layers import Conv, conv_general_dilated

# Pixels a side of the image that one cell of the code covers: seven halvings.
CODE_CELL = 128
_DEPTH = 5  # halvings of the adapter
_LAST = 64  # channels at full resolution, whatever the width of the rest
_LAYOUT = ("NHWC", "HWIO", "NHWC")


class BlurConfig(NamedTuple):
    """Architecture; the defaults are those of the published ``GOPRO_wVAE.pth``.

    Attributes:
      front_blocks: residual blocks of the feature extractor.
      back_blocks: residual blocks of the reconstruction.
    """

    channels: int = 64
    front_blocks: int = 10
    back_blocks: int = 20
    code_channels: int = 512


GOPRO_WVAE = BlurConfig()


class ResidualBlock(nn.Module):
    """x + conv2(relu(conv1 x)), without norms."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """(b, h, w, c) -> the same shape."""
        h = nn.relu(Conv(x.shape[-1], name="conv1")(x))
        return x + Conv(x.shape[-1], name="conv2")(h)


class Halve(nn.Module):
    """4x4 convolution of stride 2, padded by 1, without bias."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """(b, h, w, c) -> (b, h/2, w/2, features)."""
        shape = (4, 4, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        padding = ((1, 1), (1, 1))
        kernel = kernel.astype(x.dtype)
        return conv_general_dilated(x, kernel, (2, 2), padding, dimension_numbers=_LAYOUT)


class Double(nn.Module):
    """The transpose of `Halve`, with a bias where the checkpoint has one.

    The kernel is that of the convolution it transposes, (4, 4, features, c), so that PyTorch's
    (c, features, 4, 4) is reordered like every other convolution's.
    """

    features: int
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """(b, h, w, c) -> (b, 2h, 2w, features)."""
        init = nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)
        kernel = self.param("kernel", init, (4, 4, self.features, x.shape[-1]))
        kernel, pad = kernel.astype(x.dtype), ((2, 2), (2, 2))
        out = lax.conv_transpose(
            x, kernel, (2, 2), pad, dimension_numbers=_LAYOUT, transpose_kernel=True
        )
        if self.use_bias:
            out = out + self.param("bias", nn.initializers.zeros, (self.features,)).astype(x.dtype)
        return out


class FeatureExtractor(nn.Module):
    """Image -> features at a quarter of the size."""

    config: BlurConfig

    @nn.compact
    def __call__(self, u: Array) -> Array:
        """(b, h, w, 3) -> (b, h/4, w/4, channels)."""
        h = u
        for index, stride in ((0, 1), (2, 2), (4, 2)):
            h = Conv(self.config.channels, stride=stride, name=str(index))(h)
            h = nn.leaky_relu(h, 0.1)
        for i in range(self.config.front_blocks):
            h = ResidualBlock(name=str(6 + i))(h)
        return h


class Adapter(nn.Module):
    """A U-Net without norms that lets the code in at its bottleneck."""

    config: BlurConfig

    @nn.compact
    def __call__(self, features: Array, code: Array) -> Array:
        """(b, h/4, w/4, channels), (b, h/128, w/128, code_channels) -> as the features, in (-1, 1).

        The code passes through a ReLU first, so that its negative entries count as 0.
        """
        width = self.config.channels
        widths = (width, 2 * width, 4 * width, 8 * width, 8 * width)
        h, skips = features, []
        for depth in range(_DEPTH):
            name = f"{'submodule.' * depth}down.{min(depth, 1)}"
            h = Halve(widths[depth], name=name)(nn.leaky_relu(h, 0.2) if depth else h)
            skips.append(h)
        h = jnp.concatenate([skips.pop(), code], axis=-1)
        for depth in reversed(range(1, _DEPTH)):
            h = Double(widths[depth - 1], name=f"{'submodule.' * depth}up.1")(nn.relu(h))
            h = jnp.concatenate([h, skips.pop()], axis=-1)
        return jnp.tanh(Double(width, use_bias=True, name="up.1")(nn.relu(h)))


class Reconstruction(nn.Module):
    """Features at a quarter of the size -> what blurring adds to the image."""

    config: BlurConfig

    @nn.compact
    def __call__(self, h: Array) -> Array:
        """(b, h/4, w/4, channels) -> (b, h, w, 3)."""
        first = self.config.back_blocks
        for i in range(first):
            h = ResidualBlock(name=str(i))(h)
        for index, width in ((first, self.config.channels), (first + 3, _LAST)):
            h = _shuffled(Conv(4 * width, name=str(index))(h))
            h = nn.leaky_relu(h, 0.1)
        h = nn.leaky_relu(Conv(_LAST, name=str(first + 6))(h), 0.1)
        return Conv(3, name=str(first + 8))(h)


class KernelWizard(nn.Module):
    """(b, h, w, 3) image in [0, 1] and (b, h/128, w/128, code_channels) code -> the blurred image.

    The result is not clipped. Everything is float32.
    """

    config: BlurConfig = GOPRO_WVAE

    @nn.compact
    def __call__(self, u: Array, code: Array) -> Array:
        """See the class; ValueError for an image whose sides are not 128 times the code's."""
        if u.shape[1:3] != tuple(CODE_CELL * n for n in code.shape[1:3]):
            raise ValueError(
                f"image of {u.shape[1]}x{u.shape[2]} pixels and code of {code.shape[1]}x"
                f"{code.shape[2]}; the image needs sides that are {CODE_CELL} times the code's"
            )
        features = FeatureExtractor(self.config, name="feature_extractor")(u)
        adapted = Adapter(self.config, name="adapter.model")(features, code)
        return u + Reconstruction(self.config, name="recon_trunk")(adapted)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class BlurNetwork:
    """A KernelWizard for one unbatched image."""

    params: dict
    config: BlurConfig = field(default=GOPRO_WVAE, metadata={"static": True})

    def __call__(self, u: Array, code: Array) -> Array:
        """(h, w, 3) in [0, 1], (h/128, w/128, code_channels) -> (h, w, 3), unclipped."""
        return KernelWizard(self.config).apply({"params": self.params}, u[None], code[None])[0]


def init_params(config: BlurConfig, key: Array) -> dict:
    """Random parameters, without an outer "params"; under `jax.eval_shape` only their shapes."""
    example = jnp.zeros((1, CODE_CELL, CODE_CELL, 3)), jnp.zeros((1, 1, 1, config.code_channels))
    return KernelWizard(config).init(key, *example)["params"]


def _shuffled(x: Array) -> Array:
    """(b, h, w, 4c) -> (b, 2h, 2w, c); as in PyTorch the four values of a channel are adjacent."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, c // 4, 2, 2)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(b, 2 * h, 2 * w, c // 4)

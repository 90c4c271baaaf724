"""LPIPS v0.1 (Zhang et al. 2018): a perceptual distance by the features of a classifier.

The trunks are torchvision's, trained on ImageNet; the linear heads are the official ones.
`dsg_jax.metrics.lpips` reads their weights.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from dsg_jax.networks.layers import conv_general_dilated

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # ImageNet's, for [-1, 1]
_EPS = 1e-10


class Trunk(NamedTuple):
    """The convolutional part of a classifier; every convolution is followed by a ReLU.

    Attributes:
      paddings: zero padding of each convolution.
      stride: stride of the first convolution; the others have 1.
      pool: window of the max-pooling by two, without padding.
      pooled: convolutions in front of which there is pooling.
      taps: convolutions whose activations are compared.
      smallest: least side of an image in pixels; below, the last map would be empty.
      channels: channels that each convolution puts out.
      sizes: side of each convolution's kernel.
    """

    paddings: tuple[int, ...]
    stride: int
    pool: int
    pooled: tuple[int, ...]
    taps: tuple[int, ...]
    smallest: int
    channels: tuple[int, ...]
    sizes: tuple[int, ...]


_ALEX = Trunk(
    (2, 2, 1, 1, 1), 4, 3, (1, 2), (0, 1, 2, 3, 4), 31,
    (64, 192, 384, 256, 256), (11, 5, 3, 3, 3),
)  # fmt: skip
_VGG = Trunk(
    (1,) * 13, 1, 2, (2, 4, 7, 10), (1, 3, 6, 9, 12), 16,
    (64,) * 2 + (128,) * 2 + (256,) * 3 + (512,) * 6, (3,) * 13,
)  # fmt: skip
TRUNKS = {"alex": _ALEX, "vgg": _VGG}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LPIPSWeights:
    """One trunk and its heads, for `lpips`.

    Attributes:
      convolutions: each with ``kernel`` (h, w, in, out) and ``bias`` (out,).
      heads: (c,) non-negative weights of the channels, one vector for every tap.
      net: key of `TRUNKS`.
    """

    convolutions: tuple[dict[str, Array], ...]
    heads: tuple[Array, ...]
    net: str = field(metadata={"static": True})


def lpips_structs(net: str) -> dict:
    """The published weights of a network as structs: "convolutions" and "heads"."""
    trunk = TRUNKS[net]
    struct: Any = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
    sides = zip(trunk.sizes, (3, *trunk.channels), trunk.channels, strict=False)
    convolutions = ({"kernel": struct(k, k, a, b), "bias": struct(b)} for k, a, b in sides)
    heads = (struct(trunk.channels[tap]) for tap in trunk.taps)
    return {"convolutions": tuple(convolutions), "heads": tuple(heads)}


def lpips(weights: LPIPSWeights, x: Array, y: Array, *, average: bool = False) -> Array:
    """Perceptual distance of two images; 0 for equal ones, about 0.7 for unrelated ones.

        sum over taps k of the mean over positions of  sum_c w_kc (f_kc(x) - f_kc(y))^2

    where f_k is the activation of tap k, divided at each position by its norm over channels plus
    1e-10. The images are unclipped and not resized. Departs from the official code: where all
    channels of an activation are zero the gradient is zero there, not NaN.

    Args:
      weights: such as `dsg_jax.metrics.lpips.lpips_weights` reads.
      x: image (h, w, 3) or (h, w, 1) in [-1, 1]; grey is repeated to three channels.
      y: image of the same shape and range.
      average: pool by the mean instead of the maximum; static. Not what the heads were trained for.

    Returns:
      () distance, differentiable in both images.

    Raises:
      ValueError: shapes that differ or that the network cannot take.
    """
    trunk = TRUNKS[weights.net]
    if x.shape != y.shape or x.ndim != 3 or x.shape[-1] not in (1, 3):
        raise ValueError(
            f"images of shapes {x.shape} and {y.shape}; give two of one shape (h, w, 3) or "
            "(h, w, 1), and use jax.vmap for batches"
        )
    if min(x.shape[:2]) < trunk.smallest:
        raise ValueError(
            f"LPIPS by {weights.net} needs sides of at least {trunk.smallest} pixels, this image "
            f"has {x.shape[0]}x{x.shape[1]}"
        )
    distance = jnp.zeros(())
    features = (_features(weights, a, average) for a in (x, y))
    for head, f, g in zip(weights.heads, *features, strict=True):
        difference = _normalised(f) - _normalised(g)
        distance += jnp.mean(difference**2 @ head)
    return distance


def _features(weights: LPIPSWeights, x: Array, average: bool) -> list[Array]:
    """(h, w, 1 or 3) image -> the (1, h_k, w_k, c_k) activations of all taps."""
    trunk = TRUNKS[weights.net]
    shift, scale = jnp.array(_SHIFT), jnp.array(_SCALE)
    h = ((x.astype(jnp.float32) - shift) / scale)[None]
    taps = []
    for i, (convolution, pad) in enumerate(zip(weights.convolutions, trunk.paddings, strict=True)):
        if i in trunk.pooled:
            window = (1, trunk.pool, trunk.pool, 1)
            start, combine = (0.0, lax.add) if average else (-jnp.inf, lax.max)
            h = lax.reduce_window(h, start, combine, window, (1, 2, 2, 1), "VALID")
            h = h / trunk.pool**2 if average else h
        stride = trunk.stride if i == 0 else 1
        layout = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
        padding, strides = ((pad, pad), (pad, pad)), (stride, stride)
        h = conv_general_dilated(h, convolution["kernel"], strides, padding, **layout)
        h = jax.nn.relu(h + convolution["bias"])
        if i in trunk.taps:
            taps.append(h)
    return taps


def _normalised(f: Array) -> Array:
    square = jnp.sum(f * f, axis=-1, keepdims=True)
    norm = jnp.sqrt(jnp.where(square > 0, square, 1.0))
    return jnp.where(square > 0, f / (norm + _EPS), 0.0)

"""The Inception network of FID: images -> the 2048 features of its last pooling.

Architecture: Szegedy et al. 2015, "Rethinking the Inception Architecture for Computer Vision", in
the form of TensorFlow's graph of 2015-12-05 (Heusel et al. 2017), whose weights pytorch-fid
published as ``pt_inception-2015-12-05-6726825d.pth``. Differs from torchvision's Inception v3:
averages leave padding out of the count, the last block pools by the maximum, and there are 1008
logits. Module names are the checkpoint's.
"""

from functools import lru_cache
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

# Side of the images that the network was trained on, pixels, and number of its features.
SIDE, FEATURES = 299, 2048
_LOGITS = 1008
_EPS = 1e-3


class Unit(NamedTuple):
    """A convolution without bias, a normalisation by stored statistics, and a ReLU.

    Attributes:
      size: sides of the kernel.
      pad: whether the sides of the image stay as they are; else nothing is padded.
    """

    name: str
    features: int
    size: tuple[int, int] = (1, 1)
    stride: int = 1
    pad: bool = True


class Pool(NamedTuple):
    """3x3 pooling: of stride 1 it keeps the sides, of stride 2 nothing is padded."""

    average: bool = False
    stride: int = 1


# What follows one another. A tuple stands for branches whose outputs are put side by side.
Steps = list

_AVERAGE, _MAXIMUM, _HALVE = Pool(average=True), Pool(), Pool(stride=2)
_3, _5, _ROW, _COLUMN = (3, 3), (5, 5), (1, 7), (7, 1)


def _unpadded(name: str, features: int, stride: int = 1) -> Unit:
    return Unit(name, features, _3, stride, pad=False)


def _a(pooled: int) -> tuple[Steps, ...]:
    return (
        [Unit("branch1x1", 64)],
        [Unit("branch5x5_1", 48), Unit("branch5x5_2", 64, _5)],
        [
            Unit("branch3x3dbl_1", 64),
            Unit("branch3x3dbl_2", 96, _3),
            Unit("branch3x3dbl_3", 96, _3),
        ],
        [_AVERAGE, Unit("branch_pool", pooled)],
    )


_B: tuple[Steps, ...] = (
    [_unpadded("branch3x3", 384, 2)],
    [
        Unit("branch3x3dbl_1", 64),
        Unit("branch3x3dbl_2", 96, _3),
        _unpadded("branch3x3dbl_3", 96, 2),
    ],
    [_HALVE],
)


def _c(inner: int) -> tuple[Steps, ...]:
    return (
        [Unit("branch1x1", 192)],
        [
            Unit("branch7x7_1", inner),
            Unit("branch7x7_2", inner, _ROW),
            Unit("branch7x7_3", 192, _COLUMN),
        ],
        [
            Unit("branch7x7dbl_1", inner),
            Unit("branch7x7dbl_2", inner, _COLUMN),
            Unit("branch7x7dbl_3", inner, _ROW),
            Unit("branch7x7dbl_4", inner, _COLUMN),
            Unit("branch7x7dbl_5", 192, _ROW),
        ],
        [_AVERAGE, Unit("branch_pool", 192)],
    )


_D: tuple[Steps, ...] = (
    [Unit("branch3x3_1", 192), _unpadded("branch3x3_2", 320, 2)],
    [
        Unit("branch7x7x3_1", 192),
        Unit("branch7x7x3_2", 192, _ROW),
        Unit("branch7x7x3_3", 192, _COLUMN),
        _unpadded("branch7x7x3_4", 192, 2),
    ],
    [_HALVE],
)


def _forked(name: str) -> tuple[Steps, ...]:
    return [Unit(f"{name}a", 384, (1, 3))], [Unit(f"{name}b", 384, (3, 1))]


def _e(pool: Pool) -> tuple[Steps, ...]:
    return (
        [Unit("branch1x1", 320)],
        [Unit("branch3x3_1", 384), _forked("branch3x3_2")],
        [
            Unit("branch3x3dbl_1", 448),
            Unit("branch3x3dbl_2", 384, _3),
            _forked("branch3x3dbl_3"),
        ],
        [pool, Unit("branch_pool", 192)],
    )


# From the image to the first block.
_STEM: Steps = [
    _unpadded("Conv2d_1a_3x3", 32, 2),
    _unpadded("Conv2d_2a_3x3", 32),
    Unit("Conv2d_2b_3x3", 64, _3),
    _HALVE,
    Unit("Conv2d_3b_1x1", 80),
    _unpadded("Conv2d_4a_3x3", 192),
    _HALVE,
]
# The blocks by name, in their order.
_BLOCKS: dict[str, tuple[Steps, ...]] = {
    "Mixed_5b": _a(32),
    "Mixed_5c": _a(64),
    "Mixed_5d": _a(64),
    "Mixed_6a": _B,
    "Mixed_6b": _c(128),
    "Mixed_6c": _c(160),
    "Mixed_6d": _c(160),
    "Mixed_6e": _c(192),
    "Mixed_7a": _D,
    "Mixed_7b": _e(_AVERAGE),
    "Mixed_7c": _e(_MAXIMUM),
}


class _Normalised(nn.Module):
    """(x - running_mean) / sqrt(running_var + 1e-3) * scale + bias, by channels."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        zeros, ones = nn.initializers.zeros, nn.initializers.ones
        inits = {"scale": ones, "bias": zeros, "running_mean": zeros, "running_var": ones}
        of = {name: self.param(name, init, (x.shape[-1],)) for name, init in inits.items()}
        factor = of["scale"] * lax.rsqrt(of["running_var"] + _EPS)
        return (x - of["running_mean"]) * factor + of["bias"]


class _Unit(nn.Module):
    """(b, h, w, c) -> (b, h', w', features); see `Unit`."""

    unit: Unit

    @nn.compact
    def __call__(self, x: Array) -> Array:
        unit = self.unit
        x = nn.Conv(
            unit.features,
            unit.size,
            (unit.stride, unit.stride),
            "SAME" if unit.pad else "VALID",
            use_bias=False,
            precision=lax.Precision.HIGHEST,
            name="conv",
        )(x)
        return nn.relu(_Normalised(name="bn")(x))


class Inception(nn.Module):
    """Images to features and logits, in float32 whatever the backend's default is."""

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        """(b, h, w, 3) in [-1, 1], of at least 75 pixels a side -> (b, 2048), (b, 1008)."""
        x = self._run(x, _STEM)
        for name, branches in _BLOCKS.items():
            x = self._run(x, [branches], f"{name}.")
        pooled = x.mean(axis=(1, 2))
        logits = nn.Dense(_LOGITS, precision=lax.Precision.HIGHEST, name="fc")(pooled)
        return pooled, logits

    def _run(self, x: Array, steps: Steps, block: str = "") -> Array:
        for step in steps:
            if isinstance(step, Unit):
                x = _Unit(step, name=block + step.name)(x)
            elif isinstance(step, Pool):
                x = _pooled(x, step)
            else:
                x = jnp.concatenate([self._run(x, branch, block) for branch in step], axis=-1)
        return x


@lru_cache  # tracing takes seconds
def inception_structs() -> dict:
    """The published weights as structs."""
    image = jnp.zeros((1, SIDE, SIDE, 3))
    return jax.eval_shape(Inception().init, jax.random.key(0), image)["params"]


def _pooled(x: Array, pool: Pool) -> Array:
    """(b, h, w, c) -> (b, h', w', c)."""
    strides, padding = (pool.stride, pool.stride), "SAME" if pool.stride == 1 else "VALID"
    if pool.average:
        return nn.avg_pool(x, (3, 3), strides, padding, count_include_pad=False)
    return nn.max_pool(x, (3, 3), strides, padding)

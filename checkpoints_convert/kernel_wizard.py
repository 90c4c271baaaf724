"""The blurring half of a KernelWizard checkpoint (``GOPRO_wVAE.pth``, a flat state dict)."""

from collections.abc import Mapping
from functools import partial

import jax
import numpy as np

from checkpoints_convert.rename import to_flax
from dsg_jax.networks.kernel_wizard import GOPRO_WVAE, BlurConfig, init_params

DROPPED = {
    "kernel_extractor.": "estimates a blur code from a sharp and a blurred image; "
    "blurring with a given code never runs it"
}
"""Prefixes of tensors that are left out, and why. Every other tensor is used exactly once."""


def kernel_wizard_params(
    state_dict: Mapping[str, np.ndarray], config: BlurConfig = GOPRO_WVAE
) -> dict:
    """Parameters of `KernelWizard`, float32 and without an outer "params", from a state dict.

    Raises:
      ValueError: as `to_flax`; tensors under `DROPPED` may be there or not.
    """
    kept = {k: v for k, v in state_dict.items() if not str(k).startswith(tuple(DROPPED))}
    wanted = jax.eval_shape(partial(init_params, config), jax.random.key(0))
    return to_flax(kept, {"params": wanted})["params"]

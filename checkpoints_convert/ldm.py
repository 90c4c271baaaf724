"""The parts of a latent diffusion checkpoint: U-Net (EMA or raw), first stage, class table.

`torch_zip.read_torch_zip(path)["state_dict"]` of a published ``.ckpt`` holds all of them side by
side, told apart by prefixes, with schedule buffers and a text encoder that nothing here needs.
"""

from collections.abc import Mapping
from functools import partial

import jax
import numpy as np
from jax.tree_util import tree_leaves_with_path

from checkpoints_convert.rename import to_flax, torch_key
from dsg_jax.networks import autoencoder, ldm

_RAW, _EMA = "model.diffusion_model.", "model_ema.diffusion_model"
_FIRST_STAGE = "first_stage_model."


def unet_params(
    state_dict: Mapping[str, np.ndarray], config: ldm.LDMConfig, weights: str = "ema"
) -> dict:
    """Parameters of `LDMUNet` from a latent diffusion state dict.

    The averaged weights are stored under the parameter's path without its dots. Dots cannot be put
    back, so names are formed from the network's own: ``out.2.bias`` is at
    ``model_ema.diffusion_modelout2bias``.

    Args:
      state_dict: the whole state dict; names with other prefixes are ignored.
      config: the architecture.
      weights: "ema", the averaged weights, with which PSLD samples; or "raw", those being trained,
        with which the published ReSample, DiffStateGrad and DAPS code samples. Of the published
        files only the FFHQ model's has both; cin256-v2 and Stable Diffusion have "raw" only.

    Returns:
      float32 numpy arrays, without an outer "params".

    Raises:
      ValueError: another ``weights``, a file without them, or, as `to_flax`, tensors that are
        missing, left over or of another shape.
    """
    if weights not in ("ema", "raw"):
        raise ValueError(f"weights={weights!r}; choose 'ema' or 'raw'")
    found = _below(state_dict, _RAW if weights == "raw" else _EMA)
    if not found:
        other = {"ema": "raw", "raw": "ema"}[weights]
        raise ValueError(f"the file has no {weights} weights of a U-Net; try weights={other!r}")
    wanted = jax.eval_shape(partial(ldm.init_params, config), jax.random.key(0))
    if weights == "ema":
        keys = (torch_key(path) for path, _ in tree_leaves_with_path({"params": wanted}))
        dotted = {key.replace(".", ""): key for key in keys}
        found = {dotted.get(key, key): value for key, value in found.items()}
    return to_flax(found, {"params": wanted})["params"]


def first_stage_params(
    state_dict: Mapping[str, np.ndarray], config: autoencoder.AutoencoderConfig
) -> dict:
    """Parameters of `Autoencoder` from a latent diffusion state dict or the autoencoder's own file.

    What belongs to the autoencoder's training loss is left out.

    Raises:
      ValueError: as `to_flax`.
    """
    found = _below(state_dict, _FIRST_STAGE) or state_dict
    found = {key: value for key, value in found.items() if not key.startswith("loss.")}
    wanted = jax.eval_shape(partial(autoencoder.init_params, config), jax.random.key(0))
    return to_flax(found, {"params": wanted})["params"]


def class_context(state_dict: Mapping[str, np.ndarray], label: int = 1000) -> np.ndarray:
    """(1, dim) context of a class from a class-conditional file; cin256-v2's null class is 1000.

    Raises:
      ValueError: a file without a class table, or a label outside of it.
    """
    table = state_dict.get("cond_stage_model.embedding.weight")
    if table is None:
        raise ValueError(
            "the file has no class table, cond_stage_model.embedding.weight: only models such as "
            "cin256-v2, which are conditioned on a class, have one"
        )
    if not 0 <= label < len(table):
        raise ValueError(f"label {label} is not in 0..{len(table) - 1}")
    return np.asarray(table[label][None], np.float32)


def _below(state_dict: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)}

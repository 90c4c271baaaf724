"""A first stage alone as a folder of weights, such as a converted VQ-f4 or KL-f8."""

from functools import partial
from pathlib import Path

import jax

from dsg_jax.networks.autoencoder import AutoencoderConfig, init_params
from dsg_jax.priors import as_type, config_of
from dsg_jax.priors.first_stage import kl_first_stage, vq_first_stage
from dsg_jax.priors.folder import Placement, naming_lacks, read_card, read_weights, write_weights
from dsg_jax.types import FirstStage

KIND = "first-stage"


def load_first_stage(
    folder: str | Path,
    dtype: str = "float32",
    *,
    params_dtype: str = "float32",
    placement: Placement = None,
) -> tuple[FirstStage, dict]:
    """The first stage of a folder, and its card; arguments and errors are those of `load_prior`."""
    card = read_card(folder, KIND)
    with naming_lacks(folder):
        config = config_of(card["architecture"], AutoencoderConfig)
        scale = card["latent_scale"]
    wanted = jax.eval_shape(partial(init_params, config), jax.random.key(0))
    params = read_weights(folder, as_type(wanted, params_dtype), placement)
    build = vq_first_stage if config.codes else kl_first_stage
    return build(params, config, scale=scale, dtype=dtype), card


def save_first_stage(
    folder: Path, params: dict, config: AutoencoderConfig, card: dict, *, compress: bool = True
) -> dict:
    """Write a first stage as `load_first_stage` reads it; returns the completed card.

    Raises:
      ValueError: a card without ``latent_scale``, what makes latents of unit variance, or a folder
        that holds something else.
    """
    facts = {
        "kind": KIND,
        "architecture": config._asdict(),
        "channels": config.image_channels,
        "size_multiple": config.factor,
    }
    return write_weights(folder, params, facts | card, "latent_scale", compress=compress)

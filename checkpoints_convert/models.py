"""What each model's parameters look like, and the folder that they are written to.

The ``*_wanted`` give {part: nested modules of structs} of an architecture, by `jax.eval_shape`. The
``save_*`` take arrays in that form and a card, and return the card completed.
"""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from checkpoints_convert.lpips import LAYERS
from dsg_jax.metrics.lpips import LPIPSWeights, lpips_shapes, save_lpips
from dsg_jax.networks import autoencoder, kernel_wizard, ldm
from dsg_jax.networks.adm import ADMConfig, ADMUNet
from dsg_jax.operators.blur_network import save_blur_network
from dsg_jax.priors import init_params, save_latent_prior, save_prior
from dsg_jax.priors.stage_folder import save_first_stage
from dsg_jax.priors.streaming import LazyArray

Architecture = dict[str, Any]
"""Part of a model -> its configuration."""


@lru_cache
def _of(init: Callable, config: Any) -> dict:
    """Parameters as structs; tracing a large network takes seconds."""
    return jax.eval_shape(partial(init, config), jax.random.key(0))


def _init_adm(config: ADMConfig, key: jax.Array) -> dict:
    del key
    return init_params(ADMUNet(config))


def adm_wanted(architecture: Architecture) -> dict:
    """A U-Net over pixels."""
    return {"unet": _of(_init_adm, architecture["unet"])}


def ldm_wanted(architecture: Architecture) -> dict:
    """A U-Net over latents, its first stage, and a table of classes where there is one."""
    wanted = {"unet": _of(ldm.init_params, architecture["unet"])} | stage_wanted(architecture)
    if "classes" in architecture:
        shape = (architecture["classes"], 1, architecture["unet"].context_dim)
        table = jax.ShapeDtypeStruct(shape, jnp.float32)
        wanted["conditions"] = {"embedding": {"kernel": table}}
    return wanted


def stage_wanted(architecture: Architecture) -> dict:
    """A first stage."""
    return {"first_stage": _of(autoencoder.init_params, architecture["first_stage"])}


def wizard_wanted(architecture: Architecture) -> dict:
    """The blurring half of KernelWizard."""
    return {"network": _of(kernel_wizard.init_params, architecture["network"])}


def lpips_wanted(architecture: Architecture) -> dict:
    """A classifier's convolutions and the linear heads, under the names of their two files."""
    net = architecture["net"]
    shapes = lpips_shapes(net)
    trunk = zip(LAYERS[net], shapes.convolutions, strict=True)
    head = lambda h: {"kernel": jax.ShapeDtypeStruct((1, 1, h.size, 1), h.dtype)}
    return {
        "trunk": {f"features.{i}": layer for i, layer in trunk},
        "heads": {f"lin{k}.model.1": head(h) for k, h in enumerate(shapes.heads)},
    }


def save_adm_folder(folder: Path, found: dict, architecture: Architecture, card: dict) -> dict:
    """For `dsg_jax.load_prior`."""
    return save_prior(folder, found["unet"], architecture["unet"], card, compress=False)


def save_ldm_folder(folder: Path, found: dict, architecture: Architecture, card: dict) -> dict:
    """For `dsg_jax.load_prior`."""
    table = found.get("conditions")
    found = found | ({"conditions": table["embedding"]["kernel"]} if table else {})
    parts = architecture["unet"], architecture["first_stage"]
    return save_latent_prior(folder, found, *parts, card, compress=False)


def save_stage_folder(folder: Path, found: dict, architecture: Architecture, card: dict) -> dict:
    """For `dsg_jax.load_first_stage`."""
    parts = found["first_stage"], architecture["first_stage"]
    return save_first_stage(folder, *parts, card, compress=False)


def save_wizard_folder(folder: Path, found: dict, architecture: Architecture, card: dict) -> dict:
    """For `dsg_jax.load_blur_network`."""
    parts = found["network"], architecture["network"]
    return save_blur_network(folder, *parts, card, compress=False)


def save_lpips_folder(folder: Path, found: dict, architecture: Architecture, card: dict) -> dict:
    """For `dsg_jax.metrics.lpips.lpips_weights`."""
    net = architecture["net"]
    flat: list[Any] = []
    for k in range(len(found["heads"])):
        head = found["heads"][f"lin{k}.model.1"]["kernel"]
        read = lambda head=head: head.read().reshape(-1)
        flat.append(LazyArray((math.prod(head.shape),), head.dtype, read, head.source))
    layers = tuple(found["trunk"][f"features.{i}"] for i in LAYERS[net])
    return save_lpips(folder, LPIPSWeights(layers, tuple(flat), net), card)

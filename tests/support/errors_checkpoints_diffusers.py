"""What config files of diffusers folders are refused for; see test_errors.py."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from checkpoints_convert.__main__ import main
from dsg_jax.checkpoints import load_prior
from support.diffusers_folders import OLD_NAMES, write_configs


def with_weights(folder: Path) -> Path:
    weights = folder / "diffusion_pytorch_model.bin"
    weights.symlink_to(OLD_NAMES / weights.name)
    return folder


def converting(folder: Path, *options):
    main([str(folder), "--out", str(folder / "out"), *map(str, options)])


def saying(network: dict | None = None, *options: str, **scheduler) -> Callable[[Path], object]:
    """Converts a golden folder with other entries in its config files."""
    return lambda folder: converting(
        with_weights(write_configs(folder, network, **scheduler)), *options
    )


def without(name: str, *options: str, also: dict | None = None) -> Callable[[Path], object]:
    """Converts the folder without one of its files, or with another content of it."""

    def convert(folder: Path):
        with_weights(write_configs(folder))
        (folder / name).unlink(missing_ok=True)
        if also is not None:
            (folder / name).write_text(json.dumps(also))
        converting(folder, *options)

    return convert


def loading(folder: Path):
    """Loads an original that takes options of the converter."""
    (folder / "notes.txt").write_text("mine")
    with mock.patch.dict(os.environ, XDG_CACHE_HOME=str(folder / "cache")):
        load_prior(folder / "notes.txt")


PARTS = {"unet": ["diffusers", "UNet2DModel"], "vqvae": ["diffusers", "VQModel"]}
CASES: dict[str, Callable[[Path], object]] = {
    "has no config.json, without which nobody knows a UNet2DModel": without(
        "config.json", "--kind", "unet2d"
    ),
    "has a config.json: edit that, without --architecture": saying(
        None, "--architecture", "parts.json"
    ),
    "config.json is of a UNet2DConditionModel; this kind is a UNet2DModel": saying(
        {"_class_name": "UNet2DConditionModel"}, "--kind", "unet2d"
    ),
    "scheduler_config.json holds no entries by name": without("scheduler_config.json", also=[]),
    "model_index.json has vqvae beside unet and scheduler": without("model_index.json", also=PARTS),
    "has no scheduler_config.json, without which nobody knows the noise levels": without(
        "scheduler_config.json"
    ),
    "config.json: 6 in_channels and 3 out_channels": saying({"in_channels": 6}),
    "config.json: sample_size None: write a usual side there": saying({"sample_size": None}),
    "scheduler_config.json: 1000 times, and a network of 10": saying(
        {"time_embedding_type": "learned", "num_train_timesteps": 10}
    ),
    "variance_type 'learned', and a network of 3 outputs": saying(variance_type="learned"),
    "2 trained_betas and 1000 num_train_timesteps": saying(trained_betas=[0.1, 0.2]),
    "_class_name 'ScoreSdeVeScheduler' is none of DDPMScheduler, ": saying(
        _class_name="ScoreSdeVeScheduler"
    ),
    "with options it is converted by `dsg-jax convert": loading,
}

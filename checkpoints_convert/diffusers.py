"""What the config files of a diffusers folder say of a `UNet2DModel`: all that its card needs."""

import reprlib
from pathlib import Path
from typing import Any

import jax

from checkpoints_convert.kind import Kind
from checkpoints_convert.match import our_name, torch_shape
from checkpoints_convert.scheduler import PREDICTIONS, one_of, scheduler_clock
from dsg_jax.bounded import read_json
from dsg_jax.networks.unet2d_blocks import UNet2DConfig
from dsg_jax.priors.cards import check_entries, config_of
from dsg_jax.priors.clocks import clock_of_card
from dsg_jax.priors.folder import naming_card

_CLASS = "UNet2DModel"
# Samplers of one kind of network: their betas have the same entries with the same defaults.
_SCHEDULERS = (
    *("DDPMScheduler", "DDPMParallelScheduler", "DDIMScheduler", "DDIMParallelScheduler"),
    *("DDIMInverseScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler"),
    *("DPMSolverSinglestepScheduler", "UniPCMultistepScheduler", "DEISMultistepScheduler"),
    *("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "LMSDiscreteScheduler"),
)
# Entries of config.json that change no number, besides those that begin with "_".
_SILENT = "sample_size", "dropout"
# How old files begin the types of blocks.
_OLD = "UNetRes"


def network_config(path: Path) -> Path | None:
    """Where the network's ``config.json`` is: of a pipeline in ``unet``; None if nowhere."""
    places = path / "unet" / "config.json", path / "config.json"
    return next((place for place in places if place.is_file()), None)


def is_unet2d(path: Path) -> bool:
    """Whether a path is a folder that says to hold a `UNet2DModel`."""
    config = network_config(path)
    return config is not None and _entries(config).get("_class_name") == _CLASS


def configured(kind: Kind, path: Path) -> Kind:
    """The kind "unet2d" as the config files of a folder have it.

    Raises:
      ValueError: the folder has no config files, or they say what is not read, or contradict one
        another.
    """
    file = network_config(path)
    if file is None:
        raise ValueError(
            f"{path} has no config.json, without which nobody knows a {_CLASS}: give the folder "
            "that has it, or say by --architecture what it says"
        )
    entries = _entries(file)
    if entries.get("_class_name", _CLASS) != _CLASS:
        raise ValueError(f"{file} is of a {entries['_class_name']}; this kind is a {_CLASS}")
    _check_parts(path)
    with naming_card(file):
        config = _architecture(entries)
        size = _size(entries.get("sample_size"))
    scheduler = _scheduler_file(path)
    sampled = _entries(scheduler)
    with naming_card(scheduler):
        card = kind.card | {"size": size} | _clock_facts(sampled, config)
        clock_of_card(card)
    changed = kind._replace(architecture={"unet": config}, card=card)
    with naming_card(file):
        structs = jax.tree_util.tree_leaves_with_path(changed.structs())
    shapes = {our_name(place): torch_shape(leaf.shape) for place, leaf in structs}
    telling = [name for name in shapes if name.endswith("attentions.0.to_q.weight")][:1]
    return changed._replace(signature={n: shapes[n] for n in ("conv_in.weight", *telling)})


def _entries(file: Path) -> dict[str, Any]:
    content = read_json(file)
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds no entries by name: fetch it again")
    return content


def _check_parts(path: Path) -> None:
    """Refuse a pipeline with other networks: its U-Net does not see images."""
    index = path / "model_index.json"
    parts = _entries(index) if index.is_file() else {}
    filled = (name for name, part in parts.items() if isinstance(part, list) and any(part))
    if others := sorted(set(filled) - {"unet", "scheduler"}):
        raise ValueError(
            f"{index} has {', '.join(others)} beside unet and scheduler: pipelines of pixels are "
            "converted, and this one is none"
        )


def _architecture(entries: dict[str, Any]) -> UNet2DConfig:
    fields = {k: v for k, v in entries.items() if not k.startswith("_") and k not in _SILENT}
    for name in ("down_block_types", "up_block_types"):
        if isinstance(types := fields.get(name), list):
            fields[name] = [str(each).removeprefix(_OLD) for each in types]
    config = config_of(fields, UNet2DConfig)
    if config.out_channels not in (config.in_channels, 2 * config.in_channels):
        raise ValueError(
            f"{config.in_channels} in_channels and {config.out_channels} out_channels: a network "
            "that sees more than the noisy image is no prior"
        )
    return config


def _scheduler_file(path: Path) -> Path:
    places = path / "scheduler", path
    files = [place / "scheduler_config.json" for place in places]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise ValueError(
            f"{path} has no scheduler_config.json, without which nobody knows the noise levels: "
            'put one there, such as {"beta_schedule": "linear", "prediction_type": "epsilon"}'
        )
    return file


def _size(sample_size: Any) -> int:
    """The usual side of the network's images."""
    sides = sample_size if isinstance(sample_size, list) else [sample_size]
    if not sides or any(type(side) is not int or side != sides[0] for side in sides):
        raise ValueError(f"sample_size {reprlib.repr(sample_size)}: write a usual side there")
    check_entries({"size": sides[0]}, "its sample_size")
    return sides[0]


def _clock_facts(entries: dict[str, Any], config: UNet2DConfig) -> dict[str, Any]:
    """Clock, parametrisation and learned variance of a card, by ``scheduler_config.json``."""
    one_of(entries, "_class_name", dict.fromkeys(_SCHEDULERS), "DDPMScheduler")
    clock = scheduler_clock(entries)
    steps = len(clock.get("betas", ())) or clock["steps"]
    if config.time_embedding_type == "learned":
        clock["times"] = "nearest"
        if config.num_train_timesteps != steps:
            raise ValueError(f"{steps} times, and a network of {config.num_train_timesteps}")
    further, variance = config.out_channels > config.in_channels, entries.get("variance_type")
    if variance in ("learned", "learned_range") and not further:
        raise ValueError(
            f"variance_type {variance!r}, and a network of {config.out_channels} outputs"
        )
    return {
        "clock": clock,
        "parametrisation": one_of(entries, "prediction_type", PREDICTIONS, "epsilon"),
        "learned_variance": further and variance == "learned_range",
    }

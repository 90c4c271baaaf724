"""The golden weights as folders that the converter wrote and the product's loaders read."""

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from checkpoints_convert.__main__ import main
from checkpoints_convert.facts import FACTS
from checkpoints_convert.kinds import KINDS
from dsg_jax.networks.adm import ADMConfig
from dsg_jax.networks.autoencoder import KL_F8, VQ_F4
from dsg_jax.networks.kernel_wizard import BlurConfig
from dsg_jax.networks.ldm import LDMConfig
from dsg_jax.networks.unet2d_blocks import UNet2DConfig
from support.golden_case import GOLDEN, read_arrays
from support.state_files import entries, write_state

FFHQ_LIKE = LDMConfig(32, (1, 1), 1, attention_factors=(2,), num_head_channels=16)
SD_LIKE = LDMConfig(
    32, (1,), 1, (1,), num_heads=2, num_head_channels=-1, context_dim=16, in_channels=4,
    out_channels=4,
)  # fmt: skip
TINY_VQ = VQ_F4._replace(channels=32, channel_mult=(1, 1, 1), num_res_blocks=1, codes=64)
KL_LIKE = KL_F8._replace(channels=32, channel_mult=(1, 1), num_res_blocks=1)
SCRIPT_LIKE = UNet2DConfig(
    block_out_channels=(16, 16, 32),
    down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    norm_num_groups=8,
)
REDUCED = BlurConfig(channels=4, front_blocks=2, back_blocks=3, code_channels=32)

LDM_FILE = GOLDEN / "checkpoints" / "tiny_ldm.ckpt"
TINY = LDMConfig(32, (1,), 1, attention_factors=(1,), num_head_channels=16)
"""The U-Net in `LDM_FILE`, whose first stage is `TINY_VQ`."""
_UNET, _STAGE = "model.diffusion_model.", "first_stage_model."


class Model(NamedTuple):
    """A file of golden weights."""

    cases: dict[str, str]
    """What stands before the names of its tensors -> golden case of "networks" with the weights."""
    parts: dict
    """Its architecture."""


MODELS = {
    "adm-ffhq": Model(
        {"": "adm_ffhq_like"},
        {"unet": ADMConfig(32, (1, 1), 1, attention_factors=(2,), num_head_channels=16)},
    ),
    "adm-imagenet": Model(
        {"": "adm_imagenet_like"},
        {"unet": ADMConfig(32, (1,), 2, attention_factors=(1, 2), num_head_channels=8)},
    ),
    "adm-imagenet256-cond": Model(
        {"": "adm_class_cond"},
        {
            "unet": ADMConfig(
                32, (1, 1), 1, attention_factors=(2,), num_head_channels=16, num_classes=10
            )
        },
    ),
    "unet2d": Model({"": "unet2d_script_like"}, {"unet": SCRIPT_LIKE}),
    "ldm-ffhq": Model(
        {_UNET: "ldm_unet_ffhq_like", _STAGE: "vq_f4"},
        {"unet": FFHQ_LIKE, "first_stage": TINY_VQ},
    ),
    "ldm-imagenet": Model(
        {_UNET: "ldm_unet_sd_like", _STAGE: "vq_f4"},
        {"unet": SD_LIKE, "first_stage": TINY_VQ, "classes": 11},
    ),
    "sd15": Model(
        {_UNET: "ldm_unet_sd_like", _STAGE: "autoencoder_kl"},
        {"unet": SD_LIKE, "first_stage": KL_LIKE},
    ),
    "vq-f4": Model({"": "vq_f4"}, {"first_stage": TINY_VQ}),
    "kl-f8": Model({"": "autoencoder_kl"}, {"first_stage": KL_LIKE}),
    "kernel-wizard": Model({"": "kernel_wizard_reduced"}, {"network": REDUCED}),
}
"""Kind -> the golden weights that it converts, at their small sizes."""


def run(*arguments) -> int:
    """`python -m checkpoints_convert`; its exit code."""
    return main([str(argument) for argument in arguments])


def architecture(folder: Path, kind: str, **parts) -> list:
    """The option for parts that differ from the published ones, with the published facts."""
    parts |= {name: fact for name, fact in KINDS[kind].card.items() if name in FACTS}
    path = folder / "architecture.json"
    fields = {k: part._asdict() if hasattr(part, "_asdict") else part for k, part in parts.items()}
    path.write_text(json.dumps(fields))
    return ["--architecture", path]


def converted(file: Path, kind: str, parts: dict, *options) -> Path:
    """The folder beside a file that it is converted to, with zeros for prompts where it has any."""
    folder, out = file.parent, file.with_suffix("")
    if KINDS[kind].prompts:
        np.save(folder / "prompts.npy", np.zeros((2, 77, parts["unet"].context_dim), np.float32))
        options += "--context", folder / "prompts.npy"
    options += "--kind", kind, *architecture(folder, kind, **parts)
    assert run(file, "--out", out, *options) == 0
    return out


@cache
def golden_folder(kind: str) -> Path:
    """The converted weights of `MODELS`; converted once a process."""
    cases, parts = MODELS[kind]
    state = {
        before + name: array
        for before, case in cases.items()
        for name, array in read_arrays(GOLDEN / "networks" / f"{case}.pt").items()
    }
    if "classes" in parts:
        shape = parts["classes"], parts["unet"].context_dim
        rows = np.random.default_rng(0).standard_normal(shape, np.float32)
        state["cond_stage_model.embedding.weight"] = rows
    return converted(write_state(_scratch() / f"{kind}.ckpt", entries(state)), kind, parts)


@cache
def lightning_folder() -> Path:
    """`LDM_FILE` converted: "ema" and "raw"."""
    path = _scratch() / LDM_FILE.name
    path.symlink_to(LDM_FILE)
    parts = {"unet": TINY, "first_stage": TINY_VQ}
    return converted(path, "ldm-ffhq", parts, "--weights", "both")


def _scratch() -> Path:
    return Path(_scratch_folder().name)


@cache
def _scratch_folder() -> TemporaryDirectory:
    return TemporaryDirectory()  # gone when the process ends

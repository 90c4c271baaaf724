"""`verify --against` for a file of every kind that holds golden weights, at their small sizes."""

import json

import numpy as np
import pytest

from checkpoints_convert.kinds import KINDS
from checkpoints_convert.read.torch_zip import read_torch_zip
from support.blur_network_cases import REDUCED
from support.chain_state import entries, write_state
from support.convert_cases import run
from support.convert_files import KL_LIKE
from support.golden_case import GOLDEN, load
from support.ldm_cases import FFHQ_LIKE, SD_LIKE, TINY_VQ
from support.network_cases import GOLDEN_CONFIGS as ADM_CONFIGS
from support.operator_goldens import golden_image

UNET, STAGE = "model.diffusion_model.", "first_stage_model."
# kind -> golden weights by what stands before their names, and the parts' architecture
PARITY = {
    "adm-ffhq": ({"": "adm_ffhq_like"}, {"unet": ADM_CONFIGS["adm_ffhq_like"]}),
    "adm-imagenet": ({"": "adm_imagenet_like"}, {"unet": ADM_CONFIGS["adm_imagenet_like"]}),
    "ldm-ffhq": (
        {UNET: "ldm_unet_ffhq_like", STAGE: "vq_f4"},
        {"unet": FFHQ_LIKE, "first_stage": TINY_VQ},
    ),
    "ldm-imagenet": (
        {UNET: "ldm_unet_sd_like", STAGE: "vq_f4"},
        {"unet": SD_LIKE, "first_stage": TINY_VQ},
    ),
    "sd15": (
        {UNET: "ldm_unet_sd_like", STAGE: "autoencoder_kl"},
        {"unet": SD_LIKE, "first_stage": KL_LIKE},
    ),
    "vq-f4": ({"": "vq_f4"}, {"first_stage": TINY_VQ}),
    "kl-f8": ({"": "autoencoder_kl"}, {"first_stage": KL_LIKE}),
    "kernel-wizard": ({"": "kernel_wizard_parts"}, {"network": REDUCED}),
}
COUNTS = {"vq_f4": 4, "autoencoder_kl": 2, "kernel_wizard_parts": 8}  # arrays; 2 where not named


def golden_weights(case):
    name = "kernel_wizard_reduced" if case == "kernel_wizard_parts" else case
    return read_torch_zip(GOLDEN / "networks" / f"{name}.pt")


def recorded(case, folder):
    """A golden case as `verify` takes it."""
    manifest, arrays = load(f"networks/{case}")
    if case == "kernel_wizard_parts":
        photo = golden_image("photo_big", "photo")
        arrays["u"] = np.moveaxis((photo + 1) / 2, -1, 0)[None]
    np.savez(folder / f"{case}.npz", **arrays)
    (folder / f"{case}.json").write_text(json.dumps(manifest))
    return folder / f"{case}.npz"


@pytest.mark.parametrize("kind", PARITY)
@pytest.mark.slow
def test_parity(kind, tmp_path, capsys):
    cases, parts = PARITY[kind]
    state = {p + name: a for p, case in cases.items() for name, a in golden_weights(case).items()}
    options = ["--kind", kind]
    described = {name: config._asdict() for name, config in parts.items()}
    if kind == "ldm-imagenet":
        rows = np.random.default_rng(0).standard_normal((11, SD_LIKE.context_dim), np.float32)
        state["cond_stage_model.embedding.weight"] = rows
        described["classes"] = 11
    if kind == "sd15":
        np.save(tmp_path / "prompts.npy", np.zeros((2, 77, SD_LIKE.context_dim), np.float32))
        options += ["--context", tmp_path / "prompts.npy"]
    if kind == "ldm-ffhq":
        options += ["--weights", "raw"]
    (tmp_path / "parts.json").write_text(json.dumps(described))
    path = write_state(tmp_path / "made.ckpt", entries(state))
    options += ["--architecture", tmp_path / "parts.json"]
    assert run(path, "--out", tmp_path / "out", *options) == 0
    for case in cases.values():
        assert run("verify", tmp_path / "out", "--against", recorded(case, tmp_path)) == 0
        assert f"worst of {COUNTS.get(case, 2)}" in capsys.readouterr().out


def test_every_kind_of_network_is_compared():
    assert set(KINDS) - set(PARITY) == {"lpips-vgg", "lpips-alex"}  # no golden numbers exist

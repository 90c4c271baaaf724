"""`verify --against` for a folder of every kind that has golden weights, at their small sizes."""

import json

import numpy as np
import pytest

from checkpoints_convert.kinds import KINDS
from support.golden_case import load
from support.golden_models import MODELS, golden_folder, run
from support.operator_goldens import golden_image

COUNTS = {"vq_f4": 4, "autoencoder_kl": 2, "kernel_wizard_parts": 8}  # arrays; 2 where not named


def recorded(case, folder):
    """A golden case as `verify` takes it."""
    manifest, arrays = load(f"networks/{case}")
    if case == "kernel_wizard_parts":
        photo = golden_image("photo_big", "photo")
        arrays["u"] = np.moveaxis((photo + 1) / 2, -1, 0)[None]
    np.savez(folder / f"{case}.npz", **arrays)
    (folder / f"{case}.json").write_text(json.dumps(manifest))
    return folder / f"{case}.npz"


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.slow
def test_parity(kind, tmp_path, capsys):
    for weights in MODELS[kind].cases.values():
        case = weights.replace("wizard_reduced", "wizard_parts")
        assert run("verify", golden_folder(kind), "--against", recorded(case, tmp_path)) == 0
        assert f"worst of {COUNTS.get(case, 2)}" in capsys.readouterr().out


def test_every_kind_of_network_is_compared():
    without = {"lpips-vgg", "lpips-alex"}  # no golden numbers exist
    without |= {"inception-fid"}  # test_fid.py, at full size
    without |= {
        "adm-lsun",
        *(f"adm-imagenet{side}-cond" for side in (64, 128, 512)),
    }  # others' code
    assert set(KINDS) - set(MODELS) == without | {"sd21", "sd21-base"} | {"edm", "consistency"}

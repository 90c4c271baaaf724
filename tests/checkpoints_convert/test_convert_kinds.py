"""Every kind that can be converted: its published names, its parts, and what loads its folder."""

import json

import chex
import numpy as np
import pytest

from checkpoints_convert.kinds import KINDS
from checkpoints_convert.layouts import diffusers_stage, diffusers_unet
from checkpoints_convert.lpips import lpips_from_torch
from checkpoints_convert.match import fits, recognise
from checkpoints_convert.read.torch_zip import read_torch_zip
from dsg_jax.metrics.lpips import lpips_weights
from dsg_jax.networks.ldm import LDMConfig
from dsg_jax.operators.blur_network import load_blur_network
from dsg_jax.priors import load_prior
from dsg_jax.priors.stage_folder import load_first_stage
from support.blur_network_cases import REDUCED, reduced_network
from support.chain_state import entries, random_state, write_state
from support.convert_cases import LDM_FILE, architecture, run
from support.convert_files import FILES, Described, published_file
from support.golden_case import GOLDEN
from support.ldm_cases import TINY_VQ
from support.lpips_files import torch_files


def under(prefix: str, tensors: dict) -> dict:
    return {prefix + name: tensor for name, tensor in tensors.items()}


# kind -> what file, what stands before its names, the counts of used and of dropped tensors


@pytest.mark.parametrize("kind", FILES)
def test_published_files_are_recognised(kind):
    name, prefix, _, _ = FILES[kind]
    found, why = recognise(under(prefix, published_file(name)))
    assert found == kind and why.startswith(prefix)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.slow
def test_published_tensors_are_used_once_or_dropped(kind):
    name, prefix, used, dropped = FILES[kind]
    tensors = under(prefix, published_file(name)) | {"epoch": Described((), np.dtype("int64"))}
    if not prefix:
        del tensors["epoch"]
    fit = fits(tensors, kind, KINDS[kind])[0]
    assert fit.perfect, fit.problems()
    assert len(fit.sources) == len(set(fit.sources)) == used
    counts = {reason.split(" ")[-1]: len(names) for reason, names in fit.dropped.items()}
    assert used + sum(counts.values()) == len(tensors)
    for word, count in dropped.items():
        assert any(word in r and len(n) == count for r, n in fit.dropped.items()), (word, counts)
    if kind == "ldm-ffhq":
        assert fit.weights == "ema"
        (raw,) = fits(tensors, kind, KINDS[kind], "raw")
        assert raw.perfect and not set(raw.sources[205:]) & set(fit.sources[205:])


@pytest.mark.slow
def test_inverse_bench_and_diffusers_names_at_full_size():
    ours = published_file("adm_ffhq")
    both = under("ema.model.", ours) | under("net.model.", ours)
    first, second = fits(both, "adm-ffhq", KINDS["adm-ffhq"], "both")
    assert first.perfect and second.perfect and first.weights == "ema"
    unet, stage = published_file("sd15_unet"), published_file("kl_f8")
    folder = {"unet." + diffusers_unet(name): tensor for name, tensor in unet.items()}
    for attention in ("older", "newer"):
        renamed = {diffusers_stage(name, attention): tensor for name, tensor in stage.items()}
        assert len(renamed) == 248
        vae = under("vae.", renamed)
        assert recognise(folder | vae)[0] == "sd15"
        fit = fits(folder | vae, "sd15", KINDS["sd15"])[0]
        assert fit.perfect and attention in fit.layout.about


@pytest.mark.slow
def test_classes_are_stored_and_can_be_asked_for(tmp_path):
    unet = LDMConfig(
        8, (1,), 0, (), num_heads=2, num_head_channels=-1, context_dim=8, norm_groups=4
    )  # fmt: skip
    state = random_state("ldm-imagenet", {"unet": unet, "first_stage": TINY_VQ, "classes": 5})
    path = write_state(tmp_path / "cin.ckpt", entries(state), "state_dict")
    parts = {"unet": unet._asdict(), "first_stage": TINY_VQ._asdict(), "classes": 5}
    (tmp_path / "parts.json").write_text(json.dumps(parts))
    options = "--kind", "ldm-imagenet", "--architecture", tmp_path / "parts.json"
    assert run(path, "--out", tmp_path / "out", *options) == 0
    card = json.loads((tmp_path / "out/card.json").read_text())
    card["conditions"]["default"] = 4
    (tmp_path / "out/card.json").write_text(json.dumps(card))
    table = state["cond_stage_model.embedding.weight"]
    prior, _ = load_prior(tmp_path / "out", condition=2, guidance_scale=3.0)
    np.testing.assert_array_equal(prior.network.context[0], table[2])
    np.testing.assert_array_equal(prior.network.unconditional[0], table[4])
    with pytest.raises(ValueError, match="no condition 5; it stores 0 to 4"):
        load_prior(tmp_path / "out", condition=5)


def test_first_stage_inside_of_a_checkpoint(tmp_path):
    options = "--kind", "vq-f4", *architecture(tmp_path, first_stage=TINY_VQ)
    assert run(LDM_FILE, "--out", tmp_path / "out", *options) == 0
    stage, card = load_first_stage(tmp_path / "out")
    assert stage.factor == 4 and card["kind"] == "first-stage" and card["latent_scale"] == 1.0
    state = read_torch_zip(LDM_FILE)["state_dict"]
    np.testing.assert_array_equal(
        stage.decode.args[1]["quantize.embedding"]["kernel"],
        state["first_stage_model.quantize.embedding.weight"].T,
    )
    with pytest.raises(ValueError, match="kind 'first-stage'.*wanted here is adm or ldm"):
        load_prior(tmp_path / "out")


def test_blur_network(tmp_path):
    options = "--kind", "kernel-wizard", *architecture(tmp_path, network=REDUCED)
    path = GOLDEN / "networks" / "kernel_wizard_reduced.pt"
    assert run(path, "--out", tmp_path / "out", *options) == 0
    chex.assert_trees_all_equal(
        load_blur_network(tmp_path / "out").params, reduced_network().params
    )


def test_lpips_from_two_files(tmp_path):
    trunk, heads = torch_files("alex")
    first = write_state(tmp_path / "alexnet.pth", entries(trunk))
    second = write_state(tmp_path / "alex.pth", entries(heads))
    assert run(first, second, "--out", tmp_path / "out") == 0
    wanted = lpips_from_torch(trunk, heads, "alex")
    chex.assert_trees_all_equal(lpips_weights("alex", tmp_path / "out"), wanted)
    card = json.loads((tmp_path / "out/card.json").read_text())
    assert [entry["name"] for entry in card["source"]] == ["alexnet.pth", "alex.pth"]
    assert card["dropped"][0]["tensors"] == 2 and card["kind"] == "lpips-alex"

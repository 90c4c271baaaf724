"""Every kind that can be converted: its published names, its parts, and what loads its folder."""

import json

import chex
import jax
import numpy as np
import pytest

from checkpoints_convert.kinds import KINDS
from checkpoints_convert.layouts import diffusers_stage, diffusers_unet
from checkpoints_convert.match import fits, recognise
from dsg_jax.metrics.fid import load_inception
from dsg_jax.metrics.lpips import lpips_weights
from dsg_jax.networks.ldm import LDMConfig
from dsg_jax.networks.lpips import TRUNKS
from dsg_jax.priors import load_first_stage, load_prior
from experiments.restore import metrics as perceptual
from support.convert_files import FILES, Described, published_file
from support.golden_case import read_arrays
from support.golden_models import LDM_FILE, TINY_VQ, converted, run
from support.inception_case import golden_params, golden_state
from support.lpips_cases import PLACES, PUBLISHED, torch_files
from support.state_files import entries, random_state, write_state


def under(prefix: str, tensors: dict) -> dict:
    return {prefix + name: tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("kind", FILES)
def test_published_files_are_recognised(kind):
    name, prefix, _, _ = FILES[kind]
    name_of_kind, why = recognise(under(prefix, published_file(name)))
    assert name_of_kind == kind and why.startswith(prefix)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.slow
def test_published_tensors_are_used_once_or_dropped(kind):
    name, prefix, used, dropped = FILES[kind]
    tensors = under(prefix, published_file(name)) | {"epoch": Described((), np.dtype("int64"))}
    if not prefix:
        del tensors["epoch"]
    fit = fits(tensors, kind, KINDS[kind].of(tensors))[0]
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


def test_classes_are_stored_and_can_be_asked_for(tmp_path):
    unet = LDMConfig(
        8, (1,), 0, (), num_heads=2, num_head_channels=-1, context_dim=8, norm_groups=4
    )  # fmt: skip
    parts = {"unet": unet, "first_stage": TINY_VQ, "classes": 5}
    state = random_state("ldm-imagenet", parts)
    path = write_state(tmp_path / "cin.ckpt", entries(state), "state_dict")
    out = converted(path, "ldm-imagenet", parts)
    card = json.loads((out / "card.json").read_text())
    assert card["conditions"]["default"] == 4
    table = state["cond_stage_model.embedding.weight"]
    prior, _ = load_prior(out, condition=2, guidance_scale=3.0)
    np.testing.assert_array_equal(prior.network.context[0], table[2])
    np.testing.assert_array_equal(prior.network.unconditional[0], table[4])
    with pytest.raises(ValueError, match="no condition 5; it stores 0 to 4"):
        load_prior(out, condition=5)


def test_first_stage_inside_of_a_checkpoint(tmp_path):
    path = tmp_path / "tiny.ckpt"
    path.symlink_to(LDM_FILE)
    folder = converted(path, "vq-f4", {"first_stage": TINY_VQ})
    stage, card = load_first_stage(folder)
    assert stage.factor == 4 and card["kind"] == "first-stage" and card["latent_scale"] == 1.0
    np.testing.assert_array_equal(
        stage.decode.args[1]["quantize.embedding"]["kernel"],
        read_arrays(LDM_FILE)["state_dict.first_stage_model.quantize.embedding.weight"].T,
    )
    with pytest.raises(
        ValueError, match="kind 'first-stage'.*wanted here is adm or edm or ldm or unet2d"
    ):
        load_prior(folder)


@pytest.mark.parametrize("net", TRUNKS)
def test_lpips_from_two_files(net, tmp_path, monkeypatch):
    trunk, heads = torch_files(net)
    files = [
        write_state(tmp_path / f"{name}.pth", entries(state))
        for name, state in (("trunk", trunk), ("heads", heads))
    ]
    out = tmp_path / "out"
    assert run(*files, "--out", out) == 0
    weights = lpips_weights(net, out)
    for place, layer in zip(PLACES[net], weights.convolutions, strict=True):
        kernel = trunk[f"features.{place}.weight"].transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(layer["kernel"], kernel)
        np.testing.assert_array_equal(layer["bias"], trunk[f"features.{place}.bias"])
    for k, head in enumerate(weights.heads):
        np.testing.assert_array_equal(head, heads[f"lin{k}.model.1.weight"].ravel())
    card = json.loads((out / "card.json").read_text())
    assert [entry["name"] for entry in card["source"]] == ["trunk.pth", "heads.pth"]
    assert card["dropped"][0]["tensors"] == 2 and card["kind"] == f"lpips-{net}"
    assert card["parameters"] == sum(PUBLISHED[net][:2])
    other = {"alex": "vgg", "vgg": "alex"}[net]
    with pytest.raises(ValueError, match=f"kind 'lpips-{net}'.*wanted here is lpips-{other}"):
        lpips_weights(other, out)
    monkeypatch.setenv("DSG_JAX_LPIPS", str(out))
    weights, reason = perceptual.installed_weights.__wrapped__()
    assert (weights is None) == (net == "alex") == ("wanted here is lpips-vgg" in reason)


def test_inception_with_the_counters_of_its_norms(tmp_path, capsys):
    counters = {f"{name}.num_batches_tracked": np.zeros((), np.int64) for name in ("a.bn", "b.bn")}
    file = write_state(tmp_path / "pt.pth", entries(golden_state() | counters))
    assert run(file, "--out", tmp_path / "out", "--dtype", "float16") == 0
    assert "left out: 2, bookkeeping" in capsys.readouterr().out
    params, card = load_inception(tmp_path / "out")
    assert card["parameters"] == 23_885_392 and card["kind"] == "inception-fid"
    half = lambda leaf: leaf.astype(np.float16) if leaf.ndim > 1 else leaf
    chex.assert_trees_all_equal(params, jax.tree.map(half, golden_params()))
    assert run("verify", tmp_path / "out") == 0


def test_another_inception_is_refused(tmp_path, capsys):
    """torchvision's has 1000 classes; a kernel that lies across would be one of the same size."""
    row = "Mixed_6b.branch7x7_2.conv.weight"
    changed = {"fc.weight": np.zeros((1000, 2048), np.float32)}
    changed |= {row: golden_state()[row].swapaxes(2, 3)}
    file = write_state(tmp_path / "pt.pth", entries(golden_state() | changed))
    assert run(file, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "2 of another shape or type" in error and f"{row} ((128, 128, 7, 1) float32" in error
    assert "fc.weight ((1000, 2048) float32, wanted as (1008, 2048))" in error


def test_lpips_files_that_do_not_fit(tmp_path, capsys):
    trunk, heads = torch_files("alex")
    del heads["lin4.model.1.weight"]
    files = [
        write_state(
            tmp_path / "trunk.pth", entries(trunk | {"features.1.bias": np.zeros(3, np.float32)})
        ),
        write_state(tmp_path / "heads.pth", entries(heads)),
    ]
    assert run(*files, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "1 missing: lin4.model.1.weight" in error
    assert "1 not part of the model: features.1.bias" in error

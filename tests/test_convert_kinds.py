"""Every kind that can be converted: its published names, its parts, and what loads its folder."""

import contextlib
import gzip
import json
import sys
from types import SimpleNamespace
from typing import NamedTuple

import chex
import jax
import numpy as np
import pytest

from checkpoints_convert.kinds import KINDS
from checkpoints_convert.layouts import diffusers_stage, diffusers_unet
from checkpoints_convert.lpips import lpips_from_torch
from checkpoints_convert.match import fits, recognise
from checkpoints_convert.prompts import PROMPTS, prompt_embeddings
from checkpoints_convert.torch_zip import read_torch_zip
from dsg_jax.blur_network import load_blur_network
from dsg_jax.lpips import lpips_weights
from dsg_jax.networks.autoencoder import KL_F8
from dsg_jax.networks.ldm import LDMConfig
from dsg_jax.priors import load_prior
from dsg_jax.stage_folder import load_first_stage
from golden_case import GOLDEN, load
from made_state import entries, write_safe, write_state
from test_blur_network import REDUCED, reduced_network
from test_convert import LDM_FILE, architecture, run
from test_ldm import TINY_VQ
from test_lpips_conversion import torch_files
from test_networks import published_keys
from test_operators_golden import golden_image

# A U-Net and an autoencoder wired as Stable Diffusion's, so that their names are the published ones
SD_WIRED = LDMConfig(
    8, (1, 1, 1, 1), 2, (1, 2, 4), num_heads=2, num_head_channels=-1, context_dim=8,
    in_channels=4, out_channels=4, norm_groups=4,
)  # fmt: skip
KL_LIKE = KL_F8._replace(channels=32, channel_mult=(1, 1), num_res_blocks=1)
KL_WIRED = KL_F8._replace(channels=4, channel_mult=(1, 1, 1, 1), norm_groups=2)


class Described(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype


def published_file(name: str) -> dict[str, Described]:
    """A whole file's tensors, by the reference's own listing or by that of its network."""
    path = GOLDEN / "keys" / f"{name}.txt.gz"
    if not name.endswith("_file"):
        return {k: Described(s, np.dtype("float32")) for k, s in published_keys(name).items()}
    found = {}
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        key, dtype, shape = line.split(" ")
        sides = () if shape == "scalar" else tuple(int(n) for n in shape.split("x"))
        found[key] = Described(sides, np.dtype(dtype))
    return found


def under(prefix: str, tensors: dict) -> dict:
    return {prefix + name: tensor for name, tensor in tensors.items()}


# kind -> what file, what stands before its names, the counts of used and of dropped tensors
FILES = {
    "adm-ffhq": ("adm_ffhq", "", 362, {}),
    "adm-imagenet": ("adm_imagenet", "", 566, {}),
    "ldm-ffhq": ("ldm_ffhq_file", "state_dict.", 573, {"schedule": 12, "trained": 368, "of": 2}),
    "ldm-imagenet": ("ldm_cin_file", "state_dict.", 894, {"schedule": 12}),
    "sd15": ("sd15_file", "state_dict.", 934, {"schedule": 12, "text": 197}),
    "vq-f4": ("vq_f4", "state_dict.", 205, {}),
    "kl-f8": ("kl_f8", "", 248, {}),
    "kernel-wizard": ("kernel_wizard", "", 145, {"estimates": 14}),
}


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


def test_diffusers_names():
    """Some of the published folder's, of every sort."""
    pairs = {
        "time_embed.2.bias": "time_embedding.linear_2.bias",
        "input_blocks.0.0.weight": "conv_in.weight",
        "input_blocks.3.0.op.weight": "down_blocks.0.downsamplers.0.conv.weight",
        "input_blocks.4.0.skip_connection.bias": "down_blocks.1.resnets.0.conv_shortcut.bias",
        "input_blocks.5.1.proj_in.weight": "down_blocks.1.attentions.1.proj_in.weight",
        "input_blocks.11.0.emb_layers.1.bias": "down_blocks.3.resnets.1.time_emb_proj.bias",
        "middle_block.1.transformer_blocks.0.attn2.to_out.0.bias": "mid_block.attentions.0."
        "transformer_blocks.0.attn2.to_out.0.bias",
        "middle_block.2.out_layers.3.weight": "mid_block.resnets.1.conv2.weight",
        "output_blocks.2.1.conv.bias": "up_blocks.0.upsamplers.0.conv.bias",
        "output_blocks.5.2.conv.bias": "up_blocks.1.upsamplers.0.conv.bias",
        "output_blocks.11.1.transformer_blocks.0.ff.net.0.proj.weight": "up_blocks.3.attentions.2."
        "transformer_blocks.0.ff.net.0.proj.weight",
        "out.2.weight": "conv_out.weight",
    }
    assert {name: diffusers_unet(name) for name in pairs} == pairs
    pairs = {
        "encoder.down.0.downsample.conv.weight": "encoder.down_blocks.0.downsamplers.0.conv.weight",
        "decoder.up.3.upsample.conv.bias": "decoder.up_blocks.0.upsamplers.0.conv.bias",
        "decoder.up.0.block.0.nin_shortcut.bias": "decoder.up_blocks.3.resnets.0.conv_shortcut"
        ".bias",
        "encoder.mid.block_2.norm1.weight": "encoder.mid_block.resnets.1.norm1.weight",
        "decoder.mid.attn_1.q.weight": "decoder.mid_block.attentions.0.to_q.weight",
        "decoder.mid.attn_1.norm.bias": "decoder.mid_block.attentions.0.group_norm.bias",
        "encoder.norm_out.bias": "encoder.conv_norm_out.bias",
        "post_quant_conv.weight": "post_quant_conv.weight",
    }
    assert {name: diffusers_stage(name, "newer") for name in pairs} == pairs
    older = diffusers_stage("decoder.mid.attn_1.proj_out.bias", "older")
    assert older == "decoder.mid_block.attentions.0.proj_attn.bias"


def random_state(kind: str, parts: dict) -> dict[str, np.ndarray]:
    """Random tensors for a kind of another architecture, under its first layout's names."""
    chosen = KINDS[kind]._replace(architecture=KINDS[kind].architecture | parts)
    fit = fits({}, kind, chosen)[0]
    rng, shapes = np.random.RandomState(0), [leaf.shape for leaf in jax.tree.leaves(fit.wanted)]
    state = {}
    for source, shape in zip(fit.sources, shapes):
        value = (0.3 * rng.standard_normal(shape)).astype(np.float32)
        value = value.transpose(3, 2, 0, 1) if len(shape) == 4 else value
        state[source] = value[:, 0] if len(shape) == 3 else value if len(shape) == 4 else value.T
    return state


@pytest.mark.slow
def test_stable_diffusion_by_its_three_forms(tmp_path, capsys):
    """One file of each form gives the same prior, whose prompts can be asked for."""
    state = random_state("sd15", {"unet": SD_WIRED, "first_stage": KL_WIRED})
    text = {"cond_stage_model.transformer.x": np.zeros(2, np.float32)}
    write_state(tmp_path / "sd.ckpt", entries(state | text), "state_dict")
    write_safe(tmp_path / "sd.safetensors", entries(state))
    unet, stage = "model.diffusion_model.", "first_stage_model."
    inner = lambda prefix: {
        k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)
    }
    renamed = {diffusers_unet(name): value for name, value in inner(unet).items()}
    write_safe(tmp_path / "folder/unet/diffusion_pytorch_model.safetensors", entries(renamed))
    vae = {}
    for name, value in inner(stage).items():
        linear = ".attn_1." in name and value.ndim == 4
        vae[diffusers_stage(name, "older")] = value[:, :, 0, 0] if linear else value
    write_safe(tmp_path / "folder/vae/diffusion_pytorch_model.safetensors", entries(vae))
    table = np.random.RandomState(1).standard_normal((2, 77, 8)).astype(np.float32)
    np.save(tmp_path / "prompts.npy", table)
    options = "--kind", "sd15", *architecture(tmp_path, unet=SD_WIRED, first_stage=KL_WIRED)
    priors = []
    for source in ("sd.ckpt", "sd.safetensors", "folder"):
        given = tmp_path / source, "--out", tmp_path / f"out_{source}", *options
        assert run(*given) == 2
        assert "needs the embeddings of its prompts" in capsys.readouterr().err
        assert run(*given, "--context", tmp_path / "prompts.npy") == 0
        priors.append(load_prior(tmp_path / f"out_{source}"))
    chex.assert_trees_all_equal(*(prior for prior, _ in priors))
    prior, card = priors[0]
    assert card["conditions"]["names"] == PROMPTS and card["latent_scale"] == 0.18215
    assert card["dropped"][0]["tensors"] == 1
    np.testing.assert_array_equal(prior.network.context, table[0])
    guided, _ = load_prior(tmp_path / "out_folder", condition=PROMPTS[1], guidance_scale=7.5)
    np.testing.assert_array_equal(guided.network.context, table[1])
    np.testing.assert_array_equal(guided.network.unconditional, table[0])
    with pytest.raises(ValueError, match="no condition 'a dog'; it stores '', 'a natural"):
        load_prior(tmp_path / "out_folder", condition="a dog")
    np.save(tmp_path / "prompts.npy", table[0, :3])
    assert run(*given, "--context", tmp_path / "prompts.npy") == 2
    assert "wanted are finite floats of shape (77, 8) or (2, 77, 8)" in capsys.readouterr().err


def test_prompts_by_the_text_encoder(monkeypatch, tmp_path):
    """What is asked of `transformers`, by stand-ins: neither it nor torch is installed here."""
    states = np.arange(2 * 77 * 4, dtype=np.float32).reshape(2, 77, 4)
    asked = []

    class Encoder:
        def from_pretrained(self, place, local_files_only):
            asked.append((str(place), local_files_only))
            return self

        def eval(self):
            return self

        def __call__(self, tokens, **options):
            if options:
                assert options["max_length"] == 77 and tokens == PROMPTS
                return SimpleNamespace(input_ids="tokens")
            assert tokens == "tokens"
            stored = SimpleNamespace(numpy=lambda: states)
            return SimpleNamespace(last_hidden_state=SimpleNamespace(float=lambda: stored))

    made = SimpleNamespace(CLIPTokenizer=Encoder(), CLIPTextModel=Encoder())
    monkeypatch.setitem(sys.modules, "transformers", made)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(no_grad=contextlib.nullcontext))
    embedded = prompt_embeddings(None, tmp_path / "sd.ckpt", 4)
    np.testing.assert_array_equal(embedded.table, states)
    (tmp_path / "text_encoder").mkdir()
    prompt_embeddings(None, tmp_path, 4)
    assert asked[0] == asked[1] == ("openai/clip-vit-large-patch14", True)
    assert [place for place, _ in asked[2:]] == [
        str(tmp_path / "tokenizer"),
        str(tmp_path / "text_encoder"),
    ]


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


PARITY = {  # golden case -> kind, its part, the part's architecture, how many arrays are compared
    "vq_f4": ("vq-f4", "first_stage", TINY_VQ, 4),
    "autoencoder_kl": ("kl-f8", "first_stage", KL_LIKE, 2),
    "kernel_wizard_parts": ("kernel-wizard", "network", REDUCED, 8),
}


@pytest.mark.parametrize("case", PARITY)
@pytest.mark.slow
def test_parity(case, tmp_path, capsys):
    kind, part, config, count = PARITY[case]
    weights = "kernel_wizard_reduced" if kind == "kernel-wizard" else case
    options = "--kind", kind, *architecture(tmp_path, **{part: config})
    source = GOLDEN / "networks" / f"{weights}.pt"
    assert run(source, "--out", tmp_path / "out", *options) == 0
    manifest, arrays = load(f"networks/{case}")
    if kind == "kernel-wizard":
        photo = golden_image("photo_big", "photo")
        arrays["u"] = np.moveaxis((photo + 1) / 2, -1, 0)[None]
    np.savez(tmp_path / f"{case}.npz", **arrays)
    (tmp_path / f"{case}.json").write_text(json.dumps(manifest))
    assert run("verify", tmp_path / "out", "--against", tmp_path / f"{case}.npz") == 0
    assert f"worst of {count}" in capsys.readouterr().out

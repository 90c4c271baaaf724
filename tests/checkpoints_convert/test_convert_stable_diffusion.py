"""Stable Diffusion's three forms of file, the names in a diffusers folder, and stored prompts."""

import contextlib
import sys
from types import SimpleNamespace

import chex
import numpy as np
import pytest

from checkpoints_convert.layouts import diffusers_stage, diffusers_unet
from checkpoints_convert.prompts import PROMPTS, prompt_embeddings
from dsg_jax.networks.autoencoder import KL_F8
from dsg_jax.networks.ldm import LDMConfig
from dsg_jax.priors import load_prior
from support.golden_models import architecture, run
from support.state_files import entries, random_state, write_safe, write_state

# A U-Net and an autoencoder wired as Stable Diffusion's, so that their names are the published ones
SD_WIRED = LDMConfig(
    8, (1, 1, 1, 1), 2, (1, 2, 4), num_heads=2, num_head_channels=-1, context_dim=8,
    in_channels=4, out_channels=4, norm_groups=4,
)  # fmt: skip
KL_WIRED = KL_F8._replace(channels=4, channel_mult=(1, 1, 1, 1), norm_groups=2)


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
    options = "--kind", "sd15", *architecture(tmp_path, "sd15", unet=SD_WIRED, first_stage=KL_WIRED)
    priors = []
    for source in ("sd.ckpt", "sd.safetensors", "folder"):
        command = tmp_path / source, "--out", tmp_path / f"out_{source}", *options
        assert run(*command) == 2
        assert "needs the embeddings of its prompts" in capsys.readouterr().err
        assert run(*command, "--context", tmp_path / "prompts.npy") == 0
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
    assert run(*command, "--context", tmp_path / "prompts.npy") == 2
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

    transformers = SimpleNamespace(CLIPTokenizer=Encoder(), CLIPTextModel=Encoder())
    monkeypatch.setitem(sys.modules, "transformers", transformers)
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

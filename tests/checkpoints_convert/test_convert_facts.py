"""What a card says that names and shapes do not: by the file, by options, or by the kind."""

import json

import numpy as np
import pytest

from checkpoints_convert.alike import told_apart
from checkpoints_convert.schedules import recognised, stored_facts
from dsg_jax.priors import load_prior
from dsg_jax.schedule import cosine_betas, linear_betas, scaled_linear_betas, sigmoid_betas
from support.golden_case import GOLDEN
from support.golden_models import MODELS, TINY, TINY_VQ, run
from support.state_files import entries, random_state, write_state

LATENT = {"unet": TINY, "first_stage": TINY_VQ}
SHORT = scaled_linear_betas(0.0015, 0.0155).astype(np.float32)


def parts(folder, facts: dict, **configs) -> list:
    path = folder / "parts.json"
    path.write_text(json.dumps({k: config._asdict() for k, config in configs.items()} | facts))
    return ["--architecture", path]


@pytest.fixture(scope="module")
def latent_file(tmp_path_factory):
    """A latent diffusion file whose schedule and scale are not those of the FFHQ model."""
    state = random_state("ldm-ffhq", LATENT) | {"betas": SHORT, "scale_factor": np.float32(0.5)}
    state = {name: np.asarray(array) for name, array in state.items()}
    return write_state(tmp_path_factory.mktemp("latent") / "ldm.ckpt", entries(state), "state_dict")


def test_a_file_knows_better_than_its_kind(latent_file, tmp_path, capsys):
    facts = parts(tmp_path, {"parametrisation": "eps", "size": 256}, **LATENT)
    command = latent_file, "--kind", "ldm-ffhq", *facts, "--out", tmp_path / "out"
    assert run(*command, "--betas", "scaled_linear", "0.0015", "0.0195") == 2
    error = capsys.readouterr().err
    assert "has betas scaled_linear 0.0015 to 0.0155, 1000 steps, and you say" in error
    assert run(*command) == 0
    said = capsys.readouterr().out
    assert "betas scaled_linear 0.0015 to 0.0155, 1000 steps, as the file says" in said
    assert "latent_scale 0.5, as the file says; the published model has 1.0" in said
    prior, card = load_prior(tmp_path / "out")
    assert card["betas"] == {"start": 0.0015, "end": 0.0155, "steps": 1000}
    assert card["latent_scale"] == 0.5 and card["clock"] == {
        "kind": "table", "schedule": "scaled_linear", "start": 0.0015, "end": 0.0155, "steps": 1000
    }  # fmt: skip
    np.testing.assert_allclose(prior.clock.betas, SHORT, rtol=1e-6)


def test_options_say_what_nobody_knows(tmp_path, capsys):
    file, config = GOLDEN / "networks" / "adm_ffhq_like.pt", MODELS["adm-ffhq"].parts["unet"]
    command = file, "--kind", "adm-ffhq", *parts(tmp_path, {}, unet=config)
    command += "--out", tmp_path / "out"
    assert run(*command, "--size", "64") == 2
    assert "of which nobody knows parametrisation, betas: add" in capsys.readouterr().err
    options = "--size", "64", "--parametrisation", "v", "--betas", "cosine"
    assert run(*command, *options) == 0
    assert "size 64, as you say; the published model has 256" in capsys.readouterr().out
    prior, card = load_prior(tmp_path / "out")
    assert (card["size"], card["betas"]) == (64, "cosine, 1000 steps")
    assert prior.clock.prediction == "v"
    np.testing.assert_allclose(prior.clock.betas, cosine_betas(), rtol=1e-6)


def test_what_is_as_published_changes_nothing(tmp_path, capsys):
    """Said or not, ADM's own schedule stays ADM's clock; the noise-free image needs a table."""
    file, config = GOLDEN / "networks" / "adm_ffhq_like.pt", MODELS["adm-ffhq"].parts["unet"]
    for prediction, kind in (("eps", "adm"), ("x0", "table")):
        out = tmp_path / prediction
        options = ["--size", 256, "--betas", "linear", "--parametrisation", prediction]
        command = file, "--kind", "adm-ffhq", *parts(tmp_path, {}, unet=config), *options
        assert run(*command, "--out", out) == 0
        prior, card = load_prior(out)
        assert card["clock"]["kind"] == kind and card["betas"] == "linear 1e-4 to 0.02, 1000 steps"
        np.testing.assert_allclose(prior.clock.betas, linear_betas(), rtol=1e-6)


@pytest.mark.parametrize(
    "betas, name",
    [
        (linear_betas(1e-4, 0.03), "linear"),
        (scaled_linear_betas(0.001, 0.01, 50), "scaled_linear"),
        (cosine_betas(4000), "cosine"),
        (sigmoid_betas(), None),
    ],
)
def test_a_table_has_the_name_of_its_schedule(betas, name):
    entry = recognised(np.float64(np.float32(betas)))
    assert entry.get("schedule") == name and entry.get("steps", 1000) == len(betas)


def test_the_configurations_of_a_diffusers_folder(tmp_path):
    scheduler = {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 500}
    for part, config in (
        ("scheduler/scheduler_config", scheduler | {"prediction_type": "v_prediction"}),
        ("vae/config", {"scaling_factor": 0.13}),
    ):
        path = tmp_path / f"{part}.json"
        path.parent.mkdir()
        path.write_text(json.dumps(config))
    cosine = {"kind": "table", "schedule": "cosine", "steps": 500}
    expected = {"betas": cosine, "parametrisation": "v", "latent_scale": 0.13}
    assert stored_facts({}, tmp_path) == expected


@pytest.mark.parametrize(
    "kind, file, facts, meant",
    [
        ("adm-imagenet", "256x256_diffusion_uncond.pt", {}, "adm-imagenet"),
        ("adm-imagenet", "lsun_cat.pt", {}, "adm-lsun"),
        ("sd21", "v2-1_768-ema-pruned.ckpt", {}, "sd21"),
        ("sd21", "v2-1_512-ema-pruned.ckpt", {}, "sd21-base"),
        ("sd21", "model.ckpt", {"parametrisation": "eps"}, "sd21-base"),
        ("kl-f8", "model.ckpt", {}, "kl-f8"),
    ],
)
def test_kinds_of_the_same_names_are_told_apart(kind, file, facts, meant):
    assert told_apart(kind, file, facts) == meant


def test_an_upsampler_is_no_prior(tmp_path, capsys):
    state = random_state("adm-ffhq", {"unet": MODELS["adm-ffhq"].parts["unet"]})
    state["input_blocks.0.0.weight"] = np.zeros((32, 6, 3, 3), np.float32)
    path = write_state(tmp_path / "64_256_upsampler.pt", entries(state))
    assert run(path, "--out", tmp_path / "out") == 2
    assert "as guided-diffusion's upsamplers" in capsys.readouterr().err

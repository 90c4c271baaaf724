"""Folders of diffusers' `UNet2DModel`: layouts, what is read of them, and priors of originals."""

import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from checkpoints_convert.convert import conversion_of
from checkpoints_convert.diffusers import configured
from checkpoints_convert.kinds import KINDS
from dsg_jax import load_prior
from dsg_jax.clock import table_clock
from dsg_jax.diffusion import denoise, predict
from dsg_jax.priors.clocks import clock_of_card
from dsg_jax.schedule import cosine_betas, linear_betas, sigmoid_betas
from dsg_jax.times import nearest_time
from experiments.__main__ import main
from experiments.papers.priors import candidates_at
from experiments.speed.command import plan_speed
from experiments.speed.published import prior_of
from experiments.speed.settings import SpeedSettings
from support.diffusers_folders import HALF, OLD_NAMES, write_configs, write_pipeline
from support.golden_case import GOLDEN, assert_close, load, relative
from support.golden_models import run
from support.network_cases import nchw, nhwc, pattern


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dsg_jax" / "priors"


@jax.jit
def output_and_gradient(network, x, t, cotangent):
    out, vjp = jax.vjp(lambda x: jax.vmap(network)(x, t), x)
    return out, vjp(cotangent)[0]


@pytest.mark.parametrize("name", [OLD_NAMES.name, HALF.name, "pipeline"])
def test_golden_folders(name, tmp_path):
    """The original itself is loaded; of two sets of weights it is the averaged one."""
    made = name == "pipeline"
    folder = write_pipeline(tmp_path / name) if made else GOLDEN / "checkpoints" / name
    prior, card = load_prior(folder)
    case = OLD_NAMES.name if made else name
    manifest, arrays = load("checkpoints/diffusers_folders")
    stored = lambda array: arrays[f"{case}__{array}"]
    x, cotangent = nhwc(stored("x")), nhwc(pattern(9, stored("output").shape))
    out, gradient = output_and_gradient(prior.network, x, jnp.asarray(stored("t")), cotangent)
    assert_close("output", nchw(out), stored("output"), manifest["files"][case])
    assert_close("grad_x", nchw(gradient), stored("grad_x"), manifest["files"][case])
    half = name == HALF.name
    expected = table_clock(cosine_betas() if half else linear_betas(), "x0" if half else "eps")
    np.testing.assert_array_equal(prior.clock.betas, expected.betas)
    assert prior.clock.prediction == expected.prediction
    assert (card["size"], card["channels"], card["learned_variance"]) == (16 * (2 - half), 3, False)
    assert card["weights"] == ("ema" if made else "the file's only set")
    files = [file["name"] for file in card["source"][0]["files"]]
    assert len(files) == (4 if made else 1)


def test_a_class_is_chosen_and_the_velocity_converted(tmp_path):
    """`predict` and `denoise` give the golden E[noise] and E[x0] of a network of classes."""
    case = "unet2d_scale_shift_v"
    manifest, arrays = load(f"networks/{case}")
    network = {"_class_name": "UNet2DModel"} | manifest["config"]
    (tmp_path / "config.json").write_text(json.dumps(network))
    (tmp_path / "scheduler_config.json").write_text(json.dumps(manifest["scheduler"]))
    weights = tmp_path / "diffusion_pytorch_model.bin"
    weights.symlink_to(GOLDEN / "networks" / f"{case}.pt")
    prior, _ = load_prior(tmp_path, condition=int(arrays["y"][1]))
    x, t = nhwc(arrays["x"])[1], jnp.float32(arrays["t"][1])

    @jax.jit
    def both(prior, x, t):
        sigma = prior.clock.sigma(t)
        return *predict(prior, x, t), denoise(prior, x * jnp.sqrt(1 + sigma**2), sigma)

    eps, variance, x0 = both(prior, x, t)
    assert variance is None
    assert relative(nchw(eps[None]), arrays["eps"][1:]) < manifest["tolerance"]["rel_l2"]["eps"]
    assert relative(nchw(x0[None]), arrays["x0"][1:]) < manifest["tolerance"]["rel_l2"]["x0"]


def test_an_original_is_converted_once_until_it_changes(tmp_path, cache, capsys):
    folder = write_configs(tmp_path / "folder")
    weights = folder / "diffusion_pytorch_model.bin"
    weights.symlink_to(OLD_NAMES / weights.name)
    plan_speed(SpeedSettings(priors=(str(folder),)))  # by whichever command comes first
    assert capsys.readouterr().err.count("converting ") == 1
    for read in (load_prior, candidates_at, prior_of):
        read(str(folder))
        assert "converting " not in capsys.readouterr().err
    os.utime(folder / "config.json", ns=(0, 0))
    load_prior(folder)
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "folder once, to " in said.err and not said.out
    assert len(list(cache.glob("folder-*/card.json"))) == 2


def facts(folder) -> dict:
    return configured(KINDS["unet2d"], folder).card


TABLE = [0.1, 0.2, 0.4]
SCHEDULES = {
    "linear": ({"beta_end": 0.01, "num_train_timesteps": 10}, linear_betas(1e-4, 0.01, 10)),
    "cosine": ({"beta_schedule": "squaredcos_cap_v2"}, cosine_betas()),
    "sigmoid": ({"beta_schedule": "sigmoid"}, sigmoid_betas()),
    "listed": ({"trained_betas": TABLE, "num_train_timesteps": 3}, TABLE),
    # sqrt(alpha_bar) 0.9487, 0.8485, 0.6573 less 0.6573, times 0.9487 / 0.2914
    "no signal": (
        {"trained_betas": TABLE, "num_train_timesteps": 3, "rescale_betas_zero_snr": True},
        [0.1, 0.56925, 0.999],
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_scheduler_is_the_clock(name, tmp_path):
    entries, betas = SCHEDULES[name]
    clock = clock_of_card(facts(write_configs(tmp_path, **entries)))
    np.testing.assert_allclose(clock.betas, betas, rtol=1e-5)


@pytest.mark.parametrize("name", ["listed", "no signal"])
def test_a_pipeline_is_read_like_a_flat_folder(name, tmp_path):
    entries, betas = SCHEDULES[name]
    pipeline, file = write_pipeline(tmp_path / "pipeline"), "scheduler_config.json"
    shutil.copy(write_configs(tmp_path / "flat", **entries) / file, pipeline / "scheduler" / file)
    planned = conversion_of([pipeline], tmp_path / "out")
    np.testing.assert_allclose(clock_of_card(planned.kind.card).betas, betas, rtol=1e-5)


def test_config_files_are_not_contradicted(tmp_path):
    for folder in (OLD_NAMES, write_pipeline(tmp_path / "pipeline")):
        with pytest.raises(ValueError, match="has parametrisation .*, and you say x0: leave that"):
            conversion_of([folder], tmp_path / "out", parametrisation="x0")
        with pytest.raises(ValueError, match="has size .*, and you say 512: leave that out"):
            conversion_of([folder], tmp_path / "out", size=512)


def test_what_else_config_files_say(tmp_path):
    """Old names of blocks, whole times, learned variance, and what a missing entry means."""
    old = {"down_block_types": ["UNetResDownBlock2D", "UNetResAttnDownBlock2D"]}
    changed = {"time_embedding_type": "learned", "num_train_timesteps": 1000, "out_channels": 6}
    scheduler = {"variance_type": "learned_range", "prediction_type": "v_prediction"}
    network = old | changed | {"sample_size": [64, 64], "norm_eps": None, "dropout": 0.1}
    kind = configured(KINDS["unet2d"], write_configs(tmp_path, network, **scheduler))
    unet = kind.architecture["unet"]
    assert unet.down_block_types == ("DownBlock2D", "AttnDownBlock2D") and unet.norm_eps == 1e-5
    assert kind.card["learned_variance"] and kind.card["size"] == 64
    clock = clock_of_card(kind.card)
    assert clock.times == nearest_time and clock.prediction == "v"


REFUSED = {
    "architecture with time_embedding_type 'fourier': wanted is positional or learned": (
        {"time_embedding_type": "fourier"},
        {},
    ),
    "each DownBlock2D or AttnDownBlock2D": ({"down_block_types": ["SkipDownBlock2D"]}, {}),
    "architecture with act_fn 'gelu': wanted is silu or swish": ({"act_fn": "gelu"}, {}),
    "knows no architecture with .'cross_attention_dim'.": ({"cross_attention_dim": 8}, {}),
    "1 down_block_types and 2 up_block_types for 2": ({"down_block_types": ["DownBlock2D"]}, {}),
    "an architecture of 82 blocks: at most 64": ({"layers_per_block": 40}, {}),
    "an architecture with norm_eps 'x': wanted is a number >= 0": ({"norm_eps": "x"}, {}),
    "its sample_size has size 100000; wanted is": ({"sample_size": 10**5}, {}),
    "no clock is .*: give at least two variances in": (
        {},
        {"beta_end": 3.0, "rescale_betas_zero_snr": True},
    ),
    "no clock is .*'start': 'small'": ({}, {"beta_start": "small"}),
    "its schedule has clock .*; wanted is a kind of clock": ({}, {"num_train_timesteps": 10**7}),
    "prediction_type 'flow' is none of epsilon, v_pred": ({}, {"prediction_type": "flow"}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_not_read_is_refused_by_its_name(message, tmp_path):
    network, scheduler = REFUSED[message]
    with pytest.raises(ValueError, match=f"config.json: .*{message}"):
        facts(write_configs(tmp_path, network, **scheduler))


def test_a_near_miss_is_named(tmp_path, capsys):
    """A folder whose files do not belong together; the lone file wants its config.json."""
    folder = write_configs(tmp_path, {"layers_per_block": 2})
    weights = folder / "diffusion_pytorch_model.bin"
    weights.symlink_to(OLD_NAMES / weights.name)
    assert run(folder, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "is most like unet2d, as a UNet2DModel with the older names of attention" in error
    assert "missing: down_blocks.0.resnets.1.conv1.bias, " in error
    assert run(weights, "--out", tmp_path / "out") == 2
    assert "has no config.json, without which nobody knows" in capsys.readouterr().err
    assert run("inspect", OLD_NAMES) == 0
    assert "kind: unet2d, a UNet2DModel with the older" in capsys.readouterr().out


QUICK = ("daps", "--levels 2", "state")


@pytest.mark.parametrize(
    ("solver", "length", "projection"),
    [
        QUICK,
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("daps", "--levels 2", "none"),
                ("dps", "--steps 4", "none"),
                ("dps", "--steps 4", "state"),
            )
        ),
    ],
)
def test_an_original_restores(solver, length, projection, tmp_path):
    """One command from a diffusers folder to an image; x0 of a cosine schedule."""
    words = f"restore --task super_resolution --solver {solver} {length} --count 1 --prior {HALF}"
    out = tmp_path / "out"
    assert main([*words.split(), "--projection", projection, "--out", str(out)]) == 0
    (record,) = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    assert record["finite"] and record["settings"]["shape"] == [16, 16, 3]

"""The command line on latent priors: every solver ends in images, tables and reusable lines."""

import json

import jax
import pytest

from dsg_jax.solvers import SOLVERS, settings_for
from dsg_jax.solvers.dps import DPS_SCALE
from dsg_jax.types import Projection
from experiments.__main__ import main
from experiments.restore import command as restore
from experiments.restore.choices import chosen_methods
from support.golden_case import tiny_latent_prior
from support.words import settings_of

CARD = {"name": "tiny", "samples": "emoji", "size": 32, "size_multiple": 4, "channels": 3}
SHORT = {
    "psld": "--steps 4 --step-factor 2",
    "latent-dps": "--steps 4 --zeta 0.2",
    "latent-daps": "--levels 2 --inner-steps 2",
    "resample": "--steps 40 --pixel-limit 3 --latent-limit 3",
    "latent-fast-dips": "--levels 3 --passes 2",
    "flowdps": "--steps 4 --step-size 0.5",
    "flowchef": "--steps 4 --step-size 0.5",
}


def arguments(out, text):
    return settings_of("restore", *text.split(), "--out", out, "--count", 2)


def quick_or_slow(solver: str):
    """PSLD stands for the others, which share its way through the command."""
    return solver if solver == "psld" else pytest.param(solver, marks=pytest.mark.slow)


@pytest.mark.parametrize("solver", [quick_or_slow(solver) for solver in SHORT])
def test_a_latent_solver_restores_and_resumes(solver, tmp_path):
    text = f"--solver {solver} --task super_resolution {SHORT[solver]}"
    prior = tiny_latent_prior(), CARD
    records = restore.restore(arguments(tmp_path, text), prior)
    assert {r["method"] for r in records} == {solver, f"{solver}-dsg"}
    assert len(records) == 4 and all(r["finite"] and r["psnr"] > 3 for r in records)
    lines = (tmp_path / "metrics.jsonl").read_text()
    settings = json.loads(lines.splitlines()[0])["settings"]
    assert settings["shape"] == [32, 32, 3]
    assert restore.restore(arguments(tmp_path, text), prior) == records
    assert (tmp_path / "metrics.jsonl").read_text() == lines


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--solver psld --task hdr", "psld needs a linear task"),
        ("--solver psld --task box_inpainting --steps 333", "the schedule at 999: 250 would do"),
        ("--solver daps --task box_inpainting", "daps works on pixels"),
        ("--solver latent-dps --task box_inpainting --gamma 1", "--gamma is an option of psld"),
        ("--solver psld --task box_inpainting --step-factor -1", "gamma=-0.1: give"),
        ("--solver psld --task box_inpainting --eta 2", "eta=2.0: give"),
    ],
)
def test_what_does_not_fit_is_one_clear_error(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        restore.restore(arguments(tmp_path / "out", text), (tiny_latent_prior(), CARD))
    assert not (tmp_path / "out").exists()


def test_a_pixel_prior_is_refused(tmp_path, capsys):
    text = f"restore --solver psld --task box_inpainting --prior emoji --out {tmp_path / 'out'}"
    assert main(text.split()) == 2
    assert "psld works on latents" in capsys.readouterr().err


def test_presets_decide_rule_and_period(tmp_path):
    text = "--solver resample --task hdr --preset plorg"
    _, choice = chosen_methods(arguments(tmp_path, text))
    assert (choice.projection.rule, choice.projection.period) == ("per_channel", 5)
    text += " --rank-rule mean --period 2"
    _, choice = chosen_methods(arguments(tmp_path, text))
    assert (choice.projection.rule, choice.projection.period) == ("mean", 2)


@pytest.mark.parametrize(
    ("words", "channels", "rules"),
    [
        ("--solver daps", 3, ["official"]),
        ("--solver daps --rank-rule auto", 1, ["per_channel"]),
        ("--solver psld", 4, ["per_channel"]),
        ("--solver daps --rank-rule official mean", 1, ["official", "mean"]),
        ("--solver resample --preset plorg", 3, ["per_channel"]),
    ],
)
def test_the_released_rank_rule_is_for_three_channels(tmp_path, capsys, words, channels, rules):
    """Where nothing is named another is taken, and where it is named this is said."""
    chosen = chosen_methods(arguments(tmp_path, words + " --task hdr --projection state"), channels)
    assert [method.facts["rule"] for method in chosen] == rules
    assert ("counts on 3 channels" in capsys.readouterr().err) == (channels != 3 and len(rules) > 1)


@pytest.mark.parametrize(
    ("words", "labels", "title"),
    [
        ("0 0.9", ["daps", "daps-smoothed", "daps-dsg", "daps-dsg-smoothed"], ", smoothed"),
        ("0.5 0.9 --projection state", ["daps-dsg-smoothed0.5", "daps-dsg-smoothed0.9"], "0.9"),
    ],
)
def test_smoothing_is_a_method_of_its_own(tmp_path, words, labels, title):
    chosen = chosen_methods(arguments(tmp_path, f"--solver daps --task hdr --smoothing {words}"))
    assert [method.label for method in chosen] == labels
    assert chosen[-1].smoothing == 0.9 and chosen[-1].title.endswith(title)
    projection, plug_in = chosen[-1].projection
    assert projection == Projection() and jax.tree.leaves(plug_in) == [0.9]


def test_the_factor_multiplies_the_step():
    prior = tiny_latent_prior()
    settings = settings_for("dps", "hdr", prior, steps=4, step_factor=8.0)
    assert settings.scale == 8 * DPS_SCALE["default"]
    settings = settings_for("psld", "super_resolution", prior, steps=4, step_factor=8.0)
    assert (settings.gamma, settings.omega) == (0.8, 7.2)
    assert SOLVERS["psld"].operator == "linear"

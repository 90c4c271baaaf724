"""Calibration: the scores pass an exact sampler, catch a wide one, and the command needs sense."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dsg_jax.priors.mixture_posterior import draw_posterior
from dsg_jax.solvers import SOLVERS, SolverEntry
from experiments import figures
from experiments.calibrate.cases import case_of, samplers_of
from experiments.calibrate.command import draw_batch, plan_calibrate
from experiments.calibrate.plots import save_plots
from experiments.calibrate.report import calibration_card, run_lengths, sentences, sides
from experiments.calibrate.scores import (
    bias,
    bootstrap_weights,
    covered,
    estimate,
    histogram,
    rank_spread,
    ranks,
    scores_of,
    std_ratio,
    stored,
    uniformity,
)
from experiments.calibrate.settings import CalibrateSettings, levels_of, samplers

COUNT = 39
PLOTS = ("widths.png", "coverage.png", "ranks.png")


SMALL = CalibrateSettings(truths=200, solver=("dps",), rules=("none",))


@pytest.fixture(scope="module")
def wide_and_exact():
    """Rows of exact samples, and of the same 1.5 times as far from the exact mean."""
    case = case_of("spots:box_inpainting", SMALL)
    samples = draw_posterior(np.random.default_rng(3), case.posterior, COUNT)
    mean = case.mean[:, None]
    control = samplers_of(case, SMALL)[0]
    arrays = [stored(case, mean + f * (samples - mean), 0.0) for f in (1.0, 1.5)]
    return [scores_of(control, one, arrays[0], COUNT) for one in arrays]


def test_exact_samples_are_calibrated(wide_and_exact):
    row, _ = wide_and_exact
    assert min(row["p"].values()) > 0.01
    for level in ("0.5", "0.8", "0.95"):
        value, low, high = row["coverage"][level]
        assert low < float(level) < high and value == pytest.approx(float(level), abs=0.05)
    assert row["std"][1] < 1 < row["std"][2] and row["std_hidden"][1] < 1 < row["std_hidden"][2]
    assert row["bias"][0] < 0.1 and row["rank_spread"][0] == pytest.approx(1, abs=0.15)


def test_samples_too_wide_by_half_are_caught(wide_and_exact):
    _, row = wide_and_exact
    assert row["std"][1] < 1.5 < row["std"][2] and row["std"][1] > 1
    assert row["p"]["pixel"] < 0.01 and row["rank_spread"][2] < 1
    assert row["coverage"]["0.5"][1] > 0.5


def test_coverage_counts_as_many_ranks_as_the_level_says():
    every = np.arange(COUNT + 1)
    for level in (0.5, 0.8, 0.95):
        assert covered(every, COUNT, level).mean() == pytest.approx(level)
    assert not covered(np.array([0, COUNT]), COUNT, 0.95).any()
    assert levels_of(COUNT) == (0.5, 0.8, 0.95) and levels_of(19) == (0.5, 0.8, 0.9)
    assert covered(every[:20], 19, 0.9).mean() == pytest.approx(0.9)


def test_ranks_and_their_histogram():
    samples = np.arange(COUNT)[None, :, None].repeat(3, axis=0)
    truth = np.array([-1.0, 18.5, 100.0])[:, None]
    rank = ranks(truth, samples)
    assert rank[:, 0].tolist() == [0, 19, 39]
    assert histogram(rank[:, 0], COUNT).tolist() == [1, 0, 1, 0, 1]
    even = np.repeat(np.arange(COUNT + 1), 2)
    assert uniformity(even, COUNT) == pytest.approx(1)
    assert uniformity(np.full(80, 20), COUNT) < 1e-6
    assert rank_spread(np.full((1, 80), 1 / 80), even, COUNT)[0] == pytest.approx(1)


def test_width_and_bias_of_known_samples():
    random = np.random.default_rng(0)
    exact = np.array([0.04, 1.0]) * np.ones((200, 1))
    samples = 2 * np.sqrt(exact[:, None]) * random.standard_normal((200, COUNT, 2))
    samples += np.sqrt(exact[:, None])  # a bias of one standard deviation
    mean, variance = samples.mean(axis=1), samples.var(axis=1, ddof=1)
    weights = bootstrap_weights(200)
    value, low, high = estimate(std_ratio(weights, variance, exact))
    assert low < value < high and value == pytest.approx(2, rel=0.03)
    assert bias(weights, mean, variance, 0.0, exact, COUNT)[0] == pytest.approx(1, rel=0.05)
    centred = bias(weights, mean, variance, np.sqrt(exact), exact, COUNT)[0]
    assert centred < 0.15  # the mean of 39 samples twice as wide is 0.32 off by chance


def test_the_words_follow_from_the_numbers():
    def row(solver, rule, std, to_plain, p=0.5):
        names = ("prior", "task", "solver", "rule", "std", "to_plain", "bias")
        estimates = (std, to_plain, [0.1, 0.0, 0.2])
        return dict(zip(names, ("g", "t", solver, rule, *estimates))) | {"p": {"mean": p}}

    rows = [
        row("exact", "none", [1.0, 0.9, 1.1], None),
        row("dps", "none", [0.5, 0.4, 0.6], None),
        row("dps", "official", [0.6, 0.5, 0.7], [1.2, 1.1, 1.3]),
    ]
    assert sides(rows, "std") == (2, 0, 1) and sides(rows, "to_plain") == (0, 1, 0)
    text = sentences(rows)
    assert "0 of its 1 rank tests" in text
    assert "dps, plain: std ratio 0.50 to 0.50; too narrow in 1, too wide in 0" in text
    assert "(official): 1.20 to 1.20 times as wide; narrower in 0, wider in 1" in text


@pytest.mark.slow
def test_the_command_samples_once_and_one_program_serves_all_tasks(tmp_path, monkeypatch):
    settings = CalibrateSettings(
        setting=("spots:box_inpainting", "gaussian:gaussian_deblur"),
        solver=("dps",),
        rules=("none", "official"),
        steps=5,
        truths=8,
        out=tmp_path,
    )
    monkeypatch.setattr(figures, "find_spec", lambda name: None)
    before = draw_batch._cache_size()
    rows = plan_calibrate(settings)()
    assert draw_batch._cache_size() - before == 2
    assert [(r["solver"], r["rule"]) for r in rows[:3]] == [
        ("exact", "none"),
        ("dps", "none"),
        ("dps", "official"),
    ]
    assert all(r["not_finite"] == 0 for r in rows) and rows[2]["to_plain"][0] != 1
    assert rows[1]["std_hidden"] and rows[4]["std_hidden"] is None
    report = (tmp_path / "report.md").read_text()
    assert "needs matplotlib" in report and "maps-gaussian-gaussian_deblur.png" in report
    assert "Steps or levels of the published ones: dps 5 of 1000;" in report
    assert json.loads((tmp_path / "card.json").read_text())["settings"]["truths"] == 8
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()}
    assert len(files) == 6 and plan_calibrate(settings)() == rows
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()} == files


def test_the_card_has_the_settings_of_every_solver():
    settings = CalibrateSettings(truths=5)
    members = samplers_of(case_of("gaussian:gaussian_deblur", settings), settings)
    card = json.loads(json.dumps(calibration_card(members, [], settings), default=float))
    methods = {name.rsplit(", ")[-1]: method for name, method in card["methods"].items()}
    assert list(methods) == list(settings.solver) == list(samplers())
    assert methods["daps"]["tau_y"] == 0.01 and methods["daps-sigma"]["tau_y"] == settings.sigma
    assert methods["resample"]["latent"]["limit"] == settings.limit
    assert methods["dps"]["scale"] == pytest.approx(0.3 * 10 / 32)  # 100 steps, 8 of 256 px
    assert methods["psld"]["gamma"] == pytest.approx(0.1 * 10 / 8)
    steps = {name: method["steps"][0][0] for name, method in methods.items()}
    assert (steps["daps"], steps["latent-daps"], steps["resample"]) == (10, 50, 50)
    published = {"dps": "100 of 1000", "daps": "10 of 200", "latent-daps": "50 of 50"}
    assert published.items() < run_lengths(members).items()


def test_a_solver_is_known_by_its_entry_alone(monkeypatch):
    class Seventh(SolverEntry):
        module = SOLVERS["daps"].module
        options = SOLVERS["daps"].options

    monkeypatch.setitem(SOLVERS, "seventh", Seventh("seventh", "Seventh", "pixel"))
    settings = replace(SMALL, solver=tuple(samplers()), truths=5)
    assert {"seventh", "seventh-sigma"} < set(settings.solver)
    members = samplers_of(case_of("gaussian:gaussian_deblur", settings), settings)
    of = {sampler.name: sampler for sampler in members}
    assert of["seventh-sigma"].program.settings.tau_y == settings.sigma
    assert of["seventh"].path.name != of["daps"].path.name
    assert of["seventh"].program.steps == settings.levels


def test_the_figures_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    estimates = {level: [float(level)] * 3 for level in ("0.5", "0.8", "0.95")}
    row = {
        "prior": "g",
        "task": "t",
        "std": [1.0, 0.9, 1.1],
        "coverage": estimates,
        "histogram": {"direction": [8] * 5},
    }
    rows = [row | {"solver": s, "rule": "none"} for s in ("exact", "dps")]
    assert save_plots(tmp_path, rows, SMALL) == ""
    assert all((tmp_path / name).stat().st_size > 1000 for name in PLOTS)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"rules": ("none", "svd")}, "rule='svd': choose from official"),
        ({"solver": ("psld",), "steps": 333}, "333 DDIM steps"),
        ({"solver": ("resample",), "resample_steps": 9}, "9 DDIM steps"),
        ({"tau": 1.5, "rules": ("none", "official")}, "tau=1.5"),
    ],
)
def test_bad_settings_are_named_before_any_work(change, message, tmp_path):
    small = replace(SMALL, setting=("spots:box_inpainting",), truths=5, out=tmp_path / "o")
    with pytest.raises(ValueError, match=message):
        plan_calibrate(replace(small, **change))
    assert not (tmp_path / "o").exists()

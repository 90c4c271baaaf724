"""The step-size experiment: its grid shares programs, and its numbers count what failed."""

import csv
import json
import math

import numpy as np
import pytest
from PIL import Image

from experiments.__main__ import main, parser
from experiments.papers import robustness_figures
from experiments.papers.robustness import chosen_sample, plan_robustness
from experiments.papers.robustness_figures import save_plot, typical_image
from experiments.papers.robustness_report import as_csv, best_table, task_table
from experiments.restore.methods import METHODS
from experiments.statistics import (
    best_rows,
    bootstrap_interval,
    paired,
    table_rows,
    worst_tenth,
)
from support.gaussian_prior import gaussian_prior
from support.golden_case import tiny_latent_prior

CARD = {"name": "tiny", "samples": "emoji", "size": 32, "size_multiple": 4, "channels": 3}


def score(image, psnr, rule="none", factor=1.0, finite=True, lpips=0.25, below=5.0):
    place = {"task": "t", "rule": rule, "factor": factor, "image": image, "input_psnr": below}
    values = {"psnr": psnr, "ssim": 0.5, "lpips": lpips, "misfit": 1.0, "finite": finite}
    return place | values | {"rank_mean": 4.0, "kept_mean": 0.5, "seconds": 1.0, "samples": 1}


def test_the_worst_tenth_is_rounded_up_and_keeps_what_failed():
    scores = [score(str(i), float(i)) for i in range(1, 22)]
    assert worst_tenth(scores) == 2.0  # of 1, 2, 3
    assert worst_tenth(scores[:10]) == 1.0
    scores[20] = score("21", None, finite=False)
    assert worst_tenth(scores) is None
    (row,) = table_rows(scores, failure_psnr=10.5)
    assert row["not_finite"] == 1 and row["psnr"] == pytest.approx(10.5)
    assert row["failures"] == pytest.approx(11 / 21)
    assert row["below_input"] == pytest.approx(5 / 21)
    assert "not finite" in task_table([row]).splitlines()[2]


def test_nothing_finite_is_no_number():
    (row,) = table_rows([score("a", None, finite=False), score("b", None, finite=False)], 20)
    assert row["psnr"] is None and row["worst_tenth_psnr"] is None
    assert row["failures"] == 1 and row["below_input"] == 1
    assert row["psnr_gain"] == {"mean": None, "interval": None, "pairs": 0}
    assert best_rows([score("a", None, finite=False)], [row]) == []


def test_differences_pair_the_images_that_both_restored():
    plain = [score("a", 10.0), score("b", 20.0), score("c", None, finite=False)]
    ours = [score("c", 40.0), score("b", 23.0), score("a", 11.0)]
    gain = paired(ours, plain, "psnr")
    assert gain["mean"] == pytest.approx(2.0) and gain["pairs"] == 2
    assert gain["interval"] == [pytest.approx(1.0), pytest.approx(3.0)]
    assert paired(ours[:1], plain, "psnr")["mean"] is None
    assert paired(ours, [s | {"lpips": None} for s in plain], "lpips")["pairs"] == 0


def test_the_interval_covers_the_mean_as_often_as_it_says():
    samples = np.random.default_rng(1).normal(3.0, 2.0, (80, 24))
    intervals = [bootstrap_interval(values) for values in samples]
    covered = np.mean([low <= 3.0 <= high for low, high in intervals])
    assert 0.85 <= covered <= 0.99
    assert bootstrap_interval(np.ones(5)) == (1.0, 1.0)
    assert bootstrap_interval(np.ones(1)) is None


def two_rules():
    """The plain solver is best at the first step and breaks, the projected one at the second."""
    plain = {1.0: (20.0, 22.0), 2.0: (12.0, None)}
    ours = {1.0: (19.0, 20.0), 2.0: (24.0, 25.0)}
    return [
        score(image, psnr, rule, factor, finite=psnr is not None)
        for rule, table in (("none", plain), ("official", ours))
        for factor, values in table.items()
        for image, psnr in zip("ab", values, strict=True)
    ]


def test_every_rule_is_shown_at_its_best_step():
    scores = two_rules()
    rows = table_rows(scores, 20)
    plain, ours = best_rows(scores, rows)
    assert (plain["best_factor"], ours["best_factor"]) == (1.0, 2.0)
    assert plain["psnr_last"] == 12.0 and ours["psnr_first"] == 19.5
    assert ours["gain_over_plain_best"]["mean"] == pytest.approx(3.5)
    assert "+3.50 [+3.00, +4.00]" in best_table([plain, ours])
    lines = list(csv.DictReader(as_csv(rows).splitlines()))
    assert [line["not_finite"] for line in lines] == ["0", "1", "0", "0"]
    assert float(lines[3]["psnr_gain"]) == 12.0 and lines[3]["psnr_gain_low"] == ""


def test_the_plot_needs_matplotlib_and_says_so(tmp_path, monkeypatch):
    rows = table_rows(two_rules(), 20)
    monkeypatch.setattr(robustness_figures, "find_spec", lambda name: None)
    assert "pip install 'dsg_jax[plots]'" in save_plot(tmp_path / "plot.png", rows)
    assert not list(tmp_path.iterdir())


def test_a_single_step_shows_its_intervals_beside_each_other():
    axes = pytest.importorskip("matplotlib.figure").Figure().subplots()
    rows = [row for row in table_rows(two_rules(), 20) if row["factor"] == 1.0]
    robustness_figures.draw_panel(axes, rows, "psnr")
    plain, ours = (row["psnr"] for row in rows)
    low, high = rows[1]["psnr_gain"]["interval"]
    (bar,) = (part for held in axes.collections for part in held.get_segments())
    np.testing.assert_allclose(bar, [[1.2, plain + low], [1.2, plain + high]])
    left, right = axes.get_xlim()
    assert left < 1 < 1.2 < right and low <= ours - plain <= high


@pytest.mark.parametrize("lpips", [0.25, None])
def test_the_plot_is_an_image(tmp_path, lpips):
    pytest.importorskip("matplotlib")
    scores = [s | {"lpips": lpips} for s in two_rules()]
    assert save_plot(tmp_path / "plot.png", table_rows(scores, 20)) == ""
    with Image.open(tmp_path / "plot.png") as plot:
        assert plot.height > 300


def test_the_sample_is_chosen_by_misfit_among_the_finite():
    samples = [
        {"finite": False, "misfit": 0.1},
        {"finite": True, "misfit": 3.0},
        {"finite": True, "misfit": 2.0},
    ]
    assert chosen_sample(samples)["misfit"] == 2.0
    assert chosen_sample(samples[:1])["misfit"] == 0.1


def test_the_typical_image_is_the_median_of_the_plain_ones():
    scores = [score("a", None, finite=False), score("b", 30.0), score("c", 20.0)]
    assert typical_image([*scores, score("d", 1.0, "official")]) == "c"


def run(grid: str, out, prior):
    """The scores of a grid and its report as JSON and Markdown."""
    arguments = parser().parse_args(["robustness", *grid.split(), "--out", str(out / "out")])
    arguments.report = out / "report"
    scores = plan_robustness(arguments, prior)()
    path = out / "report" / f"{prior[1]['name']}-{arguments.solver}"
    return scores, json.loads(path.with_suffix(".json").read_text()), path.with_suffix(".md")


@pytest.mark.slow
def test_the_grid_shares_programs_and_resumes(tmp_path):
    """Factors, and tasks that differ in arrays only, have one program for each rule."""
    grid = "--solver dps --task random_inpainting box_inpainting --steps 5 --count 2 --box 5"
    grid += " --step-factors 32 1 --rules none per_channel"
    prior = gaussian_prior(), CARD | {"size": 16}
    scores, found, text = run(grid, tmp_path, prior)
    assert len(scores) == 2 * 2 * 2 * 2 and all(s["finite"] for s in scores)
    assert [r["programs"] for r in found["runs"]] == [2]
    assert "2 compiled programs served 8 settings" in text.read_text()
    rows = [(r["task"], r["factor"], r["rule"], r["images"]) for r in found["rows"][:4]]
    cells = [(1.0, "none"), (1.0, "per_channel"), (32.0, "none"), (32.0, "per_channel")]
    assert rows == [("random_inpainting", *cell, 2) for cell in cells]
    plain = [r["psnr"] for r in found["rows"] if r["rule"] == "none"]
    assert plain[0] != plain[1] and all(map(math.isfinite, plain))
    assert found["images"] == ["airplane", "balloon"] and len(found["values"]) == 8
    first = [s["psnr"] for s in scores if s["rule"] == "none" and s["factor"] == 1][:2]
    assert found["values"][0]["psnr"] == pytest.approx(first, abs=1e-4)
    assert "Step x1: scale 0.5, steps [5]." in text.read_text()
    assert str(tmp_path) not in json.dumps(found)
    for task in ("random_inpainting", "box_inpainting"):
        name = f"tiny-dps-{task}.png"
        assert f"![{task}]({name})" in text.read_text() and (text.parent / name).is_file()
    again, found, _ = run(grid, tmp_path, prior)
    assert again == scores and [r["programs"] for r in found["runs"]] == [2, 0]


@pytest.mark.slow
def test_phase_retrieval_by_resample_takes_the_best_of_two(tmp_path):
    grid = "--solver resample --task box_inpainting phase_retrieval --steps 40 --count 2"
    grid += " --pixel-limit 3 --latent-limit 3 --step-factors 1 4 --phase-samples 2"
    prior = tiny_latent_prior(), CARD
    scores, found, text = run(grid, tmp_path, prior)
    assert len(scores) == 2 * 2 * 3 * 2 and all(s["finite"] for s in scores)
    assert {s["task"]: s["samples"] for s in scores} == {"box_inpainting": 1, "phase_retrieval": 2}
    assert found["runs"][0]["programs"] == 2 * 3
    assert "phase_retrieval: the best of 2 samples by measurement misfit" in text.read_text()
    assert all(r["below_input"] is None for r in found["rows"] if r["task"] == "phase_retrieval")


def test_the_factor_multiplies_both_learning_rates_of_resample():
    betas = tiny_latent_prior().betas
    one, _ = METHODS["resample"]("hdr", betas, steps=50)
    eight, static = METHODS["resample"]("hdr", betas, steps=50, step_factor=8.0)
    assert (one["pixel"].lr, one["latent"].lr) == (1e-2, 5e-3)
    assert (eight["pixel"].lr, eight["latent"].lr) == (8e-2, 4e-2)
    assert "pixel" not in static and "latent" not in static


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--rules official", "add none"),
        ("--rules none pca", "--rules pca: choose from none, official"),
        ("--step-factors 1 1", "--step-factors names 1.0 twice"),
        ("--step-factors 0", "--step-factor 0.0: give"),
        ("--step-factor 2", "use --step-factors"),
        ("--rank-rule mean", "use --rules"),
        ("--projection none", "use --rules"),
        ("--measured x.png", "use --images"),
        ("--phase-samples 0", "--phase-samples 0: give"),
        ("--solver daps", "--step-factor is an option of dps"),
    ],
)
def test_what_makes_no_comparison_is_one_clear_error(text, message, tmp_path, capsys):
    out = tmp_path / "out"
    command = f"robustness --solver dps --task hdr --prior emoji {text} --out {out}"
    assert main(command.split()) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()

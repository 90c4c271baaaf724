"""The papers' experiments as data, their plans, and reports that put both numbers side by side."""

import csv

import pytest
from PIL import Image

from dsg_jax.solvers import SOLVERS
from experiments.__main__ import main
from experiments.figures import new_figure
from experiments.papers.card import command_of
from experiments.papers.choice import EXPERIMENTS
from experiments.papers.command import experiment_text
from experiments.papers.entry import METRICS, Sweep, Value, values
from experiments.papers.plan import plan_experiment
from experiments.papers.plots import add_legend, draw_lines, save_figure
from experiments.papers.report import as_csv, gains_table, main_table
from experiments.papers.scores import absent_rows, table_rows
from support.reproduce_cases import reproduce_settings, tiny_priors

NAMES = [f"table{i}" for i in range(1, 10)] + [f"plorg-table{i}" for i in range(1, 5)]
NAMES += ["fig3", "fig4", "fig6", "fig7", "fig8", "fig10"]
RANGES = {"psnr": (5, 40), "ssim": (0.05, 1), "lpips": (0.05, 0.8)}


def planned_of(name, out, text="--count 1"):
    return plan_experiment(EXPERIMENTS[name], reproduce_settings(out, text), tiny_priors(), {})


def test_every_table_and_figure_is_there():
    assert set(NAMES) <= set(EXPERIMENTS)
    assert sum(len(experiment.values) for experiment in EXPERIMENTS.values()) > 300


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_the_data_are_consistent(experiment):
    """Every printed number belongs to a row, a task and a metric, and is in their range."""
    labels = [row.label for row in experiment.rows]
    assert len(set(labels)) == len(labels)
    assert set(experiment.metrics) <= set(METRICS)
    assert experiment.name.startswith(("fig", "study", "map")) == (experiment.figure is not None)
    assert (experiment.figure in ("lines", "intervals", "calls")) == (experiment.sweep is not None)
    printed = {row.printed for row in experiment.rows}
    for (row, task, metric), value in experiment.values.items():
        low, high = RANGES[metric]
        assert low < value.mean < high and (value.std is None or 0 < value.std < value.mean)
        assert task in experiment.tasks
        if experiment.name != "plorg-table3":  # it prints half of the rows of its source
            assert row in printed
    for row in experiment.rows:
        is_method_alone = row.is_plain and not any(row.method.smoothing)
        assert set(row.against) <= set(labels) and bool(row.against) != is_method_alone
        assert len(row.method.solver) == 1 and row.method.projection in ("none", "state")
        assert row.step in ("default", "large")
        assert set(row.options) <= set(SOLVERS[row.solver].options)
        if row.printed and experiment.values:
            assert any(place[0] == row.printed for place in experiment.values)


def test_tables_that_repeat_numbers_agree():
    one, two, seven = (EXPERIMENTS[f"table{i}"].values for i in (1, 2, 7))
    for metric in ("psnr", "ssim", "lpips"):
        place = "random_inpainting", metric
        assert one["no projection", *place].mean == two["PSLD", *place].mean
        assert one["DiffStateGrad", *place].mean == two["DiffStateGrad-PSLD", *place].mean
        for task in EXPERIMENTS["table2"].tasks:
            large = seven["projected, large step", task, metric]
            assert large.mean == two["DiffStateGrad-PSLD", task, metric].mean


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="'DAPS' has 1 numbers for 2"):
        values(("hdr",), ("lpips", "psnr"), {"DAPS": "0.1 (0.02)"})
    assert values(("hdr",), ("psnr",), {"A": "7.700"}) == {("A", "hdr", "psnr"): Value(7.7, None)}


def jobs_in(planned):
    return {point.row.label: point.plans[0].jobs[0] for point in planned.points}


def test_table_1_decomposes_what_it_says(tmp_path):
    jobs = jobs_in(planned_of("table1", tmp_path))
    sources = [job.projection and job.projection.source for job in jobs.values()]
    assert sources == [None, "random", "gradient", "state"] * 2
    steps = [job.solver_settings.omega for job in jobs.values()]
    assert steps == pytest.approx([0.1 * 8] * 4 + [0.1 * 8 * 4] * 4)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("preset", "rule", "period"), [("paper", "official", 5), ("plorg", "per_channel", 5)]
)
def test_presets_choose_rule_and_period(preset, rule, period, tmp_path):
    planned = planned_of("table4", tmp_path, f"--count 1 --preset {preset}")
    absent = {(task, why) for task, _, why in planned.absent}
    assert absent == {("nonlinear_deblur", "needs --blur-network")}
    jobs = jobs_in(planned)
    ours = jobs["DiffStateGrad-ReSample"].projection
    assert (ours.rule, ours.period) == (rule, period)
    assert jobs["DiffStateGrad-DAPS"].projection.rule == rule
    assert len(jobs["DAPS"].items) == 1
    phase = next(point for point in planned.points if point.task == "phase_retrieval")
    assert len(phase.plans[0].jobs[0].items) == 4


def test_full_runs_are_as_long_as_the_papers(tmp_path):
    jobs = jobs_in(planned_of("fig4", tmp_path, "--count 1 --full"))
    lengths = {label: job.facts["steps"][0][0] for label, job in jobs.items()}
    assert (lengths["PSLD"], lengths["ReSample"], lengths["DAPS"]) == (1000, 500, 200)


def test_sweeps_share_the_plain_solver(tmp_path):
    small = EXPERIMENTS["fig8"]._replace(
        tasks=("box_inpainting",), sweep=Sweep("tau", (0.9, 0.99), "tau")
    )
    settings = reproduce_settings(tmp_path, "--count 1")
    points = plan_experiment(small, settings, tiny_priors(), {}).points
    folders = {}
    for point in points:
        folders.setdefault(point.row.label, set()).add(point.plans[0].out)
    assert {label: len(out) for label, out in folders.items()} == {
        "DAPS": 1,
        "DiffStateGrad-DAPS": 2,
        "PSLD": 1,
        "DiffStateGrad-PSLD": 2,
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("size", ["", "--full"])
def test_every_cell_has_a_plan(name, size, tmp_path):
    planned = planned_of(name, tmp_path, f"--count 1 {size}")
    experiment = planned.experiment
    xs = len(experiment.sweep.values) if experiment.sweep else 1
    every = len(experiment.tasks) * len(experiment.rows)
    assert len(planned.points) + len(planned.absent) * xs == every * xs
    known = {"needs --blur-network", *(["needs a linear task"] if "map" in name else [])}
    assert {why for _, _, why in planned.absent} <= known
    for point in planned.points:
        ((job,),) = [one.jobs for one in point.plans]
        is_method_alone = point.row.is_plain and not any(point.row.method.smoothing)
        assert (job.projection is None) == is_method_alone


def test_the_report_has_both_numbers(tmp_path):
    """Made-up lines: the paper's values beside ours, and differences paired by image."""
    planned = planned_of("table4", tmp_path, "--count 2")
    done = {}
    for i, point in enumerate(planned.points):
        (one,) = point.plans
        done[point.task, one.out] = [
            {
                "task": point.task,
                "image": item.picture.name,
                "sample": item.sample,
                "seed": job.seed,
                "psnr": 18.0 + i + item.sample,
                "ssim": 0.5,
                "lpips": None,
                "finite": True,
                "misfit": 1.0 + item.sample,
                "rank_mean": 3.0,
                "kept_mean": 0.5,
                "seconds": 2.0,
            }
            for job in one.jobs
            for item in job.items
        ]
    rows = table_rows(planned, done, 20.0)
    phase = {(r["row"], r["chosen"]): r for r in rows if r["task"] == "phase_retrieval"}
    best = phase["DiffStateGrad-DAPS", "best by PSNR"]
    assert best["psnr"] == 22.0 and best["paper"]["psnr"] == Value(32.25, 1.34)
    assert best["gains"]["DAPS"]["psnr"]["interval"] == [1.0, 1.0]
    assert phase["DAPS", "lowest misfit"]["psnr"] == 18.0
    assert phase["DAPS", "lowest misfit"]["paper"] == {}
    single = phase["DAPS", "single runs"]
    assert (single["runs"], single["images"], single["failures"]) == (8, 2, 0.5)
    pytest.importorskip("matplotlib")
    assert save_figure(tmp_path / "fig3.png", EXPERIMENTS["fig3"], list(phase.values())) == ""
    with Image.open(tmp_path / "fig3.png") as figure:
        assert figure.width > 300
    experiment = planned.experiment
    rows += absent_rows(planned)
    text = main_table(experiment, rows)
    assert "32.25 (1.34)" in text and "paper's values only: needs --blur-network" in text
    assert "+1.00 [+1.00, +1.00]" in gains_table(experiment, rows)
    lines = list(csv.DictReader(as_csv(experiment, rows).splitlines()))
    theirs = [line for line in lines if "needs --blur-network" in line["note"]]
    assert {line["note"] for line in theirs} == {"paper's values only: needs --blur-network"}
    assert len(theirs) == 4 * 2 and theirs[1]["paper"] == "27.8"


def test_the_shade_is_the_interval_of_the_difference_on_the_plain_mean():
    pytest.importorskip("matplotlib")
    common = {"chosen": "", "not_finite": 0}
    rows = []
    for x, mean, low, high in ((1.0, 20.0, -1.0, 2.0), (2.0, 10.0, 3.0, 5.0)):
        gain = {"PSLD": {"psnr": {"interval": [low, high]}}}
        rows.append(common | {"row": "PSLD", "x": x, "psnr": mean, "gains": {}})
        rows.append(common | {"row": "official", "x": x, "psnr": mean + 1, "gains": gain})
    panel = new_figure(3, 3).subplots()
    draw_lines(panel, EXPERIMENTS["study-step-psld"], rows, "psnr")
    (shade,) = panel.collections
    corners = {tuple(corner) for corner in shade.get_paths()[0].vertices}
    assert corners == {(1.0, 19.0), (1.0, 22.0), (2.0, 13.0), (2.0, 15.0)}


def test_the_list_needs_no_prior(capsys):
    assert main(["reproduce", "--list"]) == 0
    shown = capsys.readouterr().out
    assert "31.68" in shown and "27.76 (3.180)" not in shown
    assert shown.strip() == "\n\n".join(map(experiment_text, EXPERIMENTS.values()))


def test_the_command_of_a_card_leaves_out_defaults(tmp_path):
    words = "--full --count 2 --seeds 0 3 --large-step 2.0 --save-every 5 --metrics ssim_skimage7"
    settings = reproduce_settings(tmp_path, f"table1 fig6 --fit crop {words} --dry-run")
    assert command_of("fig6", settings) == f"dsg-jax reproduce fig6 {words}"
    assert settings.for_restore().devices.save_every == 5


def test_the_legend_has_every_label_once_below_the_panels():
    agg = pytest.importorskip("matplotlib.backends.backend_agg")
    figure = new_figure(6, 3)
    canvas = agg.FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for panel, labels in ((left, ["PSLD"]), (right, ["PSLD", "DiffStateGrad-PSLD"])):
        for label in labels:
            panel.plot([0, 1], [0, 1], label=label)
    add_legend(figure, columns=2)
    canvas.draw()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["PSLD", "DiffStateGrad-PSLD"]
    box = legend.get_window_extent()
    assert 0 <= box.y0 and box.y1 <= min(panel.get_tightbbox().y0 for panel in (left, right))
    assert 0 <= box.x0 and box.x1 <= figure.bbox.width

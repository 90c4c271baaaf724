"""The figures of `reproduce`: curves, histograms of PSNR, bars of seconds, paired differences."""

import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from experiments.files import write_atomically
from experiments.papers.entry import METRICS, Experiment
from experiments.papers.robustness_figures import PLOTS_MISSING
from experiments.papers.scores import BY_MISFIT, SINGLE
from experiments.restore.report import grouped


def save_figure(path: Path, experiment: Experiment, rows: list[dict]) -> str:
    """Draw the experiment's kind of figure; returns why not, or ""."""
    if find_spec("matplotlib") is None:
        return PLOTS_MISSING
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tasks = list(grouped(rows, "task"))
    shown = [m for m in experiment.metrics if any(row[m] is not None for row in rows)]
    if not shown:
        return "no restoration is finite"
    down = len(shown) if experiment.figure == "lines" else 1
    height = 1.2 + 0.22 * len(experiment.rows) if experiment.figure == "gains" else 2.6
    width = 5 if experiment.figure == "histogram" else 3.5
    figure = Figure(figsize=(1.5 + width * len(tasks), 1 + height * down), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(down, len(tasks), squeeze=False)
    draw = {
        "lines": draw_lines,
        "histogram": draw_histogram,
        "bars": draw_bars,
        "gains": draw_gains,
    }
    for c, (task,) in enumerate(tasks):
        mine = [row for row in rows if row["task"] == task]
        for r in range(down):
            draw[experiment.figure or "lines"](panels[r, c], experiment, mine, shown[r])
        panels[0, c].set_title(task.replace("_", " "))
    add_legend(figure, columns=1 + len(tasks))
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, bbox_inches="tight")
    write_atomically(path, stream.getvalue())
    return ""


def add_legend(figure, columns: int) -> None:
    """Name what the panels show, every label once, below them."""
    found: dict = {}
    for panel in figure.axes:
        handles, labels = panel.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    if found:
        where = {"loc": "outside lower center", "ncols": columns}
        figure.legend(found.values(), found, **where, frameon=False, fontsize="small")


def draw_lines(panel, experiment: Experiment, rows: list[dict], metric: str) -> None:
    """One metric over what is varied, a line per method; crosses where a run is not finite."""
    assert experiment.sweep is not None  # only experiments that vary something have lines
    known = [row for row in rows if row[metric] is not None and row["chosen"] in ("", SINGLE)]
    for i, ((label,), members) in enumerate(grouped(known, "row").items()):
        x, y = [row["x"] for row in members], [row[metric] for row in members]
        style = "-" if members[0]["gains"] else "--"
        panel.plot(x, y, style, marker="o", markersize=3, color=f"C{i}", label=label)
        broken = [(row["x"], row[metric]) for row in members if row["not_finite"]]
        panel.plot(*np.reshape(broken, (-1, 2)).T, "x", markersize=9, color=f"C{i}")
    xs = experiment.sweep.values
    if experiment.sweep.argument == "tau":
        panel.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
        for line in panel.get_lines():  # evenly spaced: 0.99 and 0.9999 would be one point
            line.set_xdata([xs.index(x) for x in line.get_xdata()])
        panel.set_xlim(-0.3, len(xs) - 0.7)
    else:
        panel.set_xscale("log")
        panel.set_xticks(xs, [f"{x:g}" for x in xs])
        panel.minorticks_off()
    panel.set_xlabel(experiment.sweep.axis)
    panel.set_ylabel(METRICS[metric])
    panel.grid(alpha=0.3)


def draw_histogram(panel, experiment: Experiment, rows: list[dict], metric: str) -> None:
    """The PSNR of single images, a histogram per method and choice; plain ones dashed."""
    del experiment, metric
    known = [row for row in rows if row["chosen"] != BY_MISFIT]
    values = [[v for v in row["values"] if v is not None] for row in known]
    every = np.concatenate([np.asarray(v) for v in values])
    edges = np.linspace(every.min(), every.max() + 1e-6, 21)
    for i, (row, mine) in enumerate(zip(known, values, strict=True)):
        label = f"{row['row']}, {row['chosen']}" if row["chosen"] else row["row"]
        share = np.full(len(mine), 1 / max(1, len(mine)))
        looks = {"linestyle": "-"} if row["gains"] else {"linestyle": "--", "zorder": 3}
        looks |= {"histtype": "step", "color": f"C{i}", "label": label}
        panel.hist(mine, edges, weights=share, **looks)
    panel.set_xlabel(METRICS["psnr"])
    panel.set_ylabel("share of runs")


def draw_bars(panel, experiment: Experiment, rows: list[dict], metric: str) -> None:
    """One bar per method."""
    del experiment
    known = [row for row in rows if row[metric] is not None]
    panel.barh([row["row"] for row in known], [row[metric] for row in known], color="C0")
    panel.invert_yaxis()
    panel.set_xlabel(METRICS[metric])


def draw_gains(panel, experiment: Experiment, rows: list[dict], metric: str) -> None:
    """Paired difference in PSNR to the plain solver with its interval; in brackets mean ranks."""
    del experiment, metric
    known = [
        (f"{row['row']} ({row['rank']:.1f})", gain["psnr"])
        for row in rows
        for gain in row["gains"].values()
        if gain["psnr"]["interval"] is not None
    ]
    for place, (_, gain) in enumerate(known):
        panel.plot(gain["interval"], [place, place], color="C0")
        panel.plot(gain["mean"], place, "o", markersize=4, color="C0")
    panel.set_yticks(range(len(known)), [label for label, _ in known], fontsize="small")
    panel.invert_yaxis()
    panel.axvline(0, color="gray", linewidth=0.8)
    panel.set_xlabel("PSNR over plain / dB", fontsize="small")
    panel.grid(alpha=0.3, axis="x")

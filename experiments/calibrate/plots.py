"""The figures of `calibrate`: coverage, rank histograms, and maps of means and deviations."""

import io
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from scipy.stats import binom

from experiments.calibrate.cells import EXACT, Cell, cells_by_setting
from experiments.calibrate.priors import SHAPE
from experiments.calibrate.scores import BINS
from experiments.files import write_atomically
from experiments.images import from_bytes, save_png
from experiments.papers.robustness_figures import PLOTS_MISSING
from experiments.pictures import Cell as Picture
from experiments.pictures import colour, grid, std_map
from experiments.restore.report import grouped
from experiments.statistics import PLAIN

SHOWN = "direction"
"""The functional of the rank histograms: the direction that the measurement knows least."""


def save_plots(report: Path, rows: list[dict], given: Namespace) -> str:
    """Write ``widths.png``, ``coverage.png`` and ``ranks.png``; returns why not, or ""."""
    if find_spec("matplotlib") is None:
        return PLOTS_MISSING
    known = [row for row in rows if row["coverage"] is not None]
    save_widths(report / "widths.png", known, given)
    text = "level of the central interval (across), share of the truths that it holds (up)"
    save_figure(report / "coverage.png", known, given, draw_coverage, text)
    text = "rank of the truth along the direction measured least (across), 1 is calibrated (up)"
    save_figure(report / "ranks.png", known, given, draw_ranks, text)
    return ""


def save_widths(path: Path, rows: list[dict], given: Namespace) -> None:
    """Std ratios with their intervals: a panel per setting, a column per solver."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings, solvers = grouped(rows, "prior", "task"), [EXACT, *given.solver]
    figure = Figure(figsize=(0.8 + 3.6 * len(settings), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(settings), squeeze=False, sharey=True)[0]
    for panel, ((prior, task), members) in zip(panels, settings.items(), strict=True):
        panel.set_title(f"{prior}, {task}".replace("_", " "), fontsize="small")
        panel.axhline(1, color="0.6", linewidth=1)
        for i, rule in enumerate(given.rules):
            mine = [m for m in members if m["rule"] == rule]
            x = [solvers.index(m["solver"]) + 0.22 * i for m in mine]
            value, low, high = np.transpose([m["std"] for m in mine])
            error = np.maximum([value - low, high - value], 0)
            label = "plain" if rule == PLAIN else rule.replace("_", " ")
            panel.errorbar(x, value, error, fmt="o", markersize=4, color=f"C{i}", label=label)
        panel.set_xticks(range(len(solvers)), solvers, rotation=60, fontsize="small")
        panel.grid(axis="y", alpha=0.3)
    panels[0].set_yscale("log", base=2)
    panels[0].yaxis.set_major_formatter("{x:g}")
    panels[0].set_ylabel("standard deviation over the exact one", fontsize="small")
    panels[0].legend(frameon=False, fontsize="small")
    write_figure(path, figure)


def write_figure(path: Path, figure) -> None:
    """Write a figure as PNG in one piece."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    write_atomically(path, stream.getvalue())


def save_figure(path: Path, rows: list[dict], given: Namespace, draw, axes: str) -> None:
    """A panel per setting (down) and solver (across), drawn by ``draw``; ``axes`` names both."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings = grouped(rows, "prior", "task")
    solvers = [EXACT, *given.solver]
    size = (0.8 + 1.6 * len(solvers), 0.8 + 1.6 * len(settings))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(settings), len(solvers), squeeze=False, sharex=True, sharey=True)
    for r, ((prior, task), members) in enumerate(settings.items()):
        panels[r, 0].set_ylabel(f"{prior}\n{task}".replace("_", " "), fontsize="small")
        for c, solver in enumerate(solvers):
            for i, rule in enumerate(given.rules):
                mine = [m for m in members if (m["solver"], m["rule"]) == (solver, rule)]
                label = "plain" if rule == PLAIN else rule.replace("_", " ")
                for row in mine:
                    draw(panels[r, c], row, f"C{i}", label)
            draw(panels[r, c], None, "0.7", "calibrated")
            panels[r, c].tick_params(labelsize="x-small")
            if r == 0:
                panels[r, c].set_title(solver, fontsize="small")
    shown = panels[0, min(1, len(solvers) - 1)].get_legend_handles_labels()
    looks = {"ncols": 4, "frameon": False, "fontsize": "small", "title_fontsize": "small"}
    figure.legend(*shown, loc="outside lower center", title=axes, **looks)
    write_figure(path, figure)


def draw_coverage(panel, row: dict | None, colour: str, label: str) -> None:
    """Share of truths inside against the interval's level, with the interval over truths."""
    if row is None:
        panel.plot([0, 1], [0, 1], color=colour, linewidth=1, label=label, zorder=0)
        return
    value, low, high = np.transpose(list(row["coverage"].values()))
    error = np.maximum([value - low, high - value], 0)
    levels = [float(level) for level in row["coverage"]]
    panel.errorbar(levels, value, error, color=colour, marker="o", markersize=2.5, label=label)


def draw_ranks(panel, row: dict | None, colour: str, label: str) -> None:
    """Histogram of the truths' ranks as a line; the band holds 95 % of a calibrated bin."""
    edges = np.arange(BINS + 1) / BINS
    if row is None:
        panel.axhline(1, color=colour, linewidth=1, label=label, zorder=0)
        return
    counts = np.array(row["histogram"][SHOWN])
    panel.stairs(counts * BINS / counts.sum(), edges, color=colour, label=label)
    if row["rule"] == PLAIN:
        low, high = binom.ppf([0.025, 0.975], counts.sum(), 1 / BINS) * BINS / counts.sum()
        panel.axhspan(low, high, color="0.9", zorder=0)


def mean_map(flat: np.ndarray, caption: str) -> Picture:
    """A flat image in [-1, 1], clipped."""
    return Picture(colour(np.clip(flat.reshape(SHAPE), -1, 1)), caption)


def deviation_map(variance: np.ndarray, caption: str) -> Picture:
    """The root of a flat image of variances."""
    return Picture(std_map(np.sqrt(variance.reshape(SHAPE))), caption)


def write_maps(report: Path, cells: list[Cell], kept: dict) -> dict[tuple[str, str], Path]:
    """A grid per setting for its first truth: mean and deviation of every sampler."""
    files = {}
    for place, members in cells_by_setting(cells).items():
        setting = members[0].setting
        rules: dict[str, list[Cell]] = {}
        for cell in members:
            if cell.solver != EXACT:
                rules.setdefault(cell.rule, []).append(cell)
        blank = Picture(np.full((*SHAPE[:2], 3), 255, np.uint8))
        truth = [mean_map(setting.truths[0], "truth"), mean_map(setting.y[0], "measurement")]
        exact = [
            mean_map(setting.mean[0], "exact mean"),
            deviation_map(setting.variance[0], "exact deviation"),
        ]
        rows: list[list[Picture]] = []
        for rule, mine in rules.items():
            left = [blank, blank, blank, blank] if rows else [*truth, *exact]
            found = [kept[place, cell.solver, rule] for cell in mine]
            text = "plain" if rule == PLAIN else rule
            rows.append([left[0], left[2], *(mean_map(k["mean"][0], text) for k in found)])
            rows.append([left[1], left[3], *(deviation_map(k["variance"][0], text) for k in found)])
        columns = ["truth, measurement", "exact posterior", *(c.solver for c in rules[PLAIN])]
        files[place] = report / f"maps-{'-'.join(place)}.png"
        save_png(files[place], from_bytes(grid(columns, rows)))
    return files

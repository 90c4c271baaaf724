"""The figures of `calibrate`: widths, coverage, ranks, and maps of means and deviations."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binom

from experiments.calibrate.cases import EXACT, Sampler
from experiments.calibrate.priors import SHAPE
from experiments.calibrate.scores import Arrays
from experiments.calibrate.settings import BINS, CalibrateSettings
from experiments.figures import new_figure, why_no_figure, write_figure
from experiments.images import from_bytes, save_png
from experiments.pictures import Panel, colour, grid, std_map
from experiments.statistics import PLAIN, grouped

SHOWN = "direction"
"""The functional of the rank histograms: the direction that the measurement knows least."""


def save_plots(report: Path, rows: list[dict], settings: CalibrateSettings) -> str:
    """Write ``widths.png``, ``coverage.png`` and ``ranks.png``; returns why not, or ""."""
    missing = why_no_figure()
    known = [row for row in rows if row["coverage"] is not None]
    if missing or not known:
        return missing or "too few samples are finite"
    text = "level of the central interval (across), share of the truths that it holds (up)"
    figures = {
        "widths": widths_figure(known, settings),
        "coverage": panels_figure(known, settings, draw_coverage, text),
    }
    text = "rank of the truth along the direction measured least (across), 1 is calibrated (up)"
    figures["ranks"] = panels_figure(known, settings, draw_ranks, text)
    for name, figure in figures.items():
        write_figure(report / f"{name}.png", figure, dpi=100)
    return ""


def shown_rule(rule: str) -> str:
    """A rank rule as figures name it."""
    return "plain" if rule == PLAIN else rule.replace("_", " ")


def bars(values: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Estimates [value, low, high] as values (n,) and lengths of their error bars (2, n)."""
    value, low, high = np.transpose(values)
    return value, np.maximum([value - low, high - value], 0)


def widths_figure(rows: list[dict], settings: CalibrateSettings) -> Any:
    """Std ratios with their intervals: a panel per case, a column per sampler."""
    cases, names = grouped(rows, "prior", "task"), [EXACT, *settings.solver]
    figure = new_figure(0.8 + 3.6 * len(cases), 3.4)
    panels = figure.subplots(1, len(cases), squeeze=False, sharey=True)[0]
    for panel, ((prior, task), members) in zip(panels, cases.items(), strict=True):
        panel.set_title(f"{prior}, {task}".replace("_", " "), fontsize="small")
        panel.axhline(1, color="0.6", linewidth=1)
        for i, rule in enumerate(settings.rules):
            same_rule = [m for m in members if m["rule"] == rule]
            if not same_rule:
                continue
            x = [names.index(m["solver"]) + 0.22 * i for m in same_rule]
            value, error = bars([m["std"] for m in same_rule])
            looks = {"fmt": "o", "markersize": 4, "color": f"C{i}", "label": shown_rule(rule)}
            panel.errorbar(x, value, error, **looks)
        panel.set_xticks(range(len(names)), names, rotation=60, fontsize="small")
        panel.grid(axis="y", alpha=0.3)
    panels[0].set_yscale("log", base=2)
    panels[0].yaxis.set_major_formatter("{x:g}")
    panels[0].set_ylabel("standard deviation over the exact one", fontsize="small")
    panels[0].legend(frameon=False, fontsize="small")
    return figure


def panels_figure(rows: list[dict], settings: CalibrateSettings, draw: Callable, axes: str) -> Any:
    """A panel per case (down) and sampler (across), drawn by ``draw``; ``axes`` names both axes."""
    cases, names = grouped(rows, "prior", "task"), [EXACT, *settings.solver]
    figure = new_figure(0.8 + 1.6 * len(names), 0.8 + 1.6 * len(cases))
    panels = figure.subplots(len(cases), len(names), squeeze=False, sharex=True, sharey=True)
    for r, ((prior, task), members) in enumerate(cases.items()):
        panels[r, 0].set_ylabel(f"{prior}\n{task}".replace("_", " "), fontsize="small")
        for c, name in enumerate(names):
            for i, rule in enumerate(settings.rules):
                for row in members:
                    if (row["solver"], row["rule"]) == (name, rule):
                        draw(panels[r, c], row, f"C{i}", shown_rule(rule))
            draw(panels[r, c], None, "0.7", "calibrated")
            panels[r, c].tick_params(labelsize="x-small")
    for c, name in enumerate(names):
        panels[0, c].set_title(name, fontsize="small")
    shown = panels[0, min(1, len(names) - 1)].get_legend_handles_labels()
    looks = {"ncols": 4, "frameon": False, "fontsize": "small", "title_fontsize": "small"}
    figure.legend(*shown, loc="outside lower center", title=axes, **looks)
    return figure


def draw_coverage(panel: Any, row: dict | None, colour: str, label: str) -> None:
    """Share of truths inside against the interval's level; without a row what is calibrated."""
    if row is None:
        panel.plot([0, 1], [0, 1], color=colour, linewidth=1, label=label, zorder=0)
        return
    value, error = bars(list(row["coverage"].values()))
    levels = [float(level) for level in row["coverage"]]
    panel.errorbar(levels, value, error, color=colour, marker="o", markersize=2.5, label=label)


def draw_ranks(panel: Any, row: dict | None, colour: str, label: str) -> None:
    """Histogram of the truths' ranks as a line; the band holds 95 % of a calibrated bin."""
    if row is None:
        panel.axhline(1, color=colour, linewidth=1, label=label, zorder=0)
        return
    counts = np.array(row["histogram"][SHOWN])
    edges = np.arange(BINS + 1) / BINS
    panel.stairs(counts * BINS / counts.sum(), edges, color=colour, label=label)
    if row["rule"] == PLAIN:
        low, high = binom.ppf([0.025, 0.975], counts.sum(), 1 / BINS) * BINS / counts.sum()
        panel.axhspan(low, high, color="0.9", zorder=0)


def mean_map(flat: np.ndarray, caption: str) -> Panel:
    """A flat image in [-1, 1], clipped."""
    return Panel(colour(np.clip(flat.reshape(SHAPE), -1, 1)), caption)


def deviation_map(variance: np.ndarray, caption: str) -> Panel:
    """The root of a flat image of variances."""
    return Panel(std_map(np.sqrt(variance.reshape(SHAPE))), caption)


def write_maps(
    report: Path, samplers: list[Sampler], arrays: dict[tuple, Arrays]
) -> dict[tuple[str, str], Path]:
    """A grid per case for its first truth: mean and deviation of every sampler, a rule per pair."""
    files = {}
    cases = {(s.case.prior, s.case.task): s.case for s in samplers}
    blank = Panel(np.full((*SHAPE[:2], 3), 255, np.uint8))
    for place, case in cases.items():
        names = list(dict.fromkeys(n for p, n, _ in arrays if p == place and n != EXACT))
        rules = dict.fromkeys(r for p, n, r in arrays if p == place and n != EXACT)
        rows: list[list[Panel]] = []
        for rule in rules:
            stored = [arrays[place, name, rule] for name in names]
            text = "plain" if rule == PLAIN else rule
            rows.append([blank, blank, *(mean_map(a["mean"][0], text) for a in stored)])
            rows.append([blank, blank, *(deviation_map(a["variance"][0], text) for a in stored)])
        rows[0][:2] = mean_map(case.truths[0], "truth"), mean_map(case.mean[0], "exact mean")
        deviation = deviation_map(case.variance[0], "exact deviation")
        rows[1][:2] = mean_map(case.y[0], "measurement"), deviation
        files[place] = report / f"maps-{'-'.join(place)}.png"
        columns = ["truth, measurement", "exact posterior", *names]
        save_png(files[place], from_bytes(grid(columns, rows)))
    return files

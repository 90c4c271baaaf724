"""The figures of `calibrate`: widths, coverage, ranks, and maps of means and deviations."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binom

from dsg_jax.user_code import file_name
from experiments.calibrate.cases import EXACT, Sampler
from experiments.calibrate.problems import SHAPE
from experiments.calibrate.scores import Arrays
from experiments.calibrate.settings import BINS, CalibrateSettings
from experiments.figures import new_figure, why_no_figure, write_figure
from experiments.images import from_bytes, save_png
from experiments.pictures import Panel, colour, grid, std_map
from experiments.statistics import PLAIN, grouped


def save_plots(report: Path, rows: list[dict], settings: CalibrateSettings) -> str:
    """Write ``widths.png``, ``coverage.png`` and ``ranks.png``; returns why not, or ""."""
    missing = why_no_figure()
    known = [row for row in rows if row["coverage"] is not None]
    if missing or not known:
        return missing or "too few samples are finite"
    write_figure(report / "widths.png", widths_figure(known, settings), dpi=100)
    for name, drawing in DRAWINGS.items():
        write_figure(report / f"{name}.png", panels_figure(known, settings, *drawing), dpi=100)
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
            if same_rule:  # there are none where all samples of a rule are not finite
                panel.errorbar(
                    [names.index(m["solver"]) + 0.22 * i for m in same_rule],
                    *bars([m["std"] for m in same_rule]),
                    fmt="o",
                    markersize=4,
                    color=f"C{i}",
                    label=shown_rule(rule),
                )
        panel.set_xticks(range(len(names)), names, rotation=60, fontsize="small")
        panel.grid(axis="y", alpha=0.3)
    panels[0].set_yscale("log", base=2)
    panels[0].yaxis.set_major_formatter("{x:g}")
    panels[0].set_ylabel("standard deviation over the exact one", fontsize="small")
    panels[0].legend(frameon=False, fontsize="small")
    return figure


def panels_figure(
    rows: list[dict],
    settings: CalibrateSettings,
    draw: Callable[[Any, dict, dict], None],
    calibrated: tuple[int, int],
    axes: str,
) -> Any:
    """A panel per case (down) and sampler (across), with a line per rule and the calibrated one.

    Args:
      rows: of samplers with scores.
      settings: whose samplers and rules are the columns and colours.
      draw: draws a row into a panel with such keyword arguments of the line.
      calibrated: ends of the calibrated line at 0 and 1.
      axes: names of both axes.
    """
    cases, names = grouped(rows, "prior", "task"), [EXACT, *settings.solver]
    figure = new_figure(0.8 + 1.6 * len(names), 0.8 + 1.6 * len(cases))
    panels = figure.subplots(len(cases), len(names), squeeze=False, sharex=True, sharey=True)
    for line, ((prior, task), members) in zip(panels, cases.items(), strict=True):
        line[0].set_ylabel(f"{prior}\n{task}".replace("_", " "), fontsize="small")
        for panel, name in zip(line, names, strict=True):
            for row in members:
                if row["solver"] == name:
                    color = f"C{settings.rules.index(row['rule'])}"
                    draw(panel, row, {"color": color, "label": shown_rule(row["rule"])})
            panel.plot([0, 1], calibrated, color="0.7", linewidth=1, label="calibrated", zorder=0)
            panel.tick_params(labelsize="x-small")
    for panel, name in zip(panels[0], names, strict=True):
        panel.set_title(name, fontsize="small")
    figure.legend(
        *panels[0, min(1, len(names) - 1)].get_legend_handles_labels(),
        loc="outside lower center",
        title=axes,
        ncols=4,
        frameon=False,
        fontsize="small",
        title_fontsize="small",
    )
    return figure


def draw_coverage(panel: Any, row: dict, looks: dict) -> None:
    """Share of truths inside against the interval's level, with the interval over truths."""
    levels = [float(level) for level in row["coverage"]]
    bounds = bars(list(row["coverage"].values()))
    panel.errorbar(levels, *bounds, marker="o", markersize=2.5, **looks)


def draw_ranks(panel: Any, row: dict, looks: dict) -> None:
    """Histogram of the ranks along the direction that the measurement knows least, as a line.

    The band holds 95 % of a calibrated sampler's bins.
    """
    counts = np.array(row["histogram"]["direction"])
    panel.stairs(counts * BINS / counts.sum(), np.arange(BINS + 1) / BINS, **looks)
    if row["rule"] == PLAIN:
        low, high = binom.ppf([0.025, 0.975], counts.sum(), 1 / BINS) * BINS / counts.sum()
        panel.axhspan(low, high, color="0.9", zorder=0)


# Figure -> what draws a row, ends of the calibrated line at 0 and 1, names of both axes.
DRAWINGS: dict[str, tuple[Callable[[Any, dict, dict], None], tuple[int, int], str]] = {
    "coverage": (
        draw_coverage,
        (0, 1),
        "level of the central interval (across), share of the truths that it holds (up)",
    ),
    "ranks": (
        draw_ranks,
        (1, 1),
        "rank of the truth along the direction measured least (across), 1 is calibrated (up)",
    ),
}


def picture(x: np.ndarray, caption: str) -> Panel:
    """An image in [-1, 1], flat or not, clipped."""
    return Panel(colour(np.clip(x.reshape(SHAPE), -1, 1)), caption)


def moment_maps(mean: np.ndarray, variance: np.ndarray, *captions: str) -> tuple[Panel, Panel]:
    """Flat means as an image, and flat variances as a map of their roots.

    Args:
      mean: (p,) of the samples or the posterior.
      variance: (p,) likewise.
      *captions: one for both, or one each.
    """
    deviation = std_map(np.sqrt(variance.reshape(SHAPE)))
    return picture(mean, captions[0]), Panel(deviation, captions[-1])


def write_maps(report: Path, samplers: list[Sampler], arrays: dict[tuple, Arrays]) -> None:
    """Write ``maps-PRIOR-TASK.png`` for every case: means and deviations for its first truth.

    A column per sampler, and a pair of rows per rule.

    Args:
      report: the folder.
      samplers: their cases are drawn.
      arrays: what is stored, by (prior, task), name and rule of the sampler.
    """
    blank = Panel(np.full((*SHAPE[:2], 3), 255, np.uint8))
    for place, case in {(s.case.prior, s.case.task): s.case for s in samplers}.items():
        names = list(dict.fromkeys(n for p, n, _ in arrays if p == place and n != EXACT))
        rows: list[list[Panel]] = []
        for rule in dict.fromkeys(r for p, n, r in arrays if p == place and n != EXACT):
            text = "plain" if rule == PLAIN else rule
            stored = (arrays[place, name, rule] for name in names)
            pairs = [moment_maps(a["mean"][0], a["variance"][0], text) for a in stored]
            rows += [[blank, blank, *line] for line in zip(*pairs, strict=True)]
        mean, deviation = moment_maps(
            case.mean[0], case.variance[0], "exact mean", "exact deviation"
        )
        rows[0][:2] = picture(case.truths[0], "truth"), mean
        rows[1][:2] = picture(case.y[0], "measurement"), deviation
        save_png(
            report / f"maps-{'-'.join(map(file_name, place))}.png",
            from_bytes(grid(["truth, measurement", "exact posterior", *names], rows)),
        )

"""The figures of `reproduce`: curves, histograms of PSNR, bars of seconds, paired differences."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.figures import new_figure, why_no_figure, write_figure
from experiments.papers.entry import BY_MISFIT, METRICS, SINGLE, Experiment
from experiments.papers.scores import label_of
from experiments.statistics import grouped


def save_figure(path: Path, experiment: Experiment, rows: list[dict]) -> str:
    """Draw an experiment's kind of figure as a PNG file, a panel per task.

    Args:
      path: of the file.
      experiment: its ``figure`` names the kind, a key of `DRAWINGS`.
      rows: of `papers.scores.table_rows`.

    Returns:
      why there is no figure, or "".
    """
    by_task = grouped(rows, "task")
    shown = [m for m in experiment.metrics if any(row[m] is not None for row in rows)]
    reason = why_no_figure() or ("" if shown else "no restoration is finite")
    if reason:
        return reason
    down, across = len(shown) if experiment.sweep else 1, len(by_task)
    width, height = {
        "gains": (3.5, 1.2 + 0.22 * len(experiment.rows)),
        "histogram": (5, 2.6),
    }.get(experiment.figure or "", (3.5, 2.6))
    figure = new_figure(1.5 + width * across, 1 + height * down)
    panels = figure.subplots(down, across, squeeze=False)
    for c, ((task,), members) in enumerate(by_task.items()):
        for r in range(down):
            DRAWINGS[experiment.figure or ""](panels[r, c], experiment, members, shown[r])
        panels[0, c].set_title(task.replace("_", " "))
    add_legend(figure, columns=1 + across)
    write_figure(path, figure, dpi=110, bbox_inches="tight")
    return ""


def add_legend(figure: Any, columns: int) -> None:
    """Name what the panels show, every label once, below them."""
    handle_of: dict = {}
    for panel in figure.axes:
        handles, labels = panel.get_legend_handles_labels()
        handle_of |= dict(zip(labels, handles, strict=True))
    if handle_of:
        looks = {"ncols": columns, "frameon": False, "fontsize": "small"}
        figure.legend(handle_of.values(), handle_of, loc="outside lower center", **looks)


def draw_lines(panel: Any, experiment: Experiment, rows: list[dict], metric: str) -> None:
    """One metric over what is varied, a line per method; crosses where a run is not finite."""
    assert experiment.sweep is not None  # only experiments that vary something have lines
    known = [row for row in rows if row[metric] is not None and row["chosen"] in ("", SINGLE)]
    xs, is_even = experiment.sweep.values, experiment.sweep.argument == "tau"
    # Values of tau are evenly spaced: on an axis of numbers 0.99 and 0.9999 would be one point.
    places = {x: i if is_even else x for i, x in enumerate(xs)}
    for i, ((label,), members) in enumerate(grouped(known, "row").items()):
        points = np.array([(places[row["x"]], row[metric]) for row in members]).T
        style = {"linestyle": "-" if members[0]["gains"] else "--", "color": f"C{i}"}
        panel.plot(*points, marker="o", markersize=3, label=label, **style)
        panel.plot(
            *points[:, [row["not_finite"] > 0 for row in members]],
            "x",
            markersize=9,
            color=f"C{i}",
        )
        if experiment.figure == "intervals":
            shade_intervals(panel, members, known, metric, f"C{i}")
    panel.set_xscale("linear" if is_even else "log")
    panel.set_xticks(list(places.values()), [f"{x:g}" for x in xs])
    panel.minorticks_off()
    if is_even:
        panel.set_xlim(-0.3, len(xs) - 0.7)
    panel.set(xlabel=experiment.sweep.axis, ylabel=METRICS[metric])
    panel.grid(alpha=0.3)


def shade_intervals(
    panel: Any, members: list[dict], rows: list[dict], metric: str, colour: str
) -> None:
    """Shade a method's 95 % interval of its paired difference, put on the plain solver's mean.

    Where the shade misses the plain solver's line, the two differ.
    """
    mean_at = {(row["row"], row["x"]): row[metric] for row in rows}
    ends = [
        (row["x"], *(mean_at[plain, row["x"]] + end for end in gain[metric]["interval"]))
        for row in members
        for plain, gain in row["gains"].items()
        if gain[metric]["interval"]
    ]
    if ends:
        x, low, high = zip(*ends, strict=True)
        panel.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)


def draw_calls(panel: Any, experiment: Experiment, rows: list[dict], metric: str) -> None:
    """One metric over the counted calls: a colour per solver, a line style per plug-in."""
    known = [row for row in rows if row[metric] is not None and row["chosen"] in ("", BY_MISFIT)]
    colours: dict[str, str] = {}
    for row in experiment.rows:
        members = [member for member in known if member["row"] == row.label]
        points = sorted((member["calls"], member[metric]) for member in members)
        colour = colours.setdefault(row.solver, f"C{len(colours)}")
        style = "--" if row.is_plain else ":" if "fraction" in row.method.rank_rule else "-"
        style = "-." if any(row.method.smoothing) else style
        looks = {"color": colour, "linestyle": style, "label": row.label}
        panel.plot(*np.array(points).reshape(-1, 2).T, marker="o", markersize=3, **looks)
    panel.set_xscale("log")
    panel.set(xlabel="network calls", ylabel=METRICS[metric])
    panel.grid(alpha=0.3)


def draw_histogram(panel: Any, experiment: Experiment, rows: list[dict], metric: str) -> None:
    """The PSNR of single images, a histogram per method and choice; plain ones dashed."""
    known = [row for row in rows if row["chosen"] != BY_MISFIT]
    values = [[v for v in row["values"] if v is not None] for row in known]
    every = sum(values, [])
    edges = np.linspace(min(every), max(every) + 1e-6, 21)
    for i, (row, psnrs) in enumerate(zip(known, values, strict=True)):
        share = np.full(len(psnrs), 1 / max(1, len(psnrs)))
        style = {"linestyle": "-"} if row["gains"] else {"linestyle": "--", "zorder": 3}
        common = {"histtype": "step", "color": f"C{i}", "label": label_of(row)}
        panel.hist(psnrs, edges, weights=share, **style, **common)
    panel.set(xlabel=METRICS["psnr"], ylabel="share of runs")


def draw_bars(panel: Any, experiment: Experiment, rows: list[dict], metric: str) -> None:
    """One bar per method."""
    known = [row for row in rows if row[metric] is not None]
    panel.barh([row["row"] for row in known], [row[metric] for row in known], color="C0")
    panel.invert_yaxis()
    panel.set_xlabel(METRICS[metric])


def draw_gains(panel: Any, experiment: Experiment, rows: list[dict], metric: str) -> None:
    """Paired difference in PSNR to the plain solver with its interval; in brackets mean ranks."""
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


# Kind of figure -> what draws one panel of it: of one task, and of one metric where it varies.
DRAWINGS = {
    "lines": draw_lines,
    "intervals": draw_lines,
    "calls": draw_calls,
    "histogram": draw_histogram,
    "bars": draw_bars,
    "gains": draw_gains,
}

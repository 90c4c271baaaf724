"""The figures of `robustness`: quality against step size, and what the restorations look like."""

import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from experiments.files import write_atomically
from experiments.images import from_bytes, read_image, save_png
from experiments.pictures import Cell, colour, grid, show_measurement
from experiments.restore.plan import Item
from experiments.restore.report import grouped
from experiments.statistics import PLAIN, decibels

PLOTS_MISSING = "it needs matplotlib: pip install 'dsg_jax[plots]'"
AXES = {"psnr": "PSNR / dB", "lpips": "LPIPS"}


def save_plot(path: Path, rows: list[dict]) -> str:
    """PSNR and LPIPS against the step, a panel per task, a line per rule; returns why not, or "".

    The shade of a rule is the 95 % interval of its difference to the plain solver, put on the plain
    solver's mean: where it misses the plain line, the two differ. For a single step it is a bar.
    """
    if find_spec("matplotlib") is None:
        return PLOTS_MISSING
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tasks = list(grouped(rows, "task"))
    shown = [name for name in AXES if any(row[name] is not None for row in rows)]
    if not shown:
        return "no restoration is finite"
    figure = Figure(figsize=(1 + 3 * len(tasks), 0.8 + 2.6 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(shown), len(tasks), squeeze=False, sharex=True)
    for c, (task,) in enumerate(tasks):
        for r, name in enumerate(shown):
            draw_panel(panels[r, c], [row for row in rows if row["task"] == task], name)
        panels[0, c].set_title(task.replace("_", " "))
        panels[-1, c].set_xlabel("step, multiples of the default")
    for r, name in enumerate(shown):
        panels[r, 0].set_ylabel(AXES[name])
    shown_lines = panels[0, 0].get_legend_handles_labels()
    figure.legend(*shown_lines, loc="outside lower center", ncols=4, frameon=False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    write_atomically(path, stream.getvalue())
    return ""


def draw_panel(panel, rows: list[dict], name: str) -> None:
    """One task and score; a cross marks a step at which a restoration is not finite."""
    factors = sorted({row["factor"] for row in rows})
    plain = {row["factor"]: row[name] for row in rows if row["rule"] == PLAIN}
    single = len(factors) == 1
    for i, ((rule,), members) in enumerate(grouped(rows, "rule").items()):
        known = [row for row in members if row[name] is not None]
        place = 1.2**i if single else 1.0  # of a single step, one beside the other
        x, y = [row["factor"] * place for row in known], [row[name] for row in known]
        label = "plain" if rule == PLAIN else f"projected, {rule}"
        panel.plot(x, y, marker="o", markersize=3, color=f"C{i}", label=label)
        for height in y if single and rule == PLAIN else ():
            panel.axhline(height, color=f"C{i}", linewidth=0.8)
        broken = [row for row in known if row["not_finite"]]
        x, y = [row["factor"] * place for row in broken], [row[name] for row in broken]
        panel.plot(x, y, "x", markersize=9, color=f"C{i}")
        sure = [row for row in known if rule != PLAIN and row[f"{name}_gain"]["interval"]]
        x = [row["factor"] * place for row in sure]
        if not sure:
            continue
        ends = [
            [plain[row["factor"]] + row[f"{name}_gain"]["interval"][k] for row in sure]
            for k in (0, 1)
        ]
        if single:
            panel.vlines(x, *ends, color=f"C{i}", alpha=0.4)
        else:
            panel.fill_between(x, *ends, color=f"C{i}", alpha=0.2, linewidth=0)
    panel.set_xscale("log", base=2)
    if single:
        panel.set_xlim(factors[0] / 1.5, factors[0] * 1.5 * place)
    panel.set_xticks(factors, [f"{factor:g}" for factor in factors])
    panel.grid(alpha=0.3)


def typical_image(scores: list[dict]) -> str:
    """The image whose plain restoration at the smallest step has the median PSNR."""
    first = min(score["factor"] for score in scores)
    plain = [s for s in scores if s["rule"] == PLAIN and s["factor"] == first]
    return sorted(plain, key=decibels)[len(plain) // 2]["image"]


def write_pictures(
    path: Path, scores: list[dict], problems: dict[tuple[str, str], Item]
) -> dict[str, Path]:
    """A grid per task of one typical image: rules down, steps across; returns the files."""
    files = {}
    for (task,), members in grouped(scores, "task").items():
        image = typical_image(members)
        item = problems[task, image]
        truth, y = item.picture.pixels, np.asarray(item.problem.y)
        assert truth is not None  # measured images are refused
        first = [Cell(colour(truth), image), Cell(colour(show_measurement(task, y)))]
        blank = Cell(np.full_like(first[0].pixels, 255))
        columns = ["truth", "measurement"]
        rows: list[list[Cell]] = []
        for mine in grouped(members, "rule").values():
            ordered = sorted((s for s in mine if s["image"] == image), key=lambda s: s["factor"])
            columns = columns[:2] + [f"step x{s['factor']:g}" for s in ordered]
            rows.append([*(first if not rows else [blank, blank]), *map(restored_cell, ordered)])
        files[task] = path.with_name(f"{path.name}-{task}.png")
        save_png(files[task], from_bytes(grid(columns, rows)))
    return files


def restored_cell(score: dict) -> Cell:
    """A restoration with its rule and PSNR below it."""
    rule = "plain" if score["rule"] == PLAIN else score["rule"]
    text = f"{decibels(score):.2f} dB" if score["finite"] else "not finite"
    return Cell(colour(read_image(Path(score["png"]))), f"{rule}, {text}")

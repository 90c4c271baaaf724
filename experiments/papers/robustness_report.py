"""The report of `robustness` as Markdown, CSV and JSON, with its figures."""

import csv
import io
import json
from pathlib import Path

import numpy as np

from experiments.files import write_atomically
from experiments.papers.robustness_figures import save_plot, write_pictures
from experiments.restore.metrics import installed_weights
from experiments.restore.plan import Item
from experiments.restore.report import (
    EXTRA_NOTE,
    extra_names,
    finite_values,
    grouped,
    markdown_table,
)
from experiments.statistics import PLAIN, best_rows, table_rows

TASK_COLUMNS = (
    "step",
    "rule",
    "PSNR / dB",
    "LPIPS",
    "worst 10 %",
    "failures",
    "below input",
    "not finite",
    "PSNR to plain",
    "LPIPS to plain",
    "rank",
    "kept",
)
BEST_COLUMNS = (
    "task",
    "rule",
    "PSNR at the first step",
    "best step",
    "PSNR there",
    "LPIPS there",
    "PSNR at the last step",
    "to plain at its best",
    "to plain at the first",
)


def text_of(value: float | None, digits: int = 2, sign: str = "") -> str:
    """A number as text, a dash for None."""
    return "-" if value is None else f"{value:{sign}.{digits}f}"


def gain_text(gain: dict | None, digits: int = 2) -> str:
    """A mean difference with its interval, as text."""
    if gain is None or gain["mean"] is None:
        return "-"
    mean = text_of(gain["mean"], digits, "+")
    if gain["interval"] is None:
        return mean
    return f"{mean} [{', '.join(text_of(end, digits, '+') for end in gain['interval'])}]"


def task_table(rows: list[dict]) -> str:
    """The rows of one task."""
    cells: list[tuple[str, ...]] = []
    extra = extra_names(rows)
    for r in rows:
        plain = r["rule"] == PLAIN
        below = "-" if r["below_input"] is None else f"{r['below_input']:.0%}"
        lpips = "n/a" if r["lpips"] is None else f"{r['lpips']:.3f} ({r['lpips_std']:.3f})"
        cells.append(
            (
                f"x{r['factor']:g}",
                "plain" if plain else r["rule"],
                "-" if r["psnr"] is None else f"{r['psnr']:.2f} ({r['psnr_std']:.2f})",
                lpips,
                "not finite" if r["worst_tenth_psnr"] is None else text_of(r["worst_tenth_psnr"]),
                f"{r['failures']:.0%}",
                below,
                str(r["not_finite"]),
                "" if plain else gain_text(r["psnr_gain"]),
                "" if plain else gain_text(r["lpips_gain"], 3),
                text_of(r["rank"], 1),
                text_of(r["kept"], 3),
                *(text_of(r[name], 3) for name in extra),
            )
        )
    return markdown_table((*TASK_COLUMNS, *extra), cells)


def best_table(best: list[dict]) -> str:
    """Every rule at its best step."""
    cells: list[tuple[str, ...]] = []
    for b in best:
        plain = b["rule"] == PLAIN
        cells.append(
            (
                b["task"],
                "plain" if plain else b["rule"],
                text_of(b["psnr_first"]),
                f"x{b['best_factor']:g}",
                text_of(b["psnr_best"]),
                text_of(b["lpips_best"], 3),
                text_of(b["psnr_last"]),
                "" if plain else gain_text(b["gain_over_plain_best"]),
                gain_text(b["gain_over_plain_first"]),
            )
        )
    return markdown_table(BEST_COLUMNS, cells)


def intro(scores: list[dict], facts: dict) -> str:
    """What was measured and how to read it."""
    given, runs = facts["arguments"], facts["runs"]
    images, cells = len(grouped(scores, "image")), len(grouped(scores, "task", "rule", "factor"))
    several = {s["task"]: s["samples"] for s in scores if s["samples"] > 1}
    chosen = "".join(
        f" {task}: the best of {n} samples by measurement misfit." for task, n in several.items()
    )
    seconds, programs = sum(r["seconds"] for r in runs), sum(r["programs"] for r in runs)
    compiling = sum(r["compile_seconds"] for r in runs)
    text = (
        f"{images} images, sigma {given['sigma']:g}, tau {given['tau']:g}, seed {given['seed']}."
        f"{chosen} {programs} compiled programs served {cells} settings ({compiling:.0f} s of"
        f" {seconds:.0f} s, {len(runs)} run{'s' * (len(runs) > 1)} of the command).\n\n"
        "Step: factor on the solver's default step. Mean (std) over the finite images. Worst 10 %:"
        " mean PSNR of the worst tenth. Failure: not finite, or a PSNR below"
        f" {given['failure_psnr']:g} dB (our threshold). Below input: worse than the measurement"
        " shown as an image. To plain: mean difference to the plain solver on the same images,"
        " with the 95 % bootstrap interval; a higher PSNR and a lower LPIPS are better. Rank,"
        " kept: singular vectors, and share of the gradient's norm, that the projection keeps."
    )
    if not finite_values(scores, "lpips").size:
        text += f" LPIPS n/a: {installed_weights()[1] or 'it needs colour images of 16 px'}."
    return f"{text} {EXTRA_NOTE}" if extra_names(scores) else text


def as_csv(rows: list[dict]) -> str:
    """The rows, differences in columns of their own."""
    stream = io.StringIO()
    flat = []
    for row in rows:
        line = {name: value for name, value in row.items() if not isinstance(value, dict)}
        for name in ("psnr_gain", "lpips_gain"):
            low, high = row[name]["interval"] or (None, None)
            line |= {name: row[name]["mean"], f"{name}_low": low, f"{name}_high": high}
        flat.append(line)
    writer = csv.DictWriter(stream, flat[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return stream.getvalue()


def image_values(scores: list[dict]) -> dict:
    """The values of every image, in lists that have the order of ``images``."""
    names = ("psnr", "ssim", "lpips", "misfit", "input_psnr")
    short = lambda value: None if value is None else round(value, 4)
    cells = [
        dict(zip(("task", "rule", "factor"), place, strict=True))
        | {name: [short(s[name]) for s in members] for name in names}
        for place, members in grouped(scores, "task", "rule", "factor").items()
    ]
    return {"images": [image for (image,) in grouped(scores, "image")], "values": cells}


def first_step(constants: dict) -> str:
    """What the smallest step is, in the solver's own terms."""
    values = ", ".join(
        f"{name} {json.dumps(value)}" for name, value in constants.items() if name != "factor"
    )
    return f"Step x{constants['factor']:g}: {values}."


def write_report(
    path: Path, scores: list[dict], problems: dict[tuple[str, str], Item], facts: dict
) -> None:
    """Write the report beside ``path``: .md, .csv, .json, .png, and a grid of pictures per task."""
    rows = table_rows(scores, facts["arguments"]["failure_psnr"])
    best = best_rows(scores, rows)
    beside = lambda suffix: path.with_name(f"{path.name}{suffix}")
    reason = save_plot(beside(".png"), rows)
    pictures = write_pictures(path, scores, problems)
    parts = [f"## {path.name}: step size and projection", intro(scores, facts)]
    parts.append(f"![PSNR and LPIPS]({path.name}.png)" if not reason else f"No plot: {reason}.")
    parts += ["### Every rule at its best step", best_table(best)]
    for (task,), members in grouped(rows, "task").items():
        known = [s["input_psnr"] for s in scores if s["task"] == task]
        shown = "" if None in known else f"Mean PSNR of the input: {np.mean(known):.2f} dB."
        parts += [
            f"### {task}",
            first_step(facts["first_step"][task]),
            shown,
            task_table(members),
            f"![{task}]({pictures[task].name})",
        ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    write_atomically(beside(".md"), text.encode())
    write_atomically(beside(".csv"), as_csv(rows).encode())
    whole = {"rows": rows, "best": best} | image_values(scores) | facts
    write_atomically(beside(".json"), (json.dumps(whole, allow_nan=False) + "\n").encode())
    print(text)

"""The report of one reproduced experiment: Markdown, CSV, a figure and a card."""

import csv
import io
import json
from pathlib import Path

from experiments.files import write_atomically
from experiments.papers.card import card_of, differences
from experiments.papers.entry import METRICS, NOT_IN_THE_PAPERS, Experiment, Value, value_text
from experiments.papers.plan import Absent, PlannedExperiment
from experiments.papers.plots import save_figure
from experiments.papers.scores import QUALITY, Records, table_rows
from experiments.papers.settings import ReproduceSettings
from experiments.restore.metrics import installed_weights
from experiments.restore.report import EXTRA_NOTE, markdown_table
from experiments.statistics import extra_names, grouped

DIGITS = {"psnr": 2, "ssim": 3, "lpips": 3, "seconds": 2}


def text_of(value: float | None, digits: int = 2, sign: str = "") -> str:
    """A number as text, a dash for None."""
    return "-" if value is None else f"{value:{sign}.{digits}f}"


def gain_text(gain: dict, digits: int) -> str:
    """A mean difference with its interval, as text; see `statistics.paired`."""
    mean = text_of(gain["mean"], digits, "+")
    ends = ", ".join(text_of(end, digits, "+") for end in gain["interval"] or ())
    return f"{mean} [{ends}]" if ends else mean


def label_of(row: dict) -> str:
    """The method of a row, and how its samples were chosen."""
    return f"{row['row']}, {row['chosen']}" if row["chosen"] else row["row"]


def mean_text(row: dict, metric: str) -> str:
    """Our mean (std)."""
    if row[metric] is None:
        return "n/a"
    digits = DIGITS.get(metric, 3)
    return f"{row[metric]:.{digits}f} ({row[f'{metric}_std']:.{digits}f})"


def main_table(experiment: Experiment, rows: list[dict], absent: list[Absent]) -> str:
    """Our numbers, and the paper's where it prints any, row by row of one task."""
    sweep = experiment.sweep
    columns = ["method", *([sweep.axis] if sweep else []), "n"]
    for metric in experiment.metrics:
        columns += [METRICS[metric], *(["paper"] if experiment.values else [])]
    extra = extra_names(rows)
    columns += [*extra, "worst 10 %", "failures", "not finite", "note"]
    lines = []
    for row in rows:
        line = [label_of(row), *([f"{row['x']:g}"] if sweep else []), str(row["runs"])]
        for metric in experiment.metrics:
            printed = value_text(row["paper"].get(metric), metric)
            line += [mean_text(row, metric), *([printed] if experiment.values else [])]
        line += [mean_text(row, name) for name in extra]
        worst = text_of(row["worst_tenth_psnr"])
        line += [worst, f"{row['failures']:.0%}", str(row["not_finite"]), ""]
        lines.append(tuple(line))
    for entry in absent:
        line = [entry.row.label, *(["-"] if sweep else []), "0"]
        for value, metric in zip(printed_of(experiment, entry), experiment.metrics, strict=True):
            line += ["not run", *([value_text(value, metric)] if experiment.values else [])]
        line += ["-"] * (len(extra) + 3)
        lines.append((*line, absent_note(experiment, entry)))
    return markdown_table(tuple(columns), lines)


def printed_of(experiment: Experiment, entry: Absent) -> list[Value | None]:
    """The paper's values of a row that is not run, by metric."""
    row = entry.row.printed or ""
    return [experiment.values.get((row, entry.task, metric)) for metric in experiment.metrics]


def absent_note(experiment: Experiment, entry: Absent) -> str:
    """Why a row is not run, and what stands in its place."""
    known = any(value is not None for value in printed_of(experiment, entry))
    return f"paper's values only: {entry.why}" if known else f"not run: {entry.why}"


def gains_table(experiment: Experiment, rows: list[dict]) -> str:
    """Paired differences to the plain solver, "" without any."""
    sweep = experiment.sweep
    columns = ["method", "against", *([sweep.axis] if sweep else []), "images"]
    columns += ["PSNR / dB", "SSIM", "LPIPS"]
    lines = []
    for row in rows:
        for against, gains in row["gains"].items():
            line = [label_of(row), against, *([f"{row['x']:g}"] if sweep else [])]
            line.append(str(gains["psnr"]["pairs"]))
            line += [gain_text(gains[name], DIGITS[name]) for name in QUALITY]
            lines.append(tuple(line))
    return markdown_table(tuple(columns), lines) if lines else ""


def as_csv(experiment: Experiment, rows: list[dict], absent: list[Absent]) -> str:
    """A line for every row, metric and row it is compared with."""
    lines = []
    for row in rows:
        for metric in dict.fromkeys((*experiment.metrics, *QUALITY, *extra_names([row]))):
            for against in row["gains"] or [None]:
                lines.append(csv_line(row, metric, against))
    for entry in absent:
        note = absent_note(experiment, entry)
        place = {"task": entry.task, "row": entry.row.label, "note": note}
        for value, metric in zip(printed_of(experiment, entry), experiment.metrics, strict=True):
            mean, std = value or (None, None)
            lines.append(place | {"metric": metric, "paper": mean, "paper_std": std})
    stream = io.StringIO()
    writer = csv.DictWriter(stream, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


CSV_COLUMNS = (
    "task",
    "row",
    "chosen",
    "x",
    "metric",
    "mean",
    "std",
    "paper",
    "paper_std",
    "images",
    "runs",
    "worst_tenth_psnr",
    "failures",
    "not_finite",
    "against",
    "difference",
    "low",
    "high",
    "note",
)


def csv_line(row: dict, metric: str, against: str | None) -> dict:
    """One number of ours beside the paper's, and its difference to another row."""
    gain = row["gains"][against].get(metric) if against else None
    low, high = (gain and gain["interval"]) or (None, None)
    mean, std = row["paper"].get(metric) or (None, None)
    same = ("task", "row", "chosen", "x", "images", "runs", "worst_tenth_psnr", "failures")
    return {name: row[name] for name in (*same, "not_finite")} | {
        "metric": metric,
        "mean": row[metric],
        "std": row[f"{metric}_std"],
        "paper": mean,
        "paper_std": std,
        "against": against or "",
        "difference": gain and gain["mean"],
        "low": low,
        "high": high,
        "note": "",
    }


def reading(experiment: Experiment, rows: list[dict], failure_psnr: float) -> str:
    """How to read the tables."""
    theirs = ""
    if experiment.setting != NOT_IN_THE_PAPERS:
        printed = "its printed value" if experiment.values else "its values are not in its text"
        theirs = f"; paper: {printed}"
    text = (
        f"Mean (std) over the finite runs{theirs}. Worst 10 %: mean PSNR of the"
        " worst tenth. Failure: not finite, or a PSNR below"
        f" {failure_psnr:g} dB (our threshold). Against: mean difference on the same images with"
        " its 95 % bootstrap interval over images; a higher PSNR and SSIM and a lower LPIPS are"
        " better."
    )
    extra = extra_names(rows)
    names = (*experiment.metrics, *extra)
    if any(name.startswith("lpips") for name in names) and installed_weights()[0] is None:
        text += f" LPIPS n/a: {installed_weights()[1]}."
    return f"{text} {EXTRA_NOTE}" if extra else text


def markdown(planned: PlannedExperiment, rows: list[dict], card: dict, picture: str) -> str:
    """The whole report; ``picture`` is the line that shows the figure or says why there is none."""
    experiment = planned.experiment
    run = card["run"]
    parts = [f"## {experiment.name}: {experiment.source}", experiment.shows]
    parts.append(f"**What differs from the paper.** {differences(planned, card)}")
    if experiment.note:
        parts.append(f"**What the paper leaves open.** {experiment.note}")
    parts += [reading(experiment, rows, card["failure_psnr"]), picture]
    by_task = grouped(rows, "task")
    for task in experiment.tasks:
        members = by_task.get((task,), [])
        absent = [entry for entry in planned.absent if entry.task == task]
        parts += [f"### {task}", main_table(experiment, members, absent)]
        parts.append(gains_table(experiment, members))
    parts.append(
        f"Again: `{card['command']}`. {run['settings']} settings, {run['programs']} programs"
        f" compiled in {run['compile_seconds']:.0f} s, {run['seconds']:.0f} s in all (what was on"
        " the disk already, from other experiments say, costs nothing). Details: card.json."
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def write_report(
    folder: Path,
    planned: PlannedExperiment,
    records: Records,
    run: dict,
    settings: ReproduceSettings,
) -> None:
    """Write report.md, table.csv, card.json and, where the paper has one, figure.png.

    Args:
      folder: of this experiment.
      planned: the experiment and its plans.
      records: of all of its plans.
      run: programs and seconds of this run of the command.
      settings: of ``reproduce``.
    """
    rows = table_rows(planned, records, settings.failure_psnr)
    card = card_of(planned, rows, run, settings)
    picture = ""
    if planned.experiment.figure and rows:
        reason = save_figure(folder / "figure.png", planned.experiment, rows)
        picture = f"No figure: {reason}." if reason else f"![{planned.experiment.name}](figure.png)"
    text = markdown(planned, rows, card, picture)
    write_atomically(folder / "report.md", text.encode())
    write_atomically(
        folder / "table.csv", as_csv(planned.experiment, rows, planned.absent).encode()
    )
    whole = json.dumps(card, indent=1, allow_nan=False) + "\n"
    write_atomically(folder / "card.json", whole.encode())
    print(text)

"""The report of one reproduced experiment: Markdown, CSV, a figure and a card."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from experiments.files import write_atomically
from experiments.papers.card import card_of, differences
from experiments.papers.entry import METRICS, NOT_IN_THE_PAPERS, Experiment, value_text
from experiments.papers.plan import PlannedExperiment
from experiments.papers.plots import save_figure
from experiments.papers.scores import QUALITY, Records, absent_rows, table_rows
from experiments.papers.settings import ReproduceSettings
from experiments.restore.metrics import installed_weights
from experiments.restore.report import EXTRA_NOTE, markdown_table
from experiments.statistics import extra_names, grouped

DIGITS = {"psnr": 2, "ssim": 3, "lpips": 3, "seconds": 2}
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


def text_of(value: float | None, form: str = ".2f") -> str:
    """A number as text, a dash for None."""
    return "-" if value is None else format(value, form)


def gain_text(gain: dict, digits: int) -> str:
    """A mean difference with its interval, as text; see `statistics.paired`."""
    form = f"+.{digits}f"
    ends = ", ".join(text_of(end, form) for end in gain["interval"] or ())
    return text_of(gain["mean"], form) + (f" [{ends}]" if ends else "")


def label_of(row: dict) -> str:
    """The method of a row, and how its samples were chosen."""
    return f"{row['row']}, {row['chosen']}" if row["chosen"] else row["row"]


def mean_text(row: dict, metric: str) -> str:
    """Our mean (std)."""
    if row.get(metric) is None:
        return "n/a" if row["runs"] else "not run"
    digits = DIGITS.get(metric, 3)
    return f"{row[metric]:.{digits}f} ({row[f'{metric}_std']:.{digits}f})"


def printed_text(row: dict, metric: str) -> str:
    """The paper's mean (std)."""
    return value_text(row["paper"].get(metric), metric)


Columns = list[tuple[str, Callable[[dict], str]]]
"""Heading and text of a row."""


def main_columns(experiment: Experiment, extra: list[str]) -> Columns:
    """Our numbers, and the paper's where it prints any."""
    columns: Columns = [("method", label_of)]
    if experiment.sweep:
        columns.append((experiment.sweep.axis, lambda row: text_of(row["x"], "g")))
    columns.append(("n", lambda row: str(row["runs"])))
    for metric in experiment.metrics:
        columns.append((METRICS[metric], partial(mean_text, metric=metric)))
        if experiment.values:
            columns.append(("paper", partial(printed_text, metric=metric)))
    return [
        *columns,
        *((name, partial(mean_text, metric=name)) for name in extra),
        ("worst 10 %", lambda row: text_of(row["worst_tenth_psnr"])),
        ("failures", lambda row: text_of(row["failures"], ".0%")),
        ("not finite", lambda row: text_of(row["not_finite"], "d")),
        ("note", lambda row: row["note"]),
    ]


def main_table(experiment: Experiment, rows: list[dict]) -> str:
    """The rows of one task, those that are not run among them."""
    columns = main_columns(experiment, extra_names(rows))
    lines = [tuple(text(row) for _, text in columns) for row in rows]
    return markdown_table(tuple(heading for heading, _ in columns), lines)


def gains_table(experiment: Experiment, rows: list[dict]) -> str:
    """Paired differences to the plain solver, "" without any."""
    sweep = experiment.sweep
    columns = ("method", "against", *([sweep.axis] if sweep else []), "images")
    lines = [
        (
            label_of(row),
            against,
            *([text_of(row["x"], "g")] if sweep else []),
            str(gains["psnr"]["pairs"]),
            *(gain_text(gains[name], DIGITS[name]) for name in QUALITY),
        )
        for row in rows
        for against, gains in row["gains"].items()
    ]
    return markdown_table((*columns, *(METRICS[name] for name in QUALITY)), lines) if lines else ""


def csv_lines(experiment: Experiment, row: dict) -> Iterator[dict]:
    """A line for every metric of a row and every row that it is compared with."""
    ours = (*QUALITY, *extra_names([row])) if row["runs"] else ()
    for metric in dict.fromkeys((*experiment.metrics, *ours)):
        paper, paper_std = row["paper"].get(metric) or (None, None)
        line = {name: row[name] for name in CSV_COLUMNS if name in row}
        line |= {"metric": metric, "mean": row.get(metric), "std": row.get(f"{metric}_std")}
        line |= {"paper": paper, "paper_std": paper_std, "runs": row["runs"] or None}
        for against, gains in (row["gains"] or {"": {}}).items():
            gain = gains.get(metric) or {"mean": None, "interval": None}
            low, high = gain["interval"] or (None, None)
            yield line | {"against": against, "difference": gain["mean"], "low": low, "high": high}


def as_csv(experiment: Experiment, rows: list[dict]) -> str:
    """The rows as a table with the columns `CSV_COLUMNS`."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(line for row in rows for line in csv_lines(experiment, row))
    return stream.getvalue()


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
        members = by_task[(task,)]
        parts += [f"### {task}", main_table(experiment, members), gains_table(experiment, members)]
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
    experiment = planned.experiment
    rows = table_rows(planned, records, settings.failure_psnr)
    card = card_of(planned, rows, run, settings)
    picture = ""
    if experiment.figure and rows:
        reason = save_figure(folder / "figure.png", experiment, rows)
        picture = f"No figure: {reason}." if reason else f"![{experiment.name}](figure.png)"
    rows += absent_rows(planned)
    texts = {
        "report.md": markdown(planned, rows, card, picture),
        "table.csv": as_csv(experiment, rows),
        "card.json": json.dumps(card, indent=1, allow_nan=False) + "\n",
    }
    for name, text in texts.items():
        write_atomically(folder / name, text.encode())
    print(texts["report.md"])

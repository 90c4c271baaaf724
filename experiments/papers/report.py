"""The report of one reproduced experiment: Markdown, CSV, a figure and a card."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

from experiments.files import write_atomically
from experiments.papers.card import differences, experiment_card
from experiments.papers.counts import add_calls
from experiments.papers.entry import (
    BY_MISFIT,
    DIGITS,
    METRICS,
    NOT_IN_THE_PAPERS,
    Experiment,
    Value,
    value_text,
)
from experiments.papers.plan import PlannedExperiment
from experiments.papers.plots import save_figure
from experiments.papers.scores import QUALITY, Records, absent_rows, label_of, table_rows
from experiments.papers.settings import ReproduceSettings
from experiments.restore.fid import RealImages, fid_scores, fid_text
from experiments.restore.report import EXTRA_NOTE, markdown_table
from experiments.statistics import extra_names, grouped

# Heading and text of every column of a line.
Cells = list[tuple[str, str]]


def text_of(value: float | None, form: str = ".2f") -> str:
    """A number as text, a dash for None."""
    return "-" if value is None else format(value, form)


def gain_text(gain: dict, digits: int) -> str:
    """A mean difference with its interval, as text; see `statistics.paired`."""
    form = f"+.{digits}f"
    ends = ", ".join(format(end, form) for end in gain["interval"] or ())
    return text_of(gain["mean"], form) + (f" [{ends}]" if ends else "")


def mean_text(row: dict, metric: str) -> str:
    """Our mean (std)."""
    if row.get(metric) is None:
        return "n/a" if row["runs"] else "not run"
    return value_text(Value(row[metric], row[f"{metric}_std"]), metric)


def table_of(lines: list[Cells]) -> str:
    """A Markdown table of lines that have the same headings, "" without any."""
    texts = [tuple(text for _, text in line) for line in lines]
    return markdown_table(tuple(heading for heading, _ in lines[0]), texts) if lines else ""


def x_cells(experiment: Experiment, row: dict) -> Cells:
    """The value of what is varied, no cell where nothing is."""
    return [(experiment.sweep.axis, text_of(row["x"], "g"))] if experiment.sweep else []


def main_table(experiment: Experiment, rows: list[dict]) -> str:
    """The rows of one task, those that are not run among them: our numbers beside the paper's."""
    lines, extra, is_fid = [], extra_names(rows), any("fid" in row for row in rows)
    for row in rows:
        cells = [("method", label_of(row)), *x_cells(experiment, row), ("n", str(row["runs"]))]
        if experiment.figure == "calls":
            cells.append(("counted", text_of(row.get("calls"), "d")))
        for metric in experiment.metrics:
            cells.append((METRICS[metric], mean_text(row, metric)))
            if experiment.values:
                cells.append(("paper", value_text(row["paper"].get(metric), metric)))
        cells += [
            *((name, mean_text(row, name)) for name in extra),
            *([("FID", fid_text(row))] if is_fid else []),
            ("worst 10 %", text_of(row["worst_tenth_psnr"])),
            ("failures", text_of(row["failures"], ".0%")),
            ("not finite", text_of(row["not_finite"], "d")),
            ("note", row["note"]),
        ]
        lines.append(cells)
    return table_of(lines)


def gains_table(experiment: Experiment, rows: list[dict]) -> str:
    """Paired differences to the plain solver, "" without any."""
    lines = [
        [
            ("method", label_of(row)),
            ("against", against),
            *x_cells(experiment, row),
            ("images", str(gains["psnr"]["pairs"])),
            *((METRICS[name], gain_text(gains[name], DIGITS.get(name, 3))) for name in QUALITY),
        ]
        for row in rows
        for against, gains in row["gains"].items()
    ]
    return table_of(lines)


def best_table(experiment: Experiment, rows: list[dict]) -> str:
    """What to take for so many calls: of every task and budget the row of the highest PSNR.

    Of several samples of an image the choice that needs no truth counts.
    """
    known = [
        row for row in rows if row.get("psnr") is not None and row["chosen"] in ("", BY_MISFIT)
    ]
    lines = []
    for (task,), members in grouped(known, "task").items():
        cells, at = [("task", task.replace("_", " "))], grouped(members, "x")
        for x in experiment.sweep.values if experiment.sweep else ():
            best = max(at.get((x,), ()), key=lambda row: row["psnr"], default=None)
            text = f"{best['row']}, {best['psnr']:.2f} dB" if best else "-"
            cells.append((f"{x:g} calls", text))
        lines.append(cells)
    return table_of(lines)


def csv_lines(experiment: Experiment, row: dict) -> Iterator[dict]:
    """A line for every metric of a row and every row that it is compared with."""
    known = [*QUALITY, *extra_names([row]), *(["fid"] if "fid" in row else [])]
    ours = known if row["runs"] else ()
    for metric in dict.fromkeys((*experiment.metrics, *ours)):
        paper, paper_std = row["paper"].get(metric) or (None, None)
        for against, gains in (row["gains"] or {"": {}}).items():
            gain = gains.get(metric) or {"mean": None, "interval": None}
            low, high = gain["interval"] or (None, None)
            yield {
                **{name: row[name] for name in ("task", "row", "chosen", "x")},
                "metric": metric,
                "mean": row.get(metric),
                "std": row.get(f"{metric}_std"),
                "paper": paper,
                "paper_std": paper_std,
                "images": row["images"],
                "runs": row["runs"] or None,
                **{name: row[name] for name in ("worst_tenth_psnr", "failures", "not_finite")},
                "against": against,
                "difference": gain["mean"],
                "low": low,
                "high": high,
                "note": row["note"],
                **({"calls": row.get("calls")} if experiment.figure == "calls" else {}),
            }


def as_csv(experiment: Experiment, rows: list[dict]) -> str:
    """The rows as a table of `csv_lines`."""
    lines, stream = [line for row in rows for line in csv_lines(experiment, row)], io.StringIO()
    writer = csv.DictWriter(stream, lines[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


def reading(experiment: Experiment, rows: list[dict], card: dict) -> str:
    """How to read the tables; ``card`` has the threshold of a failure and why LPIPS is n/a."""
    printed = "its printed value" if experiment.values else "its values are not in its text"
    theirs = "" if experiment.setting == NOT_IN_THE_PAPERS else f"; paper: {printed}"
    extra = extra_names(rows)
    is_lpips_shown = any(name.startswith("lpips") for name in (*experiment.metrics, *extra))
    weights = card["metrics"]["lpips weights"]
    sentences = [
        f"Mean (std) over the finite runs{theirs}. Worst 10 %: mean PSNR of the"
        f" worst tenth. Failure: not finite, or a PSNR below {card['failure_psnr']:g} dB"
        " (our threshold). Against: mean difference on the same images with"
        " its 95 % bootstrap interval over images; a higher PSNR and SSIM and a lower LPIPS are"
        " better.",
        f"LPIPS n/a: {weights}." if is_lpips_shown and weights != "installed" else "",
        EXTRA_NOTE if extra else "",
        card["metrics"].get("fid", ""),
    ]
    return " ".join(filter(None, sentences))


def markdown(planned: PlannedExperiment, rows: list[dict], card: dict, picture: str) -> str:
    """The whole report; ``picture`` is the line that shows the figure or says why there is none."""
    experiment, run, by_task = planned.experiment, card["run"], grouped(rows, "task")
    tables: list[str] = []
    if experiment.figure == "calls":
        tables += ["### If you have so many calls, take", best_table(experiment, rows)]
    for task in experiment.tasks:
        members = by_task[task,]
        tables += [f"### {task}", main_table(experiment, members), gains_table(experiment, members)]
    parts = [
        f"## {experiment.name}: {experiment.source}",
        experiment.shows,
        f"**What differs from the paper.** {differences(planned, card)}",
        f"**What the paper leaves open.** {experiment.note}" if experiment.note else "",
        f"**Left out by choice.** {'; '.join(experiment.left_out)}." if experiment.left_out else "",
        reading(experiment, rows, card),
        picture,
        *tables,
        f"Again: `{card['command']}`. {run['settings']} settings, {run['programs']} programs"
        f" compiled in {run['compile_seconds']:.0f} s, {run['seconds']:.0f} s in all (what was on"
        " the disk already, from other experiments say, costs nothing). Details: card.json.",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def write_report(
    folder: Path,
    planned: PlannedExperiment,
    records: Records,
    real: RealImages | None,
    run: dict,
    settings: ReproduceSettings,
) -> None:
    """Write report.md, table.csv, card.json and, where the paper has one, figure.png.

    Args:
      folder: of this experiment.
      planned: the experiment and its plans.
      records: of all of its plans.
      real: what FID compares with, where it is asked for.
      run: programs and seconds of this run of the command.
      settings: of ``reproduce``.
    """
    experiment = planned.experiment
    fid = fid_scores(real, [(out, ours) for (_, out), ours in records.items()])
    rows = table_rows(planned, records, settings.failure_psnr, fid)
    if experiment.figure == "calls":
        add_calls(planned, rows)
    card = experiment_card(planned, rows, run, settings, fid)
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

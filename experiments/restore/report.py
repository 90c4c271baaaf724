"""Summary tables over the lines of a run, as Markdown that reads as well on a screen.

A sample that is not finite counts as a failure and enters no mean. "std" is the population standard
deviation over the samples of a row.
"""

from collections.abc import Callable, Sequence

import numpy as np

from experiments.fields import PHOTOGRAPHS, Units, about
from experiments.restore.fid import FIDScores, fid_text
from experiments.restore.metrics import installed_weights
from experiments.statistics import (
    extra_names,
    finite_values,
    grouped,
    highest_psnr,
    is_failure,
    lowest_misfit,
)

COLUMNS = (
    "task",
    "method",
    "n",
    "PSNR / dB",
    "worst",
    "SSIM",
    "LPIPS",
    "failures",
    "misfit",
    "rank",
    "kept",
    "s",
)


EXTRA_NOTE = (
    "ssim_skimage7, lpips_vgg_unscaled (the released DiffStateGrad script's) and lpips_piq_avgpool"
    " (that of DAPS) are other codes' metrics, not comparable with the columns SSIM and LPIPS."
)


def mean_std(values: np.ndarray, digits: int) -> str:
    """Mean and standard deviation as text, a dash without values."""
    return f"{values.mean():.{digits}f} ({values.std():.{digits}f})" if values.size else "-"


def one(values: np.ndarray, digits: int, reduce: Callable = np.mean) -> str:
    """One reduced number as text, a dash without values."""
    return f"{reduce(values):.{digits}f}" if values.size else "-"


def summary_row(
    task: str,
    method: str,
    records: list[dict],
    failure_psnr: float,
    extra: Sequence[str] = (),
    fid: FIDScores | None = None,
) -> tuple[str, ...]:
    """One line of the table, in the order of `COLUMNS`, then the metrics ``extra`` and FID."""
    failures = sum(is_failure(record, failure_psnr) for record in records)
    psnr, ssim = finite_values(records, "psnr"), finite_values(records, "ssim")
    return (
        task,
        method,
        str(len(records)),
        mean_std(psnr, 2),
        one(psnr, 2, np.min),
        mean_std(ssim, 3),
        one(finite_values(records, "lpips"), 3),
        f"{failures}/{len(records)} ({100 * failures / len(records):.0f} %)",
        one(finite_values(records, "misfit"), 3),
        one(finite_values(records, "rank_mean"), 1),
        one(finite_values(records, "kept_mean"), 3),
        one(finite_values(records, "seconds"), 2),
        *(one(finite_values(records, name), 3) for name in extra),
        *([fid_text(fid(records))] if fid else []),
    )


def summary_rows(
    records: list[dict], failure_psnr: float, fid: FIDScores | None = None
) -> list[tuple[str, ...]]:
    """One row per task and method; with several samples per image also the two best-of rows."""
    rows, extra = [], extra_names(records)
    for (task, method), members in grouped(records, "task", "method").items():
        rows.append(summary_row(task, method, members, failure_psnr, extra, fid))
        images = list(grouped(members, "image").values())
        count = max(map(len, images))
        choices = {"PSNR": highest_psnr, "misfit": lowest_misfit} if count > 1 else {}
        if all(record["psnr"] is None for record in members):
            choices.pop("PSNR", None)
        for name, choose in choices.items():
            best = [choose(samples) for samples in images]
            label = f"{method}, best of {count} by {name}"
            rows.append(summary_row(task, label, best, failure_psnr, extra, fid))
    return rows


def markdown_table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """An aligned Markdown table."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = [columns, tuple("-" * width for width in widths), *rows]
    aligned = [map(str.ljust, line, widths) for line in lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in aligned)


def summary(
    records: list[dict],
    failure_psnr: float,
    units: Units = PHOTOGRAPHS,
    fid: FIDScores | None = None,
) -> str:
    """The table with what it takes to read it."""
    extra = extra_names(records)
    columns = (*COLUMNS, *extra, *(["FID"] if fid else []))
    table = markdown_table(columns, summary_rows(records, failure_psnr, fid))
    note = (
        f"Failure: not finite, or a PSNR below {failure_psnr:g} dB (our threshold, an assumption). "
        "Mean (std) over the finite samples; worst: their lowest PSNR. Misfit: norm of y - A(x) at "
        "the last step. LPIPS: version 0.1, VGG16. Rank, kept: singular vectors that the "
        "projection keeps, and the norm of the gradient that was followed over the gradient's. s: "
        "seconds per sample without compilation."
    )
    if units.is_field:
        note += f" {about(units)}"
    elif not finite_values(records, "lpips").size:
        note += f" No LPIPS: {installed_weights()[1] or 'it needs images of 16 px or more'}."
    if extra:
        note += f" {EXTRA_NOTE}"
    if fid:
        note += f" {fid.about}"
    return f"{table}\n\n{note}\n"

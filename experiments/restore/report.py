"""Summary tables over the lines of a run, as Markdown that reads as well on a screen.

A sample that is not finite counts as a failure and enters no mean. "std" is the population standard
deviation over the samples of a row.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from experiments.arguments import EXTRA_METRICS
from experiments.restore.metrics import installed_weights

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


def finite_values(records: list[dict], name: str) -> np.ndarray:
    """The values of a field where the sample is finite and the field is known."""
    values = [r[name] for r in records if r["finite"] and r.get(name) is not None]
    return np.array(values, np.float64)


def extra_names(records: Iterable[dict]) -> list[str]:
    """The metrics on request that some records (or rows) have, in their order."""
    fields = {name for record in records for name in record}
    return [name for name in EXTRA_METRICS if name in fields]


def mean_std(values: np.ndarray, digits: int) -> str:
    """Mean and standard deviation as text, a dash without values."""
    return f"{values.mean():.{digits}f} ({values.std():.{digits}f})" if values.size else "-"


def one(values: np.ndarray, digits: int, reduce: Callable = np.mean) -> str:
    """One reduced number as text, a dash without values."""
    return f"{reduce(values):.{digits}f}" if values.size else "-"


def is_failure(record: dict, failure_psnr: float) -> bool:
    """Not finite, or (where a truth exists) a PSNR below the threshold in dB."""
    low = record["psnr"] is not None and record["psnr"] < failure_psnr
    return not record["finite"] or low


def summary_row(
    task: str, method: str, records: list[dict], failure_psnr: float, extra: Sequence[str] = ()
) -> tuple[str, ...]:
    """One line of the table, in the order of `COLUMNS`, then the metrics ``extra``."""
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
    )


def grouped(records: Iterable[dict], *fields: str) -> dict[tuple, list[dict]]:
    """Records by the values of some fields, in order of appearance."""
    groups: dict[tuple, list[dict]] = {}
    for record in records:
        groups.setdefault(tuple(record[field] for field in fields), []).append(record)
    return groups


def lowest_misfit(samples: list[dict]) -> dict:
    """The sample that explains its measurement best; choosing it needs no truth."""
    return min(samples, key=lambda r: np.inf if r["misfit"] is None else r["misfit"])


def highest_psnr(samples: list[dict]) -> dict:
    """The sample nearest to the truth, as the papers choose for phase retrieval."""
    return max(samples, key=lambda r: -np.inf if r["psnr"] is None else r["psnr"])


def summary_rows(records: list[dict], failure_psnr: float) -> list[tuple[str, ...]]:
    """One row per task and method; with several samples per image also the two best-of rows."""
    rows, extra = [], extra_names(records)
    for (task, method), members in grouped(records, "task", "method").items():
        rows.append(summary_row(task, method, members, failure_psnr, extra))
        images = list(grouped(members, "image").values())
        count = max(map(len, images))
        choices = {"PSNR": highest_psnr, "misfit": lowest_misfit} if count > 1 else {}
        if all(record["psnr"] is None for record in members):
            choices.pop("PSNR", None)
        for name, choose in choices.items():
            best = [choose(samples) for samples in images]
            label = f"{method}, best of {count} by {name}"
            rows.append(summary_row(task, label, best, failure_psnr, extra))
    return rows


def markdown_table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """An aligned Markdown table."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = [columns, tuple("-" * width for width in widths), *rows]
    aligned = [map(str.ljust, line, widths) for line in lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in aligned)


def summary(records: list[dict], failure_psnr: float) -> str:
    """The table with what it takes to read it."""
    extra = extra_names(records)
    table = markdown_table((*COLUMNS, *extra), summary_rows(records, failure_psnr))
    note = (
        f"Failure: not finite, or a PSNR below {failure_psnr:g} dB (our threshold, an assumption). "
        "Mean (std) over the finite samples; worst: their lowest PSNR. Misfit: norm of y - A(x) at "
        "the last step. LPIPS: version 0.1, VGG16. Rank, kept: singular vectors, and share of the "
        "gradient's norm, that the projection keeps. s: seconds per sample without compilation."
    )
    if not finite_values(records, "lpips").size:
        note += f" No LPIPS: {installed_weights()[1] or 'it needs colour images of 16 px or more'}."
    if extra:
        note += f" {EXTRA_NOTE}"
    return f"{table}\n\n{note}\n"

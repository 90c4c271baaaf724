"""What a table or figure of a paper is made of, as plain data (the data: `papers.listing`)."""

import re
from collections.abc import Mapping
from typing import NamedTuple

METRICS = {"lpips": "LPIPS", "ssim": "SSIM", "psnr": "PSNR / dB", "seconds": "s per image"}
"""Name -> as a heading. Lower is better for LPIPS and seconds."""
SOLVER_TITLES = {
    "daps": "DAPS",
    "psld": "PSLD",
    "resample": "ReSample",
    "latent-daps": "LatentDAPS",
}
LINEAR = ("gaussian_deblur", "motion_deblur", "super_resolution")
INPAINTING = ("box_inpainting", "random_inpainting")
NONLINEAR = ("phase_retrieval", "nonlinear_deblur", "hdr")


class Value(NamedTuple):
    """A printed number: mean over images, and standard deviation where it is printed."""

    mean: float
    std: float | None


Values = Mapping[tuple[str, str, str], Value]
"""(row as the paper calls it, task, metric) -> printed number."""


class Row(NamedTuple):
    """One method with its settings."""

    label: str
    solver: str
    source: str | None = None
    """What the projection decomposes: "state" is DiffStateGrad, "gradient" and "random" are the
    ablation's; None is the plain solver."""
    step: str = "default"
    """"default" or "large" guidance step; for PSLD only."""
    printed: str | None = None
    """The paper's row of which this is ours; None where it has none."""
    against: tuple[str, ...] = ()
    """Labels of the rows that this one is paired with."""
    settings: Mapping[str, str | int | float] = {}
    """Arguments of `restore` that this row sets."""


class Sweep(NamedTuple):
    """What a figure varies: an argument of `restore` over values, a step as a multiple."""

    argument: str
    values: tuple[float, ...]
    axis: str


class Experiment(NamedTuple):
    """A table or a figure."""

    name: str
    source: str
    """Paper and number."""
    shows: str
    """What it compares and what the paper says about it."""
    setting: str
    """Prior, images and hardware of the paper."""
    tasks: tuple[str, ...]
    rows: tuple[Row, ...]
    metrics: tuple[str, ...] = ("lpips", "ssim", "psnr")
    values: Values = {}
    sweep: Sweep | None = None
    figure: str | None = None
    """"lines", "histogram", "bars" or "gains"; None for a table."""
    preset: str = "paper"
    """Rank rule, period and stages: a preset of ReSample, whose rank rule the others share."""
    samples: Mapping[str, int] = {"phase_retrieval": 4}
    """Task -> posterior samples of an image, 1 where it is not named."""
    note: str = ""
    """What the paper leaves open, and our choice."""


def values(tasks: tuple[str, ...], metrics: tuple[str, ...], printed: dict[str, str]) -> Values:
    """Printed rows as numbers.

    Args:
      tasks: in the order of the columns.
      metrics: likewise, repeated for every task.
      printed: row -> its numbers, each followed by its standard deviation in parentheses or not.

    Raises:
      ValueError: a row has not one number for every task and metric.
    """
    found = {}
    places = [(task, metric) for task in tasks for metric in metrics]
    for row, text in printed.items():
        numbers = re.findall(r"(\d+\.\d+)(?: \((\d+\.\d+)\))?", text)
        if len(numbers) != len(places):
            raise ValueError(f"row {row!r} has {len(numbers)} numbers for {len(places)} columns")
        for (task, metric), (mean, std) in zip(places, numbers, strict=True):
            found[row, task, metric] = Value(float(mean), float(std) if std else None)
    return found


def pair(solver: str, word: str = "DiffStateGrad", **settings) -> tuple[Row, Row]:
    """A plain solver and its projected version, with settings of the projection."""
    title = SOLVER_TITLES[solver]
    ours = f"{word}-{title}"
    plain = Row(title, solver, printed=title)
    return plain, Row(ours, solver, "state", printed=ours, against=(title,), settings=settings)


def psld_rows(word: str = "DiffStateGrad", both: dict | None = None, **solver) -> tuple[Row, ...]:
    """PSLD and its projected version, each with the default and the large step.

    The papers' main tables print the plain solver with its default step beside the projected one
    with a large step (their Table 7 shows all four): only these two have a printed value.

    Args:
      word: name of the projection.
      both: settings of the projected rows.
      solver: settings of all rows.
    """
    printed = {"default": ("PSLD", None), "large": (None, f"{word}-PSLD")}
    rows = []
    for step, (plain, ours) in printed.items():
        label = f"PSLD, {step} step"
        first = () if step == "default" else ("PSLD, default step",)
        rows.append(Row(label, "psld", step=step, printed=plain, settings=solver))
        projected = Row(f"{word}-{label}", "psld", "state", step, ours, (label, *first))
        rows.append(projected._replace(settings=solver | (both or {})))
    return tuple(rows)

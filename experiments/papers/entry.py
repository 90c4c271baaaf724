"""What a table or figure of a paper is made of, as plain data (the data: `papers.tables`, ...)."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from dsg_jax.solvers import SOLVERS
from experiments.settings import Method, RestoreSettings

# Name -> as a heading. Lower is better for LPIPS and seconds.
METRICS = {"lpips": "LPIPS", "ssim": "SSIM", "psnr": "PSNR / dB", "seconds": "s per image"}
# Metric -> decimal places, 3 where it is not named.
DIGITS = {"psnr": 2, "seconds": 2}
LINEAR = ("gaussian_deblur", "motion_deblur", "super_resolution")
INPAINTING = ("box_inpainting", "random_inpainting")
NONLINEAR = ("phase_retrieval", "nonlinear_deblur", "hdr")
# The setting of our own studies.
NOT_IN_THE_PAPERS = "no counterpart"
# How the samples of an image become scores; "" where it has one. The papers print the first.
BY_PSNR, BY_MISFIT, SINGLE = "best by PSNR", "lowest misfit", "single runs"


class Value(NamedTuple):
    """A printed number: mean over images, and standard deviation where it is printed."""

    mean: float
    std: float | None


# (row as the paper calls it, task, metric) -> printed number.
Values = Mapping[tuple[str, str, str], Value]


class Row(NamedTuple):
    """One method with its settings.

    Attributes:
      method: one solver, plain or with one projection; without a rank rule it has the experiment's.
      options: options of the solver that this row sets.
      step: guidance step; of PSLD only.
      printed: the paper's row of which this is ours; None where it has none.
      against: labels of the rows that this one is paired with.
    """

    label: str
    method: Method
    options: Mapping[str, Any] = {}
    step: Literal["default", "large"] = "default"
    printed: str | None = None
    against: tuple[str, ...] = ()

    @property
    def solver(self) -> str:
        """Key of `SOLVERS`."""
        return self.method.solver[0]

    @property
    def is_plain(self) -> bool:
        """Whether nothing is projected."""
        return self.method.projection == "none"


class Sweep(NamedTuple):
    """What a figure varies.

    Attributes:
      argument: "step_factor" is in multiples of the step, "calls" are of the prior's network.
      lengths: of "calls": solver -> value -> the options of a run that takes about as many.
    """

    argument: Literal["sigma", "tau", "period", "step_factor", "calls"]
    values: tuple[float, ...]
    axis: str
    lengths: Mapping[str, Mapping[float, Mapping[str, Any]]] = {}

    def applied(self, settings: RestoreSettings, x: float) -> RestoreSettings:
        """Settings of `restore` at one of the values; tau and period leave plain solvers alone."""
        if self.argument == "sigma":
            return replace(settings, measurement=replace(settings.measurement, sigma=x))
        if self.argument == "step_factor":
            return replace(
                settings,
                solver_options={
                    **settings.solver_options,
                    "step_factor": x * settings.solver_options.get("step_factor", 1.0),
                },
            )
        if self.argument == "calls":
            length = self.lengths[settings.method.solver[0]][x]
            return replace(settings, solver_options={**settings.solver_options, **length})
        if settings.method.projection == "none":
            return settings
        fields: dict[str, Any] = {self.argument: (x,)}
        return replace(settings, method=replace(settings.method, **fields))


class Experiment(NamedTuple):
    """A table or a figure.

    Attributes:
      source: paper and number.
      shows: what it compares and what the paper says about it.
      setting: prior, images and hardware of the paper.
      figure: a key of `papers.plots.DRAWINGS`; None for a table.
      preset: rank rule, period and stages: a preset of ReSample, whose rank rule the others share.
      samples: task -> posterior samples of an image, 1 where it is not named.
      note: what the paper leaves open, and our choice.
      left_out: tasks and rows that are there and were not chosen.
    """

    name: str
    source: str
    shows: str
    setting: str
    tasks: tuple[str, ...]
    rows: tuple[Row, ...]
    metrics: tuple[str, ...] = ("lpips", "ssim", "psnr")
    values: Values = {}
    sweep: Sweep | None = None
    figure: str | None = None
    preset: str = "paper"
    samples: Mapping[str, int] = {"phase_retrieval": 4}
    note: str = ""
    left_out: tuple[str, ...] = ()


def value_text(value: Value | None, metric: str) -> str:
    """A printed number as the paper prints it, "-" where it prints none."""
    if value is None:
        return "-"
    digits = DIGITS.get(metric, 3)
    std = "" if value.std is None else f" ({value.std:.{digits}f})"
    return f"{value.mean:.{digits}f}{std}"


def values(tasks: tuple[str, ...], metrics: tuple[str, ...], printed: dict[str, str]) -> Values:
    """Printed rows as numbers.

    Args:
      tasks: in the order of the columns.
      metrics: likewise, repeated for every task.
      printed: row -> its numbers, each followed by its standard deviation in parentheses or not.

    Raises:
      ValueError: a row has not one number for every task and metric.
    """
    numbers_of: dict[tuple[str, str, str], Value] = {}
    places = [(task, metric) for task in tasks for metric in metrics]
    for row, text in printed.items():
        numbers = re.findall(r"(\d+\.\d+)(?: \((\d+\.\d+)\))?", text)
        if len(numbers) != len(places):
            raise ValueError(f"row {row!r} has {len(numbers)} numbers for {len(places)} columns")
        numbers_of |= {
            (row, task, metric): Value(float(mean), float(std) if std else None)
            for (task, metric), (mean, std) in zip(places, numbers, strict=True)
        }
    return numbers_of


def plain_row(solver: str) -> Row:
    """A solver without projection, which others are paired with, under its title."""
    title = SOLVERS[solver].title
    return Row(title, Method(solver=(solver,), projection="none"), printed=title)


def projected_row(
    solver: str, label: str, options: Mapping[str, Any] | None = None, **fields: Any
) -> Row:
    """A projected solver, paired with the plain one, with further fields of its `Method`."""
    method = Method(solver=(solver,), projection="state", **fields)
    return Row(label, method, options or {}, printed=label, against=(SOLVERS[solver].title,))


def pair(solver: str, word: str = "DiffStateGrad", **fields: Any) -> tuple[Row, Row]:
    """A plain solver and its projected version, with fields of the latter's `Method`."""
    label = f"{word}-{SOLVERS[solver].title}"
    return plain_row(solver), projected_row(solver, label, **fields)


def psld_rows(
    word: str = "DiffStateGrad", fields: Mapping[str, Any] | None = None, **options: Any
) -> tuple[Row, ...]:
    """PSLD and its projected version, each with the default and the large step.

    The papers' main tables print the plain solver with its default step beside the projected one
    with a large step (their Table 7 shows all four): only these two have a printed value.

    Args:
      word: name of the projection.
      fields: of the projected rows' `Method`.
      options: of the solver, in all rows.
    """
    plain, ours = (row._replace(options=options) for row in pair("psld", word, **(fields or {})))
    default, large = "PSLD, default step", "PSLD, large step"
    return (
        plain._replace(label=default),
        ours._replace(label=f"{word}-{default}", printed=None, against=(default,)),
        plain._replace(label=large, step="large", printed=None),
        ours._replace(label=f"{word}-{large}", step="large", against=(large, default)),
    )

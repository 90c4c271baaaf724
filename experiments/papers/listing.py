"""Every table and measured figure of the two papers by name, our own studies, and their list.

DiffStateGrad: Zirvi et al., "Diffusion State-Guided Projected Gradient for Inverse Problems", ICLR
2025. PLoRG: the same authors' "Projected Low-Rank Gradient in Diffusion-based Models for Inverse
Problems", NeurIPS 2024 workshop D3S3.
"""

import textwrap

from experiments.papers.entry import METRICS, Experiment, Row, Value
from experiments.papers.figures import FIGURES
from experiments.papers.studies import NOT_IN_THE_PAPERS, STUDIES
from experiments.papers.tables import TABLES
from experiments.restore.choices import NEEDS_CHECKPOINT

EXPERIMENTS = {experiment.name: experiment for experiment in (*TABLES, *FIGURES, *STUDIES)}


def chosen_experiments(names: list[str]) -> list[Experiment]:
    """The experiments named, in their order; "all" stands for every one.

    Raises:
      ValueError: no name, or one that is none of them.
    """
    unknown = [name for name in names if name not in ("all", *EXPERIMENTS)]
    if unknown or not names:
        wrong = f"unknown experiment {unknown[0]!r}" if unknown else "no experiment is named"
        raise ValueError(f"{wrong}: choose from all, {', '.join(EXPERIMENTS)}")
    every = [list(EXPERIMENTS) if name == "all" else [name] for name in names]
    return [EXPERIMENTS[name] for name in dict.fromkeys(sum(every, []))]


def value_text(value: Value | None, metric: str) -> str:
    """A printed number as the paper prints it, "-" where it prints none."""
    if value is None:
        return "-"
    digits = 2 if metric == "psnr" else 3
    std = "" if value.std is None else f" ({value.std:.{digits}f})"
    return f"{value.mean:.{digits}f}{std}"


def row_text(experiment: Experiment, row: Row) -> str:
    """One row: what runs, and what the paper prints for it."""
    source = "plain" if row.source is None else f"projected by {row.source}"
    settings = "".join(f", {name} {value}" for name, value in row.settings.items())
    lines = [f"  {row.label} ({row.solver}, {source}{settings})"]
    for task in experiment.tasks:
        found = [
            f"{METRICS[metric]} {value_text(value, metric)}"
            for metric in experiment.metrics
            if (value := experiment.values.get((row.printed or "", task, metric)))
        ]
        if found:
            lines.append(f"    {task}: {', '.join(found)}")
    return "\n".join(lines)


def list_text(experiments: list[Experiment]) -> str:
    """Everything about the experiments, as text for a screen."""
    parts = []
    for experiment in experiments:
        sweep = experiment.sweep
        varied = (
            "" if sweep is None else f"{sweep.axis}: {', '.join(f'{v:g}' for v in sweep.values)}"
        )
        own = experiment.setting == NOT_IN_THE_PAPERS
        lacking = [task for task in experiment.tasks if task in NEEDS_CHECKPOINT]
        about = [
            experiment.shows,
            f"Paper: {experiment.setting}.",
            f"Tasks: {', '.join(experiment.tasks)}. Preset: {experiment.preset}.",
            f"Varied: {varied}." if varied else "",
            "" if experiment.values or own else "The paper's values are not in its text.",
            *(f"{task}: paper's values only, unless --blur-network is given." for task in lacking),
            f"Open: {experiment.note}" if experiment.note else "",
        ]
        wrapped = [textwrap.fill(t, 98, initial_indent="  ", subsequent_indent="  ") for t in about]
        rows = [row_text(experiment, row) for row in experiment.rows]
        heading = f"{experiment.name}: {experiment.source}"
        parts.append("\n".join([heading, *(line for line in wrapped if line), *rows]))
    return "\n\n".join(parts)

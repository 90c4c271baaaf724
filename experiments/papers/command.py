"""The papers' tables and figures by one command, our numbers beside theirs.

    dsg-jax reproduce table1 fig6 --count 8

An experiment is rows x tasks x values of what it varies x seeds, each a `plan` of `restore`.
Experiments that share a setting share its images. Without ``--full`` runs are shortened
(`papers.plan.REDUCED`), which every report states.

DiffStateGrad: Zirvi et al., "Diffusion State-Guided Projected Gradient for Inverse Problems", ICLR
2025. PLoRG: the same authors' "Projected Low-Rank Gradient in Diffusion-based Models for Inverse
Problems", NeurIPS 2024 workshop D3S3.
"""

import json
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from dsg_jax.operators.tasks import TASKS
from experiments.papers.card import peak_memory
from experiments.papers.entry import METRICS, NOT_IN_THE_PAPERS, Experiment, Row, value_text
from experiments.papers.figures import FIGURES
from experiments.papers.plan import (
    Place,
    PlannedExperiment,
    Priors,
    chosen_priors,
    plan_experiment,
)
from experiments.papers.probe import dry_run
from experiments.papers.report import write_report
from experiments.papers.settings import ReproduceSettings, changed, words_of
from experiments.papers.studies import STUDIES
from experiments.papers.tables import TABLES
from experiments.restore.batch import program_count
from experiments.restore.compute import (
    Work,
    about_shard,
    outstanding,
    progress,
    records_of,
    work_off,
)
from experiments.restore.plan import Problems

EXPERIMENTS = {experiment.name: experiment for experiment in (*TABLES, *FIGURES, *STUDIES)}
"""Every table and measured figure of the two papers by name, and our own studies."""


def chosen_experiments(names: tuple[str, ...]) -> list[Experiment]:
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


def plan_reproduce(
    settings: ReproduceSettings, priors: Priors | None = None
) -> Callable[[], object]:
    """Check the settings of ``reproduce``; the result lists, probes, or computes and reports.

    Args:
      settings: of the command.
      priors: in place of those that the settings name.

    Raises:
      ValueError, OSError: something the user gave is wrong; the message names it.
    """
    chosen = chosen_experiments(settings.name or (("all",) if settings.list else ()))
    if settings.list:
        return lambda: print("\n\n".join(map(experiment_text, chosen)))
    priors = priors or chosen_priors(settings.prior)
    problems: dict[tuple, Problems] = {}
    planned = [plan_experiment(one, settings, priors, problems) for one in chosen]
    if settings.dry_run:
        return lambda: dry_run(planned)
    return lambda: reproduce(planned, settings)


def reproduce(planned: list[PlannedExperiment], settings: ReproduceSettings) -> None:
    """Compute what is missing and write every experiment's report as soon as it is complete.

    A shard writes no report.
    """
    plans = {place: plan for one in planned for place, plan in one.plans.items()}
    works: dict[Place, list[Work]] = {place: [] for place in plans}
    for work in outstanding(list(plans.values())):
        works[work.job.task, work.planned.out].append(work)
    every = sum(works.values(), [])
    started: set[Place] = set()
    with progress(every) as bar:
        for one in planned:
            fresh = [w for place in one.plans if place not in started for w in works[place]]
            started |= one.plans.keys()
            begun, programs = time.perf_counter(), program_count()
            compile_seconds = work_off(fresh, bar)
            if settings.shard:
                continue
            run = {
                "settings": len(one.plans),
                "programs": program_count() - programs,
                "compile_seconds": round(sum(compile_seconds.values()), 1),
                "seconds": round(time.perf_counter() - begun, 1),
                "peak_memory_mib": peak_memory(),
            }
            folder = (settings.report or settings.out) / one.experiment.name
            if not any(work.todo for work in fresh):
                run = earlier_run(folder) or run
            records = {place: records_of(works[place]) for place in one.plans}
            write_report(folder, one, records, run, settings)
    if settings.shard:
        print(about_shard(settings.shard, settings.out, every))


def earlier_run(folder: Path) -> dict | None:
    """Programs, seconds and memory of the run that computed a report's numbers, if there is one."""
    card = folder / "card.json"
    return json.loads(card.read_text())["run"] if card.is_file() else None


def row_text(experiment: Experiment, row: Row) -> str:
    """One row: what runs, and what the paper prints for it."""
    source = "plain" if row.is_plain else f"projected by {row.method.source}"
    fields = changed(row.method) | dict(row.options)
    named = [n for n in fields if n not in ("solver", "projection", "source")]
    words = [row.solver, source, *(f"{name} {words_of(fields[name])}" for name in named)]
    lines = [f"  {row.label} ({', '.join(words)})"]
    for task in experiment.tasks:
        printed = [
            f"{METRICS[metric]} {value_text(value, metric)}"
            for metric in experiment.metrics
            if (value := experiment.values.get((row.printed or "", task, metric)))
        ]
        if printed:
            lines.append(f"    {task}: {', '.join(printed)}")
    return "\n".join(lines)


def experiment_text(experiment: Experiment) -> str:
    """Everything about an experiment, as text for a screen."""
    sweep = experiment.sweep
    varied = f"{sweep.axis}: {', '.join(f'{v:g}' for v in sweep.values)}" if sweep else ""
    is_study = experiment.setting == NOT_IN_THE_PAPERS
    lacking = [task for task in experiment.tasks if TASKS[task].checkpoint]
    about = [
        experiment.shows,
        f"Paper: {experiment.setting}.",
        f"Tasks: {', '.join(experiment.tasks)}. Preset: {experiment.preset}.",
        f"Varied: {varied}." if varied else "",
        "" if experiment.values or is_study else "The paper's values are not in its text.",
        *(f"{task}: paper's values only, unless --blur-network is given." for task in lacking),
        f"Open: {experiment.note}" if experiment.note else "",
    ]
    wrapped = [textwrap.fill(t, 98, initial_indent="  ", subsequent_indent="  ") for t in about]
    rows = [row_text(experiment, row) for row in experiment.rows]
    heading = f"{experiment.name}: {experiment.source}"
    return "\n".join([heading, *(text for text in wrapped if text), *rows])

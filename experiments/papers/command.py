"""The papers' tables and figures by one command, our numbers beside theirs.

    dsg-jax reproduce table1 fig6 --count 8

An experiment is rows x tasks x values of what it varies x seeds, each a `plan` of `restore`.
Experiments that share a setting share its images. Without ``--full`` runs are shortened
(`papers.plan.REDUCED`), which every report states.

DiffStateGrad: Zirvi et al., "Diffusion State-Guided Projected Gradient for Inverse Problems", ICLR
2025. PLoRG: the same authors' "Projected Low-Rank Gradient in Diffusion-based Models for Inverse
Problems", NeurIPS 2024 workshop D3S3.
"""

import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from dsg_jax.operators.tasks import TASKS
from experiments.files import fault, read_json
from experiments.papers.card import peak_memory
from experiments.papers.choice import check_effects, chosen_experiments
from experiments.papers.entry import (
    BY_PSNR,
    METRICS,
    NOT_IN_THE_PAPERS,
    Experiment,
    Row,
    value_text,
)
from experiments.papers.plan import (
    PlannedExperiment,
    about_priors,
    plan_experiment,
    works_of,
)
from experiments.papers.priors import Priors, check_classes, check_same_images, chosen_priors
from experiments.papers.probe import dry_run
from experiments.papers.report import write_report
from experiments.papers.scores import printed_values
from experiments.papers.settings import ReproduceSettings, changed, words_of
from experiments.restore.batch import program_count
from experiments.restore.compute import (
    about_shard,
    progress,
    records_of,
    work_off,
)
from experiments.restore.fid import RealImages, check_fid, real_images, set_sizes
from experiments.restore.plan import Problems

# What a card says of its run, and the types.
RUN_FIELDS = {
    **dict.fromkeys(("settings", "programs", "compile_seconds", "seconds"), int | float),
    "peak_memory_mib": dict,
}


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
    chosen = chosen_experiments(settings)
    check_effects(chosen, settings)
    if settings.list:
        return lambda: print("\n\n".join(map(experiment_text, chosen)))
    if settings.full and settings.count is None and not settings.images:
        raise ValueError("--full takes 100 images: give --images FOLDER, or fewer with --count")
    if priors is None:
        solvers = [row.solver for one in chosen for row in one.rows]
        priors = chosen_priors(settings.prior, solvers, settings.dtype, not settings.no_verify)
    images = settings.for_restore().images
    check_same_images(priors, images)
    check_classes(priors, images)
    problems: dict[tuple, Problems] = {}
    planned = [plan_experiment(one, settings, priors, problems) for one in chosen]
    check_work(planned, settings)
    run = settings.for_restore().run
    check_fid(run, sizes_of(planned))
    if settings.dry_run:
        return lambda: dry_run(planned)
    real = real_images(run)
    return lambda: reproduce(planned, settings, real)


def check_work(planned: list[PlannedExperiment], settings: ReproduceSettings) -> None:
    """Raise ValueError where nothing can be run."""
    if not any(one.plans for one in planned):
        reasons = dict.fromkeys(why for one in planned for _, _, why in one.absent)
        names = ", ".join(one.experiment.name for one in planned)
        raise ValueError(
            f"nothing of {names} can be run: {'; '.join(reasons)} (--prior"
            f" {' '.join(settings.prior)})"
        )


def sizes_of(planned: list[PlannedExperiment]) -> list[int]:
    """How many samples each point of some experiments has, of all seeds."""
    points = [point for one in planned for point in one.points]
    return [sum(n for plan in point.plans for n in set_sizes(plan.jobs)) for point in points]


def reproduce(
    planned: list[PlannedExperiment], settings: ReproduceSettings, real: RealImages | None = None
) -> None:
    """Compute what is missing and write every experiment's report as soon as it is complete.

    A shard writes no report.
    """
    print(about_priors(planned))
    works = works_of(planned)
    every, left = sum(works.values(), []), dict(works)
    with progress(every) as bar:
        for one in planned:
            fresh = [work for place in one.plans for work in left.pop(place, [])]
            begun, programs = time.perf_counter(), program_count()
            compile_seconds = work_off(fresh, bar)
            if settings.shard:
                continue
            run = {
                "programs": program_count() - programs,
                "compile_seconds": round(sum(compile_seconds.values()), 1),
                "seconds": round(time.perf_counter() - begun, 1),
                "peak_memory_mib": peak_memory(),
            }
            folder = (settings.report or settings.out) / one.experiment.name
            card = folder / "card.json"
            if card.is_file() and not any(work.todo for work in fresh):
                run = stored_run(card) or run  # of the run that computed the numbers
            write_report(
                folder,
                one,
                {place: records_of(works[place]) for place in one.plans},
                real,
                run | {"settings": len(one.plans)},
                settings,
            )
    if settings.shard:
        print(about_shard(settings.shard, settings.out, every))


def stored_run(card: Path) -> dict | None:
    """What a card says of its run; None, said, where somebody has changed it."""
    try:
        run = read_json(card)["run"]
        if all(isinstance(run[name], kind) for name, kind in RUN_FIELDS.items()):
            return run
    except (ValueError, OSError, LookupError, TypeError):
        pass
    fault(f"{card} is damaged: what it says of the run is left out")
    return None


def row_text(experiment: Experiment, row: Row) -> str:
    """One row: what runs, and what the paper prints for it."""
    fields = changed(row.method) | dict(row.options)
    words = [
        row.solver,
        "plain" if row.is_plain else f"projected by {row.method.source}",
        *(
            f"{name} {words_of(value)}"
            for name, value in fields.items()
            if name not in ("solver", "projection", "source")
        ),
    ]
    printed = {task: printed_values(experiment, row, task, BY_PSNR) for task in experiment.tasks}
    lines = [
        f"    {task}: {', '.join(f'{METRICS[m]} {value_text(v, m)}' for m, v in values.items())}"
        for task, values in printed.items()
        if values
    ]
    return "\n".join([f"  {row.label} ({', '.join(words)})", *lines])


def experiment_text(experiment: Experiment) -> str:
    """Everything about an experiment, as text for a screen."""
    sweep, is_study = experiment.sweep, experiment.setting == NOT_IN_THE_PAPERS
    about = [
        experiment.shows,
        f"Paper: {experiment.setting}.",
        f"Tasks: {', '.join(experiment.tasks)}. Preset: {experiment.preset}.",
        f"Varied: {sweep.axis}: {', '.join(f'{v:g}' for v in sweep.values)}." if sweep else "",
        "" if experiment.values or is_study else "The paper's values are not in its text.",
        *(
            f"{task}: paper's values only, unless --blur-network is given."
            for task in experiment.tasks
            if TASKS[task].checkpoint
        ),
        f"Open: {experiment.note}" if experiment.note else "",
    ]
    wrapped = [textwrap.fill(t, 98, initial_indent="  ", subsequent_indent="  ") for t in about]
    return "\n".join(
        [
            f"{experiment.name}: {experiment.source}",
            *filter(None, wrapped),
            *(row_text(experiment, row) for row in experiment.rows),
        ]
    )

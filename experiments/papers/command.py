"""The papers' tables and figures by one command, our numbers beside theirs.

    python -m experiments reproduce table1 fig6 --count 8

An experiment (`papers.listing`) is rows x tasks x values of what it varies x seeds, each a `plan`
of `restore`. Experiments that share a setting share its images. Without ``--full`` runs are
shortened (`papers.plan.REDUCED`), which every report states.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

from experiments.papers.card import peak_memory
from experiments.papers.listing import chosen_experiments, list_text
from experiments.papers.plan import Planned, Priors, chosen_priors, place_of, plan_experiment
from experiments.papers.probe import dry_run
from experiments.papers.report import write_report
from experiments.restore.batch import program_count
from experiments.restore.choices import check_once
from experiments.restore.compute import Work, lines_of, outstanding, progress, work_off
from experiments.restore.measured import Posed
from experiments.restore.plan import Plan
from experiments.restore.shards import finish_shard


def check(given: argparse.Namespace) -> None:
    """Raise ValueError for arguments that `plan` does not see."""
    for name in ("base_step", "large_step"):
        value = getattr(given, name)
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"--{name.replace('_', '-')} {value}: give a finite number > 0")
    check_once("seeds", given.seeds)
    if given.dry_run and given.shard:
        raise ValueError("--dry-run is about the whole run: drop --shard")
    if given.report and given.report.exists() and not given.report.is_dir():
        raise ValueError(f"--report {given.report} is a file: name a folder")


def plan_reproduce(given: argparse.Namespace, priors: Priors | None = None) -> Callable[[], object]:
    """Check the arguments of ``reproduce``; the result lists, probes, or computes and reports.

    Args:
      given: as parsed by ``experiments.__main__``.
      priors: in place of ``given.prior``: kind ("pixel", "latent") -> prior and card.

    Raises:
      ValueError, OSError: something the user gave is wrong; the message names it.
    """
    chosen = chosen_experiments(given.name or (["all"] if given.list else []))
    if given.list:
        return lambda: print(list_text(chosen))
    check(given)
    priors = priors or chosen_priors(given.prior)
    posed: dict[tuple, dict[str, list[Posed]]] = {}
    planned = [plan_experiment(experiment, given, priors, posed) for experiment in chosen]
    if given.dry_run:
        return lambda: dry_run(planned)
    return lambda: reproduce(planned, given)


Place = tuple[str, Path]
"""Task and folder of a plan (`place_of`)."""


def reproduce(planned: list[Planned], given: argparse.Namespace) -> None:
    """Compute what is missing and write every experiment's report as soon as it is complete.

    A shard writes no report.
    """
    works: dict[Place, list[Work]] = {}
    plans = {place: plan for one in planned for place, plan in plans_of(one).items()}
    for work in outstanding(list(plans.values())):
        works.setdefault(place_of(work.job.task, work.planned), []).append(work)
    every = [work for group in works.values() for work in group]
    fresh = dict(works)
    with progress(every) as bar:
        for one in planned:
            started, programs = time.perf_counter(), program_count()
            mine = [work for place in plans_of(one) for work in fresh.pop(place, [])]
            compile_seconds = work_off(mine, bar)
            if given.shard:
                continue
            run = {
                "settings": len(plans_of(one)),
                "programs": program_count() - programs,
                "compile_seconds": round(sum(compile_seconds.values()), 1),
                "seconds": round(time.perf_counter() - started, 1),
                "peak_memory_mib": peak_memory(),
            }
            done = {place: lines_of(works[place]) for place in plans_of(one)}
            folder = (given.report or given.out) / one.experiment.name
            if not any(work.todo for work in mine):
                run = earlier_run(folder) or run
            write_report(folder, one, done, run, given)
    if given.shard:
        finish_shard(given.out, given.shard, [(work.planned, work.found) for work in every])


def earlier_run(folder: Path) -> dict | None:
    """Programs, seconds and memory of the run that computed a report's numbers, if there is one."""
    card = folder / "card.json"
    return json.loads(card.read_text())["run"] if card.is_file() else None


def plans_of(one: Planned) -> dict[Place, Plan]:
    """The plans of an experiment, each once."""
    return {place_of(cell.task, plan): plan for cell in one.cells for plan in cell.plans}

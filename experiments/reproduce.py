"""The papers' tables and figures by one command, our numbers beside theirs.

    python -m experiments reproduce table1 fig6 --count 8

An experiment (`experiments.papers`) is rows x tasks x values of what it varies x seeds, each a
`plan` of `restore`. Experiments that share a setting share its images. Without ``--full`` runs are
shortened (`reproduce_plan.REDUCED`), which every report states.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from experiments.measured import Posed
from experiments.papers import chosen_experiments, list_text
from experiments.reproduce_plan import Planned, Priors, chosen_priors, place_of, plan_experiment
from experiments.reproduce_probe import dry_run
from experiments.reproduce_report import write_report
from experiments.restore import compute
from experiments.runner import program_count


def check(given: argparse.Namespace) -> None:
    """Raise ValueError for arguments that `plan` does not see."""
    for name in ("base_step", "large_step"):
        value = getattr(given, name)
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"--{name.replace('_', '-')} {value}: give a finite number > 0")
    if len(set(given.seeds)) < len(given.seeds):
        raise ValueError("--seeds names a seed twice: drop one")
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


def reproduce(planned: list[Planned], given: argparse.Namespace) -> None:
    """Compute what is missing and write every experiment's report as soon as it is complete."""
    done: dict[tuple[str, Path], list[dict]] = {}
    for one in planned:
        started, programs = time.perf_counter(), program_count()
        wanted = {place_of(c.task, p): p for c in one.cells for p in c.plans}
        missing = {place: p for place, p in wanted.items() if place not in done}
        lines, compile_seconds = compute(list(missing.values()))
        done |= dict(zip(missing, lines, strict=True))
        run = {
            "settings": len(wanted),
            "programs": program_count() - programs,
            "compile_seconds": round(sum(compile_seconds.values()), 1),
            "seconds": round(time.perf_counter() - started, 1),
        }
        write_report((given.report or given.out) / one.experiment.name, one, done, run, given)

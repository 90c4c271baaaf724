"""Does the projection keep its quality at step sizes where the plain solver fails?

    python -m experiments robustness --solver psld --task super_resolution --steps 50

The grid is data: tasks x step factors x rank rules, each a `plan` of `restore`. Step sizes are
arrays to the compiled program, so that all factors of a task and a rule share one.
"""

import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from dsg_jax.metrics import psnr
from dsg_jax.priors import load_prior
from dsg_jax.projection import RANK_RULES
from dsg_jax.types import Prior
from experiments.faults import fault
from experiments.files import append_records, read_records, versions_and_hardware
from experiments.papers.robustness_report import write_report
from experiments.restore.batch import program_count
from experiments.restore.choices import TASK_OPTIONS, check_once, chosen_tasks, given_options
from experiments.restore.compute import Work, compute, lines_of
from experiments.restore.measured import Posed
from experiments.restore.methods import default_prior
from experiments.restore.plan import Item, Plan, plan
from experiments.restore.report import grouped, lowest_misfit
from experiments.restore.run import jsonable
from experiments.restore.shards import finish_shard
from experiments.statistics import PLAIN

RUNS = "runs.jsonl"
"""Log of the command's runs into a folder: programs compiled, seconds."""
MEASURED = ("psnr", "ssim", "lpips", "finite", "misfit", "rank_mean", "kept_mean", "seconds")
"""What a score takes over from the line of a sample."""


class Cell(NamedTuple):
    """One point of the grid."""

    task: str
    rule: str
    factor: float
    plan: Plan


def check_grid(arguments: Namespace) -> None:
    """Raise ValueError for rules or factors that make no comparison, or options it sets itself."""
    known = (PLAIN, *RANK_RULES)
    for rule in arguments.rules:
        if rule not in known:
            raise ValueError(f"--rules {rule}: choose from {', '.join(known)}")
    if PLAIN not in arguments.rules:
        raise ValueError(f"--rules: add {PLAIN}, the plain solver that the others are compared to")
    for name in ("rules", "step_factors"):
        check_once(name, getattr(arguments, name))
    if arguments.measured:
        raise ValueError("--measured images have no truth to compare with: use --images")
    fixed = {"rank_rule": "rules", "step_factor": "step-factors"}
    for name, instead in fixed.items():
        if getattr(arguments, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')} is what the grid varies: use --{instead}")
    if arguments.projection != "both":
        raise ValueError("--projection is what the grid varies: use --rules")
    if arguments.phase_samples < 1:
        raise ValueError(f"--phase-samples {arguments.phase_samples}: give a whole number >= 1")


def plan_grid(arguments: Namespace, prior: tuple[Prior, dict]) -> list[Cell]:
    """A `restore` plan for every task, factor and rule, in this order; reads files, writes none."""
    posed: dict[str, list[Posed]] = {}
    cells = []
    for task in chosen_tasks(arguments):
        others = set(TASK_OPTIONS) - set(given_options(arguments, task))
        phase = task == "phase_retrieval"
        for factor in sorted(arguments.step_factors):
            for rule in arguments.rules:
                own = {
                    "task": [task],
                    "projection": PLAIN if rule == PLAIN else "state",
                    "rank_rule": None if rule == PLAIN else rule,
                    "step_factor": factor,
                    "samples": arguments.phase_samples if phase else arguments.samples,
                    "out": arguments.out / f"{rule}_x{factor:g}",
                }
                own |= dict.fromkeys(others)
                planned = plan(Namespace(**vars(arguments) | own), prior, posed)
                cells.append(Cell(task, rule, factor, planned))
    return cells


def plan_robustness(
    arguments: Namespace, prior: tuple[Prior, dict] | None = None
) -> Callable[[], list[dict]]:
    """Check the arguments of ``robustness``; the result computes the grid and writes the report.

    Args:
      arguments: as parsed by ``experiments.__main__``: those of ``restore``, ``rules``,
        ``step_factors``, ``phase_samples`` and ``report``.
      prior: a prior and its card, in place of ``arguments.prior``.

    Raises:
      ValueError, OSError: something the user gave is wrong; the message names it.
    """
    check_grid(arguments)
    chosen = prior or load_prior(arguments.prior or default_prior(arguments.solver))
    name = f"{chosen[1]['name']}-{arguments.solver}"
    report = arguments.report or arguments.out
    cells = plan_grid(Namespace(**vars(arguments) | {"out": arguments.out / name}), chosen)
    read_records(arguments.out / name / RUNS, {"programs"})
    return lambda: robustness(cells, arguments.out / name, report / name)


def robustness(cells: list[Cell], out: Path, report: Path) -> list[dict]:
    """Compute what is missing of a grid and write its report; returns one score per image and cell.

    A shard writes no report and returns no scores.

    Args:
      cells: `plan_grid`.
      out: folder of the log of runs; images and their lines are in the plans' own folders.
      report: path of the report without a suffix: Markdown, CSV, JSON and pictures.
    """
    started, programs = time.perf_counter(), program_count()
    plans = [cell.plan for cell in cells]
    works, compile_seconds = compute(plans)
    run = {
        "programs": program_count() - programs,
        "compile_seconds": round(sum(compile_seconds.values()), 1),
        "seconds": round(time.perf_counter() - started, 1),
    }
    shard = plans[0].arguments.shard
    append_records(out / RUNS, [run | ({"shard": shard} if shard else {})])
    if shard:
        finish_shard(out, shard, [(work.planned, work.found) for work in works])
        return []
    problems = problems_of(cells)
    inputs = {place: input_psnr(item) for place, item in problems.items()}
    lines = [lines_of(works_of(cell, works)) for cell in cells]
    pairs = zip(cells, lines, strict=True)
    scores = [score for cell, found in pairs for score in scores_of(cell, found, inputs)]
    write_report(report, scores, problems, facts_of(cells, runs_into(out)))
    return scores


def works_of(cell: Cell, works: list[Work]) -> list[Work]:
    """The work of one point of the grid."""
    place = cell.task, cell.plan.out
    return [work for work in works if (work.job.task, work.planned.out) == place]


def runs_into(out: Path) -> list[dict]:
    """The log of the command's runs into a folder."""
    runs, damaged = read_records(out / RUNS, {"programs"})
    for message in damaged:
        fault(message)
    return runs


def problems_of(cells: list[Cell]) -> dict[tuple[str, str], Item]:
    """The problem of every task and image."""
    jobs = [(cell.task, job) for cell in cells for job in cell.plan.jobs]
    return {(task, item.picture.name): item for task, job in jobs for item in job.items}


def facts_of(cells: list[Cell], runs: list[dict]) -> dict:
    """What the numbers of a report depend on, as JSON values."""
    first = cells[0].plan
    steps = {cell.task: cell.factor for cell in reversed(cells)}
    constants = {cell.task: constants_of(cell) for cell in reversed(cells)}
    unset = ("plan", "task", "rank_rule", "step_factor", "projection", "out", "report", "shard")
    given = {name: value for name, value in vars(first.arguments).items() if name not in unset}
    return {
        "arguments": {name: jsonable(v) for name, v in given.items() if v is not None},
        "first_step": {task: {"factor": steps[task]} | constants[task] for task in steps},
        "runs": runs,
    } | versions_and_hardware()


def constants_of(cell: Cell) -> dict:
    """The solver's own settings: what a plan's hash covers beside the problem and the method."""
    common = ("task", "solver", "projection", "shape", "sigma", "seed", "prior", "version")
    settings = cell.plan.jobs[0].settings
    return {name: value for name, value in settings.items() if name not in common}


def scores_of(cell: Cell, lines: list[dict], inputs: dict) -> list[dict]:
    """One score per image: of its only sample, or of that whose misfit is the lowest."""
    scores = []
    for (image,), samples in grouped(lines, "image").items():
        best = chosen_sample(samples)
        place = {"task": cell.task, "rule": cell.rule, "factor": cell.factor, "image": image}
        names = (*MEASURED, *cell.plan.arguments.metrics)
        found = {name: best[name] for name in names} | {"samples": len(samples)}
        png = str(cell.plan.out / best["png"])
        scores.append(place | found | {"input_psnr": inputs[cell.task, image], "png": png})
    return scores


def chosen_sample(samples: list[dict]) -> dict:
    """Of the finite samples the one that explains its measurement best; no truth is needed."""
    return lowest_misfit([sample for sample in samples if sample["finite"]] or samples)


def input_psnr(item: Item) -> float | None:
    """PSNR of the measurement as an image: enlarged if it is small, None where it is no image."""
    truth, operator = item.picture.pixels, item.problem.operator
    back = operator.transpose or (lambda y: y)
    shown = np.asarray(back(jnp.asarray(item.problem.y)))
    if truth is None or shown.shape != truth.shape:
        return None
    return float(psnr(jnp.asarray(shown), jnp.asarray(truth)))

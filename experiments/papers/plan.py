"""From an experiment of the papers to plans of `restore`; reads files and writes none."""

import argparse
from pathlib import Path
from typing import NamedTuple

from dsg_jax.priors import load_prior
from dsg_jax.solvers.resample import PRESETS
from dsg_jax.types import Prior
from experiments.arguments import add_restore_arguments
from experiments.files import content_hash
from experiments.papers.entry import Experiment, Row
from experiments.restore.choices import NEEDS_CHECKPOINT
from experiments.restore.measured import Posed
from experiments.restore.methods import LATENT_SOLVERS
from experiments.restore.plan import Plan, plan

REDUCED = {
    "psld": {"steps": 50},
    "resample": {"steps": 50, "pixel_limit": 50, "latent_limit": 50},
    "daps": {"levels": 20},
    "latent-daps": {"levels": 10},
}
"""Solver -> how it is shortened without ``--full``; everything else is as in the reference."""
REDUCED_STEP = 8.0
"""Multiple of PSLD's published step that 50 steps take as their default: an assumption."""
_PROJECTION_ONLY = ("tau", "period", "rank_rule", "sides", "project")

Priors = dict[str, tuple[Prior, dict]]


class Cell(NamedTuple):
    """One row on one task at one value of what is varied (None: nothing is)."""

    task: str
    row: Row
    x: float | None
    settings: dict
    """What it sets of `restore`'s arguments."""
    plans: list[Plan]
    """One for every seed."""


class Absent(NamedTuple):
    """A row of a task that is not run: the paper's value only."""

    task: str
    row: Row
    why: str


class Planned(NamedTuple):
    """An experiment, ready to start."""

    experiment: Experiment
    cells: list[Cell]
    absent: list[Absent]


def chosen_priors(names: list[str] | None) -> Priors:
    """Kind ("pixel", "latent") -> prior and card; at most one of each kind."""
    found: Priors = {}
    for name in names or ["emoji", "emoji-64-ldm"]:
        prior, card = load_prior(name)
        kind = "pixel" if prior.first_stage is None else "latent"
        if kind in found:
            raise ValueError(f"--prior {name}: there is another {kind} prior: give one of each")
        found[kind] = (prior, card)
    return found


def kind_of(solver: str) -> str:
    """Of the prior that a solver works with."""
    return "latent" if solver in LATENT_SOLVERS else "pixel"


def why_absent(row: Row, task: str, priors: Priors, given: argparse.Namespace) -> str:
    """Why a row of a task cannot be run, "" if it can."""
    kind = kind_of(row.solver)
    if kind not in priors:
        return f"no {kind} prior is given"
    if task in NEEDS_CHECKPOINT and not given.blur_network:
        return "needs --blur-network"
    return ""


def default_step(given: argparse.Namespace, step: str = "default") -> float:
    """The default or the large step of PSLD over its published one."""
    default = given.base_step or (1.0 if given.full else REDUCED_STEP)
    return default * (given.large_step if step == "large" else 1.0)


def settings_of(
    experiment: Experiment, row: Row, x: float | None, given: argparse.Namespace
) -> dict:
    """The arguments of `restore` that a row sets, beside images, task and seed."""
    preset, sweep = given.preset or experiment.preset, experiment.sweep
    own = {"solver": row.solver, "projection": "none", "sigma": given.sigma}
    own |= {} if given.full else REDUCED[row.solver]
    shorter = {"steps": given.steps, "levels": given.levels}
    shorter |= {"pixel_limit": given.limit, "latent_limit": given.limit}
    own |= {name: v for name, v in shorter.items() if v is not None and name in REDUCED[row.solver]}
    if row.solver == "psld":
        own["step_factor"] = default_step(given, row.step)
    if row.solver == "resample":
        own["preset"] = preset
    own |= row.settings
    if x is not None and sweep is not None:
        varied = {"step_factor": x * default_step(given), "period": int(x)}
        own[sweep.argument] = varied.get(sweep.argument, x)
    if row.source is None:
        return {name: value for name, value in own.items() if name not in _PROJECTION_ONLY}
    rule = {"rank_rule": PRESETS[preset]["rule"]}
    return rule | own | {"projection": "state", "source": row.source}


def restore_defaults() -> argparse.Namespace:
    """The arguments of `restore` as they are where none is given."""
    parser = argparse.ArgumentParser()
    add_restore_arguments(parser)
    return parser.parse_args(["--task", "identity"])


def plan_experiment(
    experiment: Experiment,
    given: argparse.Namespace,
    priors: Priors,
    posed: dict[tuple, dict[str, list[Posed]]],
) -> Planned:
    """Plans for every row, task, value and seed; reads files and writes none.

    Args:
      experiment: an entry of `papers.EXPERIMENTS`.
      given: arguments of ``reproduce``.
      priors: `chosen_priors`.
      posed: problems made so far, of all experiments.
    """
    xs = experiment.sweep.values if experiment.sweep else (None,)
    cells, absent = [], []
    for task in experiment.tasks:
        for row in experiment.rows:
            why = why_absent(row, task, priors, given)
            if why:
                absent.append(Absent(task, row, why))
                continue
            for x in xs:
                own = settings_of(experiment, row, x, given)
                samples = experiment.samples.get(task, 1)
                plans = [
                    plan_cell(task, own | {"samples": samples, "seed": seed}, given, priors, posed)
                    for seed in given.seeds
                ]
                cells.append(Cell(task, row, x, own, plans))
    return Planned(experiment, cells, absent)


def plan_cell(
    task: str, own: dict, given: argparse.Namespace, priors: Priors, posed: dict[tuple, dict]
) -> Plan:
    """One plan, in a folder that is its settings' own: where these recur, so do the images."""
    kind = kind_of(own["solver"])
    prior = priors[kind]
    method = own["solver"] if own["projection"] == "none" else f"{own['solver']}-{own['source']}"
    images = {"images": [str(path) for path in given.images or []], "size": given.size}
    name = f"{method}-seed{own['seed']}-{content_hash(own | images)[:8]}"
    common = ("images", "size", "fit", "batch_size", "failure_psnr", "shard", "metrics")
    whole = vars(restore_defaults()) | {name: getattr(given, name) for name in common} | own
    whole |= {"task": [task], "count": given.count or (100 if given.full else 4)}
    whole |= {"out": given.out / "runs" / prior[1]["name"] / name}
    if task in NEEDS_CHECKPOINT:
        whole["blur_network"] = given.blur_network
    made = posed.setdefault((kind, own["sigma"], own["seed"]), {})
    return plan(argparse.Namespace(**whole), prior, made)


def place_of(task: str, planned: Plan) -> tuple[str, Path]:
    """What two cells have in common that have the same images."""
    return task, planned.out

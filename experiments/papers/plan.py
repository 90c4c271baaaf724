"""From an experiment of the papers to plans of `restore`; reads files and writes none."""

from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from dsg_jax.operators.tasks import TASKS
from dsg_jax.priors import load_prior
from dsg_jax.priors.folder import card_name
from dsg_jax.solvers import SOLVERS
from dsg_jax.types import Prior
from experiments.checks import flag
from experiments.files import content_hash
from experiments.papers.entry import Experiment, Row
from experiments.papers.settings import ReproduceSettings, changed
from experiments.restore.compute import Work, outstanding
from experiments.restore.plan import Plan, Problems, plan
from experiments.settings import RestoreSettings, as_table

# Solver -> how it is shortened without ``--full``; everything else is as in the reference.
REDUCED: dict[str, dict[str, Any]] = {
    "psld": {"steps": 50},
    "resample": {"steps": 50, "pixel_limit": 50, "latent_limit": 50},
    "daps": {"levels": 20},
    "latent-daps": {"levels": 10},
}
# Options of `reproduce` that are a length of some solvers under the same name.
LENGTHS = ("steps", "levels")
# Multiple of PSLD's published step that 50 steps take as their default: an assumption.
REDUCED_STEP = 8.0

# Kind ("pixel", "latent") -> prior and card.
Priors = dict[str, tuple[Prior, dict]]
# Task and folder of a plan: what two points have in common that have the same images.
Place = tuple[str, Path]


class Point(NamedTuple):
    """One row on one task at one value of what is varied (None: nothing is).

    Attributes:
      settings: of all seeds.
      plans: one for every seed.
    """

    task: str
    row: Row
    x: float | None
    settings: RestoreSettings
    plans: list[Plan]


class PlannedExperiment(NamedTuple):
    """An experiment, ready to start.

    Attributes:
      absent: task and row of what is not run, and why: these have the paper's value only.
    """

    experiment: Experiment
    points: list[Point]
    absent: list[tuple[str, Row, str]]

    @property
    def plans(self) -> dict[Place, Plan]:
        """The plans, each once."""
        return {(point.task, plan.out): plan for point in self.points for plan in point.plans}


def works_of(planned: list[PlannedExperiment]) -> dict[Place, list[Work]]:
    """The work on every plan of several experiments; what these share is there once."""
    plans = {place: plan for one in planned for place, plan in one.plans.items()}
    # In the order of the plans, so that the works of a plan follow each other.
    works = outstanding(list(plans.values()))
    return {
        place: list(members)
        for place, members in groupby(works, lambda work: (work.job.task, work.planned.out))
    }


def chosen_priors(names: tuple[str, ...], verify: bool = True) -> Priors:
    """The priors named, at most one of each kind."""
    priors: Priors = {}
    for name in names:
        prior, card = load_prior(name, verify=verify)
        kind = "pixel" if prior.first_stage is None else "latent"
        if kind in priors:
            raise ValueError(f"--prior {name}: there is another {kind} prior: give one of each")
        priors[kind] = (prior, card)
    return priors


# Options of `reproduce` that only some solvers take.
OF_SOLVERS = {
    **{length: [s for s, names in REDUCED.items() if length in names] for length in LENGTHS},
    **dict.fromkeys(("base_step", "large_step"), ["psld"]),
    "limit": ["resample"],
}


def check_effects(settings: ReproduceSettings, chosen: list[Experiment]) -> None:
    """Raise ValueError for an option that changes nothing of the experiments that are chosen."""
    options = changed(settings)
    rows = [row for experiment in chosen for row in experiment.rows]
    idle = {
        name: f"no row is of {' or '.join(solvers)}"
        for name, solvers in OF_SOLVERS.items()
        if not any(row.solver in solvers for row in rows)
    }
    if not any(TASKS[task].checkpoint for one in chosen for task in one.tasks):
        idle["blur_network"] = "no task is nonlinear_deblur"
    if not any(row.step == "large" for row in rows):
        idle["large_step"] = "no row has the large step"
    if settings.list:
        idle |= {name: "--list computes nothing" for name in options if name != "name"}
    if not settings.images:
        idle["fit"] = "the bundled samples are cropped"
    if settings.fit == "none":
        idle["size"] = "--fit none keeps every image as it is"
    for name in options:
        if name in idle and name != "list":
            raise ValueError(f"{flag(name)} changes nothing here, for {idle[name]}: drop it")


def why_absent(row: Row, task: str, priors: Priors, settings: ReproduceSettings) -> str:
    """Why a row of a task cannot be run, "" if it can."""
    if SOLVERS[row.solver].prior not in priors:
        return f"no {SOLVERS[row.solver].prior} prior is given"
    is_network_missing = TASKS[task].checkpoint and not settings.blur_network
    return "needs --blur-network" if is_network_missing else ""


def psld_step(settings: ReproduceSettings, step: str = "default") -> float:
    """The default or the large step of PSLD over its published one."""
    default = settings.base_step or (1.0 if settings.full else REDUCED_STEP)
    return default * settings.large_step if step == "large" else default


def solver_options(row: Row, preset: str, settings: ReproduceSettings) -> dict[str, Any]:
    """The options of a row's solver: its length, step and preset, then what the row sets."""
    reduced = REDUCED[row.solver]
    lengths = {
        "steps": settings.steps,
        "levels": settings.levels,
        "pixel_limit": settings.limit,
        "latent_limit": settings.limit,
    }
    return {
        **({} if settings.full else reduced),
        **{n: v for n, v in lengths.items() if v is not None and n in reduced},
        **({"step_factor": psld_step(settings, row.step)} if row.solver == "psld" else {}),
        **({"preset": preset} if row.solver == "resample" else {}),
        **row.options,
    }


def settings_at(
    experiment: Experiment, task: str, row: Row, x: float | None, settings: ReproduceSettings
) -> RestoreSettings:
    """What `restore` is to do for a row of a task at a value of what is varied, for all seeds."""
    preset = settings.preset or experiment.preset
    method, common = row.method, settings.for_restore()
    if not (row.is_plain or method.rank_rule):
        method = replace(
            method, rank_rule=(SOLVERS["resample"].projection_defaults(preset=preset)["rule"],)
        )
    whole = replace(
        common,
        measurement=replace(common.measurement, task=(task,)),
        task_options={"blur_network": settings.blur_network} if TASKS[task].checkpoint else {},
        method=method,
        solver_options=solver_options(row, preset, settings),
        run=replace(common.run, samples=experiment.samples.get(task, 1)),
    )
    return whole if experiment.sweep is None or x is None else experiment.sweep.applied(whole, x)


def plan_experiment(
    experiment: Experiment,
    settings: ReproduceSettings,
    priors: Priors,
    problems: dict[tuple, Problems],
) -> PlannedExperiment:
    """Plans for every row, task, value and seed; reads files and writes none.

    Args:
      experiment: an entry of `papers.command.EXPERIMENTS`.
      settings: of ``reproduce``.
      priors: `chosen_priors`.
      problems: of all experiments so far, taken from here and put here.
    """
    cells = [
        (task, row, why_absent(row, task, priors, settings))
        for task in experiment.tasks
        for row in experiment.rows
    ]
    xs = experiment.sweep.values if experiment.sweep else (None,)
    points = []
    for task, row, x in [(task, row, x) for task, row, why in cells if not why for x in xs]:
        whole = settings_at(experiment, task, row, x, settings)
        plans = [plan_seed(whole, seed, priors, problems) for seed in settings.seeds]
        points.append(Point(task, row, x, whole, plans))
    return PlannedExperiment(experiment, points, [cell for cell in cells if cell[2]])


def plan_seed(
    whole: RestoreSettings, seed: int, priors: Priors, problems: dict[tuple, Problems]
) -> Plan:
    """The plan of one seed, in a folder named by its settings: where these recur, so do images."""
    method, sigma = whole.method, whole.measurement.sigma
    kind = SOLVERS[method.solver[0]].prior
    facts = {
        "images": as_table(replace(whole.images, count=None, fit=whole.images.fit or "crop")),
        "sigma": sigma,
        "method": as_table(method),
        "options": dict(whole.solver_options),
        "samples": whole.run.samples,
    }
    name = "-".join(
        [
            *method.solver,
            *([] if method.projection == "none" else [method.source]),
            f"seed{seed}",
            content_hash(facts)[:8],
        ]
    )
    out = whole.run.out / "runs" / card_name(priors[kind][1]) / name
    whole = replace(whole, run=replace(whole.run, seed=(seed,), out=out))
    # Problems depend on prior and noise beside task and seed, which are their keys.
    return plan(whole, priors[kind], problems.setdefault((kind, sigma), {}))

"""From an experiment of the papers to plans of `restore`; reads files and writes none."""

from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from dsg_jax.operators.tasks import TASKS
from dsg_jax.priors.folder import card_name
from dsg_jax.solvers import SOLVERS
from experiments.files import array_hash, content_hash
from experiments.papers.entry import Experiment, Row
from experiments.papers.priors import Priors, about_prior
from experiments.papers.settings import ReproduceSettings
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
# Multiple of PSLD's published step that 50 steps take as their default: an assumption.
REDUCED_STEP = 8.0

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
      priors: solver -> its prior in words, of the solvers that are run.
    """

    experiment: Experiment
    points: list[Point]
    absent: list[tuple[str, Row, str]]
    priors: dict[str, str]

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


def about_priors(planned: list[PlannedExperiment]) -> str:
    """A line for every solver of some experiments: its prior, or why it is not run."""
    lines = [words for one in planned for words in one.priors.values()]
    for task, row, why in (cell for one in planned for cell in one.absent):
        is_missing = row.solver not in {name for one in planned for name in one.priors}
        lines.append(f"{SOLVERS[row.solver].title if is_missing else task}: not run, {why}")
    return "\n".join(dict.fromkeys(lines))


def why_absent(row: Row, task: str, priors: Priors, settings: ReproduceSettings) -> str:
    """Why a row of a task cannot be run, "" if it can."""
    if row.solver not in priors:
        return f"no {SOLVERS[row.solver].prior} prior is given"
    if SOLVERS[row.solver].operator == "linear" and not TASKS[task].linear:
        return "needs a linear task"
    is_network_missing = TASKS[task].checkpoint and not settings.blur_network
    return "needs --blur-network" if is_network_missing else ""


def psld_step(settings: ReproduceSettings, step: str = "default") -> float:
    """The default or the large step of PSLD over its published one."""
    default = settings.base_step or (1.0 if settings.full else REDUCED_STEP)
    return default * settings.large_step if step == "large" else default


def solver_options(row: Row, preset: str, settings: ReproduceSettings) -> dict[str, Any]:
    """The options of a row's solver: its length, step and preset, then what the row sets."""
    reduced = REDUCED.get(row.solver, {})
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
        run=replace(
            common.run,
            samples=experiment.samples.get(task, 1),
            operator_seed=settings.operator_seed if TASKS[task].random else None,
        ),
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
      experiment: an entry of `papers.choice.EXPERIMENTS`.
      settings: of ``reproduce``.
      priors: `papers.priors.chosen_priors`.
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
    solvers = dict.fromkeys(point.row.solver for point in points)
    images = settings.for_restore().images
    about = {name: about_prior(name, priors[name].card, images) for name in solvers}
    return PlannedExperiment(experiment, points, [cell for cell in cells if cell[2]], about)


def plan_seed(
    whole: RestoreSettings, seed: int, priors: Priors, problems: dict[tuple, Problems]
) -> Plan:
    """The plan of one seed, in a folder named by its settings: where these recur, so do images."""
    solver, sigma = whole.method.solver[0], whole.measurement.sigma
    network, card, identity = priors[solver]
    whole = replace(whole, run=replace(whole.run, seed=(seed,)))
    if not card.get("classes"):  # of two priors one may take classes, as `check_classes` has seen
        whole = replace(whole, images=replace(whole.images, class_label=None))
    # Problems depend on size and noise beside task and seed, which are their keys.
    posed = problems.setdefault((card["size"], card["size_multiple"], sigma), {})
    planned = plan(whole, (network, card), posed, identity)
    images = as_table(replace(whole.images, count=None, fit=whole.images.fit or "crop"))
    first = planned.jobs[0].items[0].picture.pixels
    if whole.images.images and first is not None:
        # Wherever the user's files lie and however many they are, the same runs share a folder.
        images["images"] = array_hash(first)
    facts: dict[str, Any] = {
        "images": images,
        "sigma": sigma,
        "method": as_table(whole.method),
        "options": dict(whole.solver_options),
        "samples": whole.run.samples,
        **whole.arithmetic.facts,
    }
    if whole.run.operator_seed is not None:  # left out otherwise, so that names of folders stay
        facts["operator_seed"] = whole.run.operator_seed
    name = "-".join(
        [
            solver,
            *([] if whole.method.projection == "none" else [whole.method.source]),
            f"seed{seed}",
            content_hash(facts)[:8],
        ]
    )
    return planned._replace(out=whole.run.out / "runs" / card_name(card) / name)

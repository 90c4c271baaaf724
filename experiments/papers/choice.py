"""The experiments by name, and what is chosen of them: tasks and rows."""

from collections.abc import Callable

import jax

from dsg_jax.operators.tasks import TASKS
from experiments.checks import flag
from experiments.papers.entry import Experiment
from experiments.papers.figures import FIGURES
from experiments.papers.maps import MAPS
from experiments.papers.settings import ReproduceSettings, changed
from experiments.papers.studies import STUDIES
from experiments.papers.tables import TABLES

# Every table and measured figure of the two papers by name, and our own studies.
EXPERIMENTS = {experiment.name: experiment for experiment in (*TABLES, *FIGURES, *STUDIES, *MAPS)}
# What "all" stands for; a map is hours of work of its own.
EVERY = [experiment.name for experiment in (*TABLES, *FIGURES, *STUDIES)]
# Option that chooses a part of an experiment -> the values that it may have there.
PARTS: dict[str, Callable[[Experiment], list[str]]] = {
    "task": lambda experiment: list(experiment.tasks),
    "solver": lambda experiment: [row.solver for row in experiment.rows],
    "row": lambda experiment: [row.label for row in experiment.rows],
}

# Option -> the solvers that it is for.
TAKERS = {
    "steps": ("psld", "resample"),
    "levels": ("daps", "latent-daps"),
    "limit": ("resample",),
    "base_step": ("psld",),
    "large_step": ("psld",),
}


def check_effects(experiments: list[Experiment], settings: ReproduceSettings) -> None:
    """Raise ValueError for an option that changes nothing of the experiments."""
    options, rows = changed(settings), [row for one in experiments for row in one.rows]
    is_free = lambda one: one.sweep is None or not one.sweep.lengths
    solvers = sorted({row.solver for one in experiments if is_free(one) for row in one.rows})
    others = f"the rows are of {', '.join(solvers)}" if solvers else "a map has its own lengths"
    idle = {
        option: f"is for {', '.join(takers)}, and {others}"
        for option, takers in TAKERS.items()
        if not set(takers) & set(solvers)
    }
    if not any(row.step == "large" for row in rows):
        idle.setdefault("large_step", "is for rows with the large step, and none is chosen")
    if not any(TASKS[task].checkpoint for one in experiments for task in one.tasks):
        idle["blur_network"] = "is for nonlinear_deblur, which is not chosen"
    if not any(TASKS[task].random for one in experiments for task in one.tasks):
        idle["operator_seed"] = "is for random masks and kernels, and no task draws any"
    if not settings.images:
        idle["fit"] = "is for --images, and the bundled samples are cropped"
    if settings.fit == "none":
        idle["size"] = "is not for --fit none, which keeps every image as it is"
    if settings.shard:
        idle["fid"] = "is for tables, and a shard writes none"
    if settings.fid is None:
        idle["fid_few"] = "is about --fid, which is not given"
    if jax.default_backend() == "cpu":
        idle["matmul_precision"] = "is for GPUs and TPUs, a CPU computes every product in float32"
    if settings.list:
        idle |= {name: "is for a run, and --list computes nothing" for name in options}
    for option in options:
        if option in idle and option not in ("list", "name", *PARTS):
            raise ValueError(f"{flag(option)} {idle[option]}: drop it")


def chosen_experiments(settings: ReproduceSettings) -> list[Experiment]:
    """The experiments named, in their order, with the tasks and rows that are chosen.

    "all" stands for every one of `EVERY` that has something of these.

    Raises:
      ValueError: no name or one that is none of them, or a task or a row that they do not have.
    """
    names = settings.name or (tuple(EXPERIMENTS) if settings.list else ())
    unknown = [name for name in names if name not in ("all", *EXPERIMENTS)]
    if unknown or not names:
        wrong = f"unknown experiment {unknown[0]!r}" if unknown else "no experiment is named"
        raise ValueError(f"{wrong}: choose from all, {', '.join(EXPERIMENTS)}")
    every = dict.fromkeys(one for name in names for one in (EVERY if name == "all" else [name]))
    whole = [EXPERIMENTS[name] for name in every]
    for option, values_of in PARTS.items():
        known = dict.fromkeys(value for one in whole for value in values_of(one))
        for value in getattr(settings, option):
            if value not in known:
                raise ValueError(
                    f"{flag(option)} {value}: {' '.join(names)} has none: choose from"
                    f" {'; '.join(known)}"
                )
    parts = [chosen_part(one, settings) for one in whole]
    empty = [one.name for one in parts if not (one.tasks and one.rows)]
    named = [name for name in empty if name in names]
    if named or len(empty) == len(parts):
        raise ValueError(
            f"nothing is left of {', '.join(named or names)} with"
            f" {' '.join(words_of_choice(settings))}: drop one of these"
        )
    return [one for one in parts if one.name not in empty]


def chosen_part(experiment: Experiment, settings: ReproduceSettings) -> Experiment:
    """An experiment with the tasks and rows that are chosen, all where none are."""
    task, solver, row = (getattr(settings, option) for option in PARTS)
    tasks = tuple(one for one in experiment.tasks if not task or one in task)
    rows = tuple(
        one
        for one in experiment.rows
        if (not solver or one.solver in solver) and (not row or one.label in row)
    )
    labels = {one.label for one in rows}
    left_out = (
        *(one for one in experiment.tasks if one not in tasks),
        *(one.label for one in experiment.rows if one.label not in labels),
    )
    return experiment._replace(tasks=tasks, rows=rows, left_out=left_out)


def words_of_choice(settings: ReproduceSettings) -> list[str]:
    """The options that choose parts, as a command line has them."""
    chosen = {option: getattr(settings, option) for option in PARTS}
    return [" ".join([flag(option), *values]) for option, values in chosen.items() if values]

"""From arguments to what they stand for: tasks, projections, a solver with its settings."""

import itertools
import math
from argparse import Namespace

import numpy as np

from dsg_jax.projection import state_projection
from dsg_jax.settings import DAPS_TAU_Y, DPS_SCALE, daps_settings
from dsg_jax.solvers.dps import dps_steps
from dsg_jax.tasks import TASKS
from dsg_jax.types import Prior, Projection
from experiments.runner import Method

OPTIONS = {
    "dps": ("steps", "scale"),
    "daps": ("variant", "inner", "levels", "ode_steps", "inner_steps", "tau_y"),
}
"""Solver -> arguments that it alone takes; None leaves a setting as the reference has it."""

TASK_OPTIONS = {
    "box": "box",
    "margin": "margin",
    "hidden_low": "low",
    "hidden_high": "high",
    "kernel_size": "size",
    "std": "std",
    "intensity": "intensity",
    "factor": "factor",
    "oversample": "oversample",
    "exposure": "scale",
}
"""Argument -> the option of `dsg_jax.tasks` that it sets, for the tasks that know it."""

NEEDS_CHECKPOINT = ("nonlinear_deblur",)
"""Tasks that "all" leaves out."""


def check_numbers(arguments: Namespace) -> None:
    """Raise ValueError for a number out of range, or an option of the other solver."""
    least = {"samples": 1, "batch_size": 1, "count": 1, "seed": 0, "size": 1, "steps": 2}
    least |= {"levels": 2, "ode_steps": 2, "inner_steps": 1}
    for name, bound in least.items():
        value = getattr(arguments, name)
        if value is not None and value < bound:
            raise ValueError(f"--{name.replace('_', '-')} {value}: give a whole number >= {bound}")
    if arguments.seed >= 2**32:
        raise ValueError(f"--seed {arguments.seed}: give a number below 2^32")
    if not math.isfinite(arguments.failure_psnr):
        raise ValueError(f"--failure-psnr {arguments.failure_psnr}: give a number of dB")
    if not (math.isfinite(arguments.sigma) and arguments.sigma >= 0):
        raise ValueError(f"--sigma {arguments.sigma}: give a noise level >= 0 in units of [-1, 1]")
    if arguments.tau_y is not None and not (math.isfinite(arguments.tau_y) and arguments.tau_y > 0):
        raise ValueError(f"--tau-y {arguments.tau_y}: give a standard deviation > 0")
    if arguments.out.exists() and not arguments.out.is_dir():
        raise ValueError(f"--out {arguments.out} is a file: name a folder")
    for solver, names in OPTIONS.items():
        given = [name for name in names if getattr(arguments, name) is not None]
        if solver != arguments.solver and given:
            name = given[0].replace("_", "-")
            raise ValueError(f"--{name} is an option of {solver}: drop it or use --solver {solver}")


def chosen_tasks(arguments: Namespace) -> list[str]:
    """The tasks named, in their order; "all" stands for every one."""
    every = [name for name in TASKS if name not in NEEDS_CHECKPOINT]
    given = [every if name == "all" else [name] for name in arguments.task]
    names = list(dict.fromkeys(itertools.chain(*given)))
    for name in names:
        if name not in TASKS:
            raise ValueError(f"unknown task {name!r}: choose from all, {', '.join(TASKS)}")
    taken = {argument for name in names for argument in given_options(arguments, name)}
    for argument in TASK_OPTIONS:
        if getattr(arguments, argument) is not None and argument not in taken:
            shown = argument.replace("_", "-")
            raise ValueError(f"--{shown} is no option of {', '.join(names)}: drop it")
    return names


def given_options(arguments: Namespace, task: str) -> list[str]:
    """The arguments given that are options of a task."""
    known = TASKS[task].build.__kwdefaults__ or {}
    names = [name for name, option in TASK_OPTIONS.items() if option in known]
    return [name for name in names if getattr(arguments, name) is not None]


def task_options(arguments: Namespace, task: str) -> dict:
    """The options given for a task, as `operator_for` takes them."""
    names = given_options(arguments, task)
    return {TASK_OPTIONS[name]: getattr(arguments, name) for name in names}


def chosen_projections(arguments: Namespace) -> list[tuple[str, Projection | None, dict | None]]:
    """(folder and label of the method, projection, its description) for each to run."""
    described = {
        "tau": arguments.tau,
        "rule": arguments.rank_rule,
        "period": arguments.period,
        "sides": arguments.sides,
    }
    with_state = (f"{arguments.solver}-dsg", state_projection(**described), described)
    both = [(arguments.solver, None, None), with_state]
    return {"both": both, "none": both[:1], "state": both[1:]}[arguments.projection]


def chosen_method(arguments: Namespace, task: str, prior: Prior) -> tuple[Method, dict]:
    """The solver with its arrays and static settings; and the settings as JSON values."""
    names = OPTIONS[arguments.solver]
    given = {n: v for n in names if (v := getattr(arguments, n)) is not None}
    if arguments.solver == "daps":
        tau_y = given.pop("tau_y", DAPS_TAU_Y)
        levels, keywords = daps_settings(task, **given)
        keywords["tau_y"] = tau_y
        arrays = ("momentum", "tau_y")
        static = tuple((k, v) for k, v in keywords.items() if k not in arrays)
        traced = {k: v for k, v in keywords.items() if k in arrays} | {"steps": levels}
        described = {"levels": len(levels.sigma), "ode_steps": levels.ode_sigma.shape[1]}
        return Method("daps", traced, static), keywords | described
    total = len(prior.betas)
    count = given.get("steps", total)
    if count > total:
        raise ValueError(f"--steps {count}: the prior has {total} diffusion times")
    times = np.round(np.linspace(0, total - 1, count)).astype(int)
    scale = given.get("scale", DPS_SCALE[task])
    steps = dps_steps(np.asarray(prior.betas), times)
    return Method("dps", {"steps": steps, "scale": scale}, ()), {"steps": count, "scale": scale}

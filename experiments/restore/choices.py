"""From arguments to what they stand for: tasks and projections."""

import itertools
import math
from argparse import Namespace
from collections.abc import Sequence
from functools import cache

import jax

from dsg_jax.operators.blur_network import MISSING, load_blur_network
from dsg_jax.operators.tasks import TASKS
from dsg_jax.projection import state_projection
from dsg_jax.types import Projection
from experiments.files import array_hash
from experiments.restore.methods import OPTIONS, projection_defaults

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
    "blur_network": "network",
}
"""Argument -> the option of `dsg_jax.operators.tasks` that it sets, for the tasks that know it."""

NEEDS_CHECKPOINT = ("nonlinear_deblur",)
"""Tasks that "all" leaves out unless ``--blur-network`` is given."""

_network = cache(load_blur_network)


def check_numbers(arguments: Namespace) -> None:
    """Raise ValueError for a number out of range, or an option of the other solver."""
    least = {"samples": 1, "batch_size": 1, "count": 1, "seed": 0, "size": 1, "steps": 2}
    least |= {"levels": 2, "ode_steps": 2, "inner_steps": 1}
    least |= {"pixel_limit": 1, "latent_limit": 1, "save_every": 1, "microbatch": 1}
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
    for name in (
        "tau_y",
        "scale",
        "gamma",
        "omega",
        "zeta",
        "step_factor",
        "save_minutes",
        "memory",
    ):
        value = getattr(arguments, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ValueError(f"--{name.replace('_', '-')} {value}: give a finite number > 0")
    if arguments.eta is not None and not 0 <= arguments.eta <= 1:
        raise ValueError(f"--eta {arguments.eta}: give a value from 0 (DDIM) to 1 (DDPM)")
    if arguments.out.exists() and not arguments.out.is_dir():
        raise ValueError(f"--out {arguments.out} is a file: name a folder")
    for name in dict.fromkeys(itertools.chain(*OPTIONS.values())):
        if getattr(arguments, name) is not None and name not in OPTIONS[arguments.solver]:
            owners = " or ".join(solver for solver, names in OPTIONS.items() if name in names)
            shown = name.replace("_", "-")
            raise ValueError(f"--{shown} is an option of {owners}: drop it or change --solver")


def check_once(name: str, values: Sequence) -> None:
    """Raise ValueError where a list of an option has an entry twice."""
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"--{name.replace('_', '-')} names {value} twice: drop one")


def chosen_tasks(arguments: Namespace) -> list[str]:
    """The tasks named, in their order; "all" stands for every one."""
    left_out = () if arguments.blur_network else NEEDS_CHECKPOINT
    every = [name for name in TASKS if name not in left_out]
    given = [every if name == "all" else [name] for name in arguments.task]
    names = list(dict.fromkeys(itertools.chain(*given)))
    for name in names:
        if name not in TASKS:
            raise ValueError(f"unknown task {name!r}: choose from all, {', '.join(TASKS)}")
        if name in left_out:
            raise ValueError(MISSING)
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
    """The options given for a task, as `operator_for` takes them; a network is loaded once."""
    names = given_options(arguments, task)
    options = {TASK_OPTIONS[name]: getattr(arguments, name) for name in names}
    if "network" in options:
        options["network"] = _network(options["network"])
    return options


def described_options(options: dict) -> dict:
    """The same as JSON values: a network is what its weights hash to."""
    arrays = {n: array_hash(*jax.tree.leaves(v)) for n, v in options.items() if n == "network"}
    return options | arrays


def chosen_projections(arguments: Namespace) -> list[tuple[str, Projection | None, dict | None]]:
    """(folder and label of the method, projection, its description) for each to run."""
    rule, period = projection_defaults(arguments)
    described = {
        "tau": arguments.tau,
        "rule": arguments.rank_rule or rule,
        "period": period if arguments.period is None else arguments.period,
        "sides": arguments.sides,
    }
    label = f"{arguments.solver}-dsg"
    if arguments.source != "state":  # left out of the others, so that their hashes stay
        described["source"] = arguments.source
        label = f"{arguments.solver}-{arguments.source}"
    with_state = (label, state_projection(**described), described)
    both = [(arguments.solver, None, None), with_state]
    return {"both": both, "none": both[:1], "state": both[1:]}[arguments.projection]

"""What a restoration run will do, checked to the end before anything is computed or written."""

import itertools
import math
from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from dsg_jax.measurement import measure
from dsg_jax.priors import load_prior
from dsg_jax.projection import state_projection
from dsg_jax.samples import SAMPLES
from dsg_jax.settings import DPS_SCALE, daps_settings
from dsg_jax.solvers.dps import dps_steps
from dsg_jax.tasks import TASKS, operator_for
from dsg_jax.types import Prior, Problem, Projection
from experiments.images import Picture, image_files, load_pictures, sample_pictures
from experiments.measured import check_camera, measured_problem
from experiments.records import array_hash, content_hash, installed, read_records
from experiments.runner import Method, item_key

OPTIONS = {
    "dps": ("steps", "scale"),
    "daps": ("variant", "inner", "levels", "ode_steps", "inner_steps"),
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

_MEASUREMENT = 2**31 - 1  # sample number whose key draws the measurement noise


class Item(NamedTuple):
    """One posterior sample of one image."""

    picture: Picture
    sample: int
    problem: Problem
    identity: str
    """Hash of everything that influences the result."""
    png: str
    """Where the restored image goes, relative to the output folder."""


class Job(NamedTuple):
    """The items that share one compiled program."""

    task: str
    label: str
    shape: tuple[int, int, int]
    method: Method
    projection: Projection | None
    settings: dict
    items: list[Item]


class Plan(NamedTuple):
    """A run, ready to start."""

    out: Path
    prior: Prior
    jobs: list[Job]
    records: list[dict]
    """Lines of an earlier run into the same folder."""
    arguments: Namespace


def plan(arguments: Namespace, prior: tuple[Prior, dict] | None = None) -> Plan:
    """Check the arguments of ``restore`` and lay out its work; reads files and writes none.

    Args:
      arguments: as parsed by ``experiments.__main__``.
      prior: a prior and its card, in place of ``arguments.prior``.

    Raises:
      ValueError, OSError: something the user gave is wrong; the message names it.
    """
    check_numbers(arguments)
    tasks = chosen_tasks(arguments)
    check_camera(arguments, tasks)
    projections = chosen_projections(arguments)
    log = read_records(arguments.out / "metrics.jsonl", {"hash", "png", "png_sha256"})
    prior, card = load_prior(arguments.prior) if prior is None else prior
    identity = content_hash({"card": card}) + array_hash(*jax.tree.leaves(prior))
    jobs = []
    for task in tasks:
        method, constants = chosen_method(arguments, task, prior)
        posed = posed_problems(arguments, task, card)
        for shape in dict.fromkeys(shape for _, _, shape, _ in posed):
            members = [entry for entry in posed if entry[2] == shape]
            for label, projection, described in projections:
                settings = {
                    "task": task,
                    "solver": arguments.solver,
                    "projection": described,
                    "shape": list(shape),
                    "sigma": arguments.sigma,
                    "seed": arguments.seed,
                    "prior": identity,
                    "version": installed("dsg_jax"),
                } | constants
                items = job_items(settings, label, members, arguments.samples)
                jobs.append(Job(task, label, shape, method, projection, settings, items))
    return Plan(arguments.out, prior, jobs, log, arguments)


def job_items(settings: dict, label: str, members: list[tuple], samples: int) -> list[Item]:
    """Every sample of every image; more images or more samples leave the others' identity alone."""
    items = []
    for picture, problem, _, inputs in members:
        for sample in range(samples):
            identity = content_hash(settings | inputs | {"index": picture.index, "sample": sample})
            folder = f"{settings['task']}/{label}"
            png = f"{folder}/{picture.name}_{sample}.png"
            items.append(Item(picture, sample, problem, identity, png))
    return items


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
    taken = {argument for name in names for argument in task_options(arguments, name)}
    for argument in TASK_OPTIONS:
        if getattr(arguments, argument) is not None and argument not in taken:
            shown = argument.replace("_", "-")
            raise ValueError(f"--{shown} is no option of {', '.join(names)}: drop it")
    return names


def task_options(arguments: Namespace, task: str) -> dict:
    """The arguments given that a task knows: argument -> value."""
    known = TASKS[task].build.__kwdefaults__ or {}
    given = {argument: getattr(arguments, argument) for argument in TASK_OPTIONS}
    return {a: v for a, v in given.items() if v is not None and TASK_OPTIONS[a] in known}


def chosen_projections(arguments: Namespace) -> list[tuple[str, Projection | None, dict | None]]:
    """(folder and label of the method, projection, its description) for each to run."""
    described = {
        "tau": arguments.tau,
        "rule": arguments.rank_rule,
        "period": arguments.period,
        "sides": arguments.sides,
    }
    with_state = (f"{arguments.solver}-dsg", state_projection(**described), described)
    plain = (arguments.solver, None, None)
    chosen = {"both": [plain, with_state], "none": [plain], "state": [with_state]}
    return chosen[arguments.projection]


def chosen_method(arguments: Namespace, task: str, prior: Prior) -> tuple[Method, dict]:
    """The solver with its arrays and static settings; and the settings as JSON values."""
    names = OPTIONS[arguments.solver]
    given = {n: v for n in names if (v := getattr(arguments, n)) is not None}
    if arguments.solver == "daps":
        steps, keywords = daps_settings(task, **given)
        static = tuple((k, v) for k, v in keywords.items() if k != "momentum")
        traced = {k: v for k, v in keywords.items() if k == "momentum"}
        described = keywords | {"levels": len(steps.sigma), "ode_steps": steps.ode_sigma.shape[1]}
        return Method("daps", traced | {"steps": steps}, static), described
    total = len(prior.betas)
    count = given.get("steps", total)
    if count > total:
        raise ValueError(f"--steps {count}: the prior has {total} diffusion times")
    times = np.round(np.linspace(0, total - 1, count)).astype(int)
    scale = given.get("scale", DPS_SCALE[task])
    steps = dps_steps(np.asarray(prior.betas), times)
    return Method("dps", {"steps": steps, "scale": scale}, ()), {"steps": count, "scale": scale}


def posed_problems(arguments: Namespace, task: str, card: dict) -> list[tuple]:
    """(picture, problem, shape of the image, what the problem was made of) for every image."""
    if arguments.measured:
        files = image_files(arguments.measured, also=(".npy",))[: arguments.count]
        return [measured_problem(arguments, task, file, card) for file in files]
    options = {TASK_OPTIONS[a]: value for a, value in task_options(arguments, task).items()}
    posed = []
    for picture in pictures(arguments, card):
        shape, seeds = picture.pixels.shape, (arguments.seed, picture.index)
        operator = operator_for(task, shape, seeds, **options)
        key = item_key(arguments.seed, picture.index, _MEASUREMENT)
        y = measure(key, operator, picture.pixels, arguments.sigma)
        inputs = {"pixels": array_hash(picture.pixels), "options": options}
        posed.append((picture, Problem(operator, y, arguments.sigma), shape, inputs))
    return posed


def pictures(arguments: Namespace, card: dict) -> list[Picture]:
    """The user's images, or the bundled samples that go with the prior."""
    common = {
        "size": arguments.size or card["size"],
        "multiple": card["size_multiple"],
        "channels": card["channels"],
        "count": arguments.count,
    }
    if arguments.images:
        return load_pictures(arguments.images, fit=arguments.fit, **common)
    return sample_pictures(arguments.prior if arguments.prior in SAMPLES else "photo", **common)

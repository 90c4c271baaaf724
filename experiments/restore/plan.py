"""What a restoration run will do, checked to the end before anything is computed or written."""

from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dsg_jax.operators.noise import measure
from dsg_jax.operators.tasks import operator_for
from dsg_jax.priors import load_prior
from dsg_jax.priors.latent import with_remat
from dsg_jax.priors.samples import SAMPLES
from dsg_jax.types import Prior, Problem, Projection
from experiments.files import array_hash, content_hash, installed, read_records
from experiments.images import Picture, image_files, load_pictures, readable, sample_pictures
from experiments.restore.batch import Method, item_key
from experiments.restore.choices import (
    check_numbers,
    chosen_projections,
    chosen_tasks,
    described_options,
    task_options,
)
from experiments.restore.devices import chosen_placement
from experiments.restore.measured import Posed, check_camera, measured_problem, read_measurement
from experiments.restore.methods import chosen_method, default_prior
from experiments.restore.resume import check_writable
from experiments.restore.store import FIELDS, LOG

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
    """Of the images."""
    method: Method
    projection: Projection | None
    settings: dict
    items: list[Item]


class Plan(NamedTuple):
    """A run, ready to start."""

    out: Path
    prior: Prior
    jobs: list[Job]
    arguments: Namespace


def plan(
    arguments: Namespace,
    prior: tuple[Prior, dict] | None = None,
    posed: dict[str, list[Posed]] | None = None,
) -> Plan:
    """Check the arguments of ``restore`` and lay out its work; reads files and writes none.

    Args:
      arguments: as parsed by ``experiments.__main__``.
      prior: a prior and its card, in place of ``arguments.prior``.
      posed: problems by task, taken from here and put here: for plans that differ in the method
        only, which then degrade every image once.

    Raises:
      ValueError, OSError: something the user gave is wrong; the message names it.
    """
    check_numbers(arguments)
    check_writable(arguments.out)
    tasks = chosen_tasks(arguments)
    check_camera(arguments, tasks)
    projections = chosen_projections(arguments)
    read_records(arguments.out / LOG, FIELDS)  # is it ours?
    name, placement = (
        arguments.prior or default_prior(arguments.solver),
        chosen_placement(arguments),
    )
    network, card = prior or load_prior(name, placement=placement)
    identity = content_hash({"card": card}) + array_hash(*jax.tree.leaves(network))
    network = with_remat(network) if arguments.remat else network
    shown = [] if arguments.measured else pictures(arguments, card)
    posed = {} if posed is None else posed
    jobs = []
    for task in tasks:
        method, constants = chosen_method(arguments, task, network)
        if task not in posed:
            posed[task] = posed_problems(arguments, task, card, shown)
        for shape in dict.fromkeys(entry.shape for entry in posed[task]):
            members = [entry for entry in posed[task] if entry.shape == shape]
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
    return Plan(arguments.out, network, jobs, arguments)


def job_items(settings: dict, label: str, members: list[Posed], samples: int) -> list[Item]:
    """Every sample of every image; more images or more samples leave the others' identity alone."""
    items = []
    for picture, problem, _, inputs in members:
        for sample in range(samples):
            own = {"index": picture.image_index, "sample": sample}
            png = f"{settings['task']}/{label}/{picture.name}_{sample}.png"
            items.append(Item(picture, sample, problem, content_hash(settings | inputs | own), png))
    return items


def posed_problems(
    arguments: Namespace, task: str, card: dict, shown: list[Picture]
) -> list[Posed]:
    """A task's problem for every picture, or for every measured image."""
    if arguments.measured:
        files = image_files(arguments.measured, also=(".npy",))[: arguments.count]
        read = lambda file: read_measurement(file, card["channels"], task == "phase_retrieval")
        given = readable(files, read)
        return [measured_problem(arguments, task, file, y, card) for file, y in given]
    options = task_options(arguments, task)
    described = described_options(options)
    posed = []
    for picture in shown:
        x = jnp.asarray(picture.pixels)
        h, w, c = x.shape
        operator = operator_for(task, (h, w, c), (arguments.seed, picture.image_index), **options)
        key = item_key(arguments.seed, picture.image_index, _MEASUREMENT)
        problem = Problem(operator, measure(key, operator, x, arguments.sigma), arguments.sigma)
        inputs = {"pixels": array_hash(x), "options": described}
        posed.append(Posed(picture, problem, (h, w, c), inputs))
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
    names = (card.get("samples"), card.get("name"), "photo")
    return sample_pictures(next(name for name in names if name in SAMPLES), **common)

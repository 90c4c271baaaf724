"""What a restoration run will do, checked to the end before anything is computed or written."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dsg_jax.operators.noise import measure
from dsg_jax.operators.tasks import TASKS, operator_for
from dsg_jax.priors import load_prior
from dsg_jax.priors.latent import with_remat
from dsg_jax.priors.samples import SAMPLES
from dsg_jax.solvers import SOLVERS, SolverEntry
from dsg_jax.types import Prior, Problem
from experiments.files import array_hash, content_hash, installed
from experiments.images import Picture, image_files, load_pictures, readable, sample_pictures
from experiments.restore.batch import item_key
from experiments.restore.choices import MethodChoice, chosen_methods, chosen_tasks, task_options
from experiments.restore.devices import chosen_placement
from experiments.restore.jobs import Item, Job, Plan
from experiments.restore.measured import (
    PosedProblem,
    check_camera,
    measured_problem,
    read_measurement,
)
from experiments.settings import Images, RestoreSettings

_MEASUREMENT = 2**31 - 1  # sample number whose key draws the measurement noise
# What a solver works on -> the bundled prior that it gets where none is named.
DEFAULT_PRIORS = {"pixel": "emoji", "latent": "emoji-64-ldm"}

# Problems by task and seed.
Problems = dict[tuple[str, int], list[PosedProblem]]


def plan(
    settings: RestoreSettings,
    prior: tuple[Prior, dict] | None = None,
    problems: Problems | None = None,
    identity: str | None = None,
) -> Plan:
    """Check the settings of ``restore`` and lay out its work; reads files and writes none.

    Args:
      settings: of the whole run.
      prior: a prior and its card, in place of the one that the settings name.
      problems: taken from here and put here: for plans that differ in the method only, which then
        degrade every image once.
      identity: `prior_identity` of the prior, where it is known: hashing a large one takes seconds.

    Raises:
      ValueError, OSError: something the user gave is wrong; the message names it.
    """
    tasks = chosen_tasks(settings)
    check_camera(settings, tasks)
    methods = chosen_methods(settings)
    network, card = prior or load_prior(
        settings.method.prior or DEFAULT_PRIORS[methods[0].entry.prior],
        placement=chosen_placement(settings.devices),
    )
    for method in methods:
        check_prior(method.entry, network)
        check_operators(method.entry, tasks)
    identity = identity or prior_identity(network, card)
    network = with_remat(network) if settings.run.remat else network
    problems = {} if problems is None else problems
    is_posed = all((task, seed) in problems for task in tasks for seed in settings.run.seed)
    is_read = not (settings.images.measured or is_posed)
    pictures = chosen_pictures(settings.images, card) if is_read else []
    jobs = []
    for task in tasks:
        for seed in settings.run.seed:
            if (task, seed) not in problems:
                problems[task, seed] = posed_problems(settings, task, seed, card, pictures)
            for method in methods:
                jobs += jobs_of(
                    settings, task, seed, method, network, identity, problems[task, seed]
                )
    return Plan(settings.run.out, network, jobs, settings)


def prior_identity(prior: Prior, card: dict) -> str:
    """A hash of a prior's card and arrays."""
    return content_hash({"card": card}) + array_hash(*jax.tree.leaves(prior))


def jobs_of(
    settings: RestoreSettings,
    task: str,
    seed: int,
    method: MethodChoice,
    prior: Prior,
    identity: str,
    problems: list[PosedProblem],
) -> list[Job]:
    """One job for every shape of the problems: images of another shape need another program."""
    solver_settings = method.entry.settings_for(
        task, np.asarray(prior.betas, np.float64), **method.options
    )
    suffix = f"-seed{seed}" if len(settings.run.seed) > 1 else ""
    label = method.label + suffix
    jobs = []
    for shape in dict.fromkeys(posed.shape for posed in problems):
        facts = {
            "task": task,
            "solver": method.entry.name,
            "projection": method.facts,
            "shape": list(shape),
            "sigma": settings.measurement.sigma,
            "seed": seed,
            "prior": identity,
            "version": installed("dsg_jax"),
        } | settings_facts(solver_settings)
        members = [posed for posed in problems if posed.shape == shape]
        jobs.append(
            Job(
                task=task,
                label=label,
                title=method.title + suffix.replace("-", ", ").replace("seed", "seed "),
                seed=seed,
                shape=shape,
                solver=method.entry.name,
                solver_settings=solver_settings,
                projection=method.projection,
                facts=facts,
                items=items_of(facts, label, members, settings.run.samples),
            )
        )
    return jobs


def items_of(facts: dict, label: str, problems: list[PosedProblem], samples: int) -> list[Item]:
    """Every sample of every image; more images or more samples leave the others' identity alone."""
    items = []
    for posed in problems:
        for sample in range(samples):
            place = {"index": posed.picture.image_index, "sample": sample}
            png = f"{facts['task']}/{label}/{posed.picture.name}_{sample}.png"
            identity = content_hash(facts | posed.inputs | place)
            items.append(Item(posed.picture, sample, posed.problem, identity, png))
    return items


def settings_facts(solver_settings: Any) -> dict:
    """A solver's settings as JSON values; arrays are their longest shape and a hash of them all."""
    facts: dict[str, Any] = {}
    for entry in dataclasses.fields(solver_settings):
        value = getattr(solver_settings, entry.name)
        shapes = [list(np.shape(leaf)) for leaf in jax.tree.leaves(value)]
        if any(shapes):
            facts[entry.name] = [max(shapes, key=len), array_hash(*jax.tree.leaves(value))]
        else:
            facts[entry.name] = value._asdict() if hasattr(value, "_asdict") else value
    return facts


def posed_problems(
    settings: RestoreSettings, task: str, seed: int, card: dict, pictures: list[Picture]
) -> list[PosedProblem]:
    """A task's problem for every picture, or for every measured image."""
    if settings.images.measured:
        files = image_files(list(settings.images.measured), also=(".npy",))
        read = lambda file: read_measurement(file, card["channels"], TASKS[task].magnitude)
        measured = readable(files[: settings.images.count], read)
        return [measured_problem(settings, task, seed, file, y, card) for file, y in measured]
    options, facts = task_options(settings, task)
    sigma = settings.measurement.sigma
    posed = []
    for picture in pictures:
        x = jnp.asarray(picture.pixels)
        h, w, c = x.shape
        operator = operator_for(task, (h, w, c), (seed, picture.image_index), **options)
        key = item_key(seed, picture.image_index, _MEASUREMENT)
        problem = Problem(operator, measure(key, operator, x, sigma), sigma)
        inputs = {"pixels": array_hash(x), "options": facts}
        posed.append(PosedProblem(picture, problem, (h, w, c), inputs))
    return posed


def chosen_pictures(images: Images, card: dict) -> list[Picture]:
    """The user's images, or the bundled samples that go with the prior."""
    common: dict[str, Any] = {
        "size": images.size or card["size"],
        "multiple": card["size_multiple"],
        "channels": card["channels"],
        "count": images.count,
    }
    if images.images:
        return load_pictures(list(images.images), fit=images.fit, **common)
    return sample_pictures(samples_of(card), **common)


def samples_of(card: dict) -> str:
    """The bundled samples that go with a prior."""
    names = (card.get("samples"), card.get("name"), "photo")
    return next(name for name in names if name in SAMPLES)


def check_operators(entry: SolverEntry, tasks: list[str]) -> None:
    """Raise ValueError where a solver wants a linear operator and a task has none."""
    nonlinear = [task for task in tasks if not TASKS[task].linear]
    if entry.operator == "linear" and nonlinear:
        others = [e.name for e in SOLVERS.values() if (e.prior, e.operator) == (entry.prior, "any")]
        raise ValueError(
            f"{entry.name} needs a linear task and {nonlinear[0]} is none: use {', '.join(others)}"
        )


def check_prior(entry: SolverEntry, prior: Prior) -> None:
    """Raise ValueError where a solver and a prior do not fit."""
    kind = "pixel" if prior.first_stage is None else "latent"
    if entry.prior != kind:
        others = ", ".join(name for name, other in SOLVERS.items() if other.prior == kind)
        raise ValueError(
            f"{entry.name} works on {entry.prior}s and this prior on {kind}s: use {others}"
        )

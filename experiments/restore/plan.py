"""What a restoration run will do, checked to the end before anything is computed or written."""

import dataclasses
from typing import Any

import jax
import numpy as np

from dsg_jax.checkpoints import load_prior
from dsg_jax.checks import MOST_STEPS
from dsg_jax.priors.latent import with_remat
from dsg_jax.priors.samples import SAMPLES
from dsg_jax.types import Prior
from dsg_jax.user_code import code_facts, file_name
from experiments.fields import check_options, units_of
from experiments.files import array_hash, content_hash, installed
from experiments.images import Picture, load_pictures, sample_pictures
from experiments.programs import state_shape
from experiments.restore.batch import check_jobs
from experiments.restore.choices import (
    MethodChoice,
    chosen_methods,
    chosen_tasks,
    solver_settings,
)
from experiments.restore.classes import labelled
from experiments.restore.compatible import check_noise, check_operators, check_prior
from experiments.restore.devices import chosen_placement
from experiments.restore.earlier import check_earlier, check_names, input_names
from experiments.restore.jobs import Item, Job, Plan
from experiments.restore.measured import PosedProblem, check_camera, measured_problems
from experiments.restore.simulated import check_operator_seed, simulated_problems
from experiments.settings import Images, Measurement, RestoreSettings

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
      prior: a prior and its card, in place of the one that the settings name; of their ``dtype``.
      problems: taken from here and put here: for plans that differ in the method only, which then
        degrade every image once.
      identity: `prior_identity` of the prior, where it is known: hashing a large one takes seconds.

    Raises:
      ValueError, OSError: something the user gave is wrong; the message names it.
    """
    tasks = chosen_tasks(settings)
    check_camera(settings, tasks)
    check_operator_seed(settings, tasks)
    methods = chosen_methods(settings)
    check_noise(settings, tasks, methods)
    network, card = prior or load_prior(
        settings.method.prior or DEFAULT_PRIORS[methods[0].entry.prior],
        dtype=settings.arithmetic.dtype,
        placement=chosen_placement(settings.devices),
        verify=not settings.method.no_verify,
    )
    for method in methods:
        check_prior(method.entry, network)
        check_operators(method.entry, tasks)
    check_options(units_of(card), settings)
    methods = chosen_methods(settings, state_channels(network, card))
    identity = identity or prior_identity(network, card)
    network = with_remat(network) if settings.run.remat else network
    problems = {} if problems is None else problems
    is_posed = all((task, seed) in problems for task in tasks for seed in settings.run.seed)
    is_read = not (settings.images.measured or is_posed)
    pictures = chosen_pictures(settings.images, card) if is_read else []
    jobs: list[Job] = []
    for task in tasks:
        for seed in settings.run.seed:
            if (task, seed) not in problems:
                problems[task, seed] = posed_problems(settings, task, seed, card, pictures)
            count = settings.run.samples * len(methods) * len(problems[task, seed])
            if count * len(tasks) * len(settings.run.seed) > MOST_STEPS:
                raise ValueError(f"{count} samples of {task} alone: give at most {MOST_STEPS:,}")
            posed = labelled(settings.images.class_label, problems[task, seed], network, card)
            for method in methods:
                jobs += jobs_of(settings, task, seed, method, network, identity, posed)
    names = frozenset(input_names(settings.images, samples_of(card)))
    planned = Plan(settings.run.out, network, jobs, settings, units_of(card), names)
    check_jobs(jobs, network)
    check_names(planned)
    check_earlier(planned, names, tasks)
    return planned


def prior_identity(prior: Prior, card: dict) -> str:
    """A hash of a prior's card and arrays.

    Folders of results hold it: the schedule counts twice where latent networks of velocities had it
    in them.
    """
    again = prior.clock if prior.first_stage and prior.clock.prediction == "v" else None
    return content_hash({"card": card}) + array_hash(
        *jax.tree.leaves((prior.network, again, prior.clock, prior.first_stage))
    )


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
    measurement = settings.measurement
    constants = solver_settings(method, task, prior, measurement.noise)
    suffix = f"-seed{seed}" if len(settings.run.seed) > 1 else ""
    label, rule = method.label + suffix, (method.facts or {}).get("rule")
    jobs = []
    for shape in dict.fromkeys(posed.shape for posed in problems):
        facts = {
            "task": task,
            "solver": method.entry.name,
            "projection": method.facts,
            **({"smoothing": method.smoothing} if method.smoothing else {}),
            "shape": list(shape),
            **noise_facts(measurement),
            "seed": seed,
            "prior": identity,
            "version": installed("dsg_jax"),
            **settings.arithmetic.facts,
            **code_facts(task, method.entry.name, rule, settings.method.prior),
        } | settings_facts(constants)
        members = [posed for posed in problems if posed.shape == shape]
        jobs.append(
            Job(
                task=task,
                label=label,
                title=method.title + suffix.replace("-", ", ").replace("seed", "seed "),
                seed=seed,
                shape=shape,
                solver=method.entry.name,
                solver_settings=constants,
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
            png = f"{file_name(facts['task'])}/{label}/{posed.picture.name}_{sample}.png"
            identity = content_hash(facts | posed.inputs | place)
            items.append(Item(posed.picture, sample, posed.problem, identity, png, posed.inputs))
    return items


def settings_facts(constants: Any) -> dict:
    """A solver's settings as JSON values; arrays are their longest shape and a hash of them all."""
    facts: dict[str, Any] = {}
    for entry in dataclasses.fields(constants):
        value = getattr(constants, entry.name)
        shapes = [list(np.shape(leaf)) for leaf in jax.tree.leaves(value)]
        if any(shapes):
            facts[entry.name] = [max(shapes, key=len), array_hash(*jax.tree.leaves(value))]
        elif dataclasses.is_dataclass(value):
            facts[entry.name] = settings_facts(value)
        else:
            facts[entry.name] = value._asdict() if hasattr(value, "_asdict") else value
    return facts


def posed_problems(
    settings: RestoreSettings, task: str, seed: int, card: dict, pictures: list[Picture]
) -> list[PosedProblem]:
    """A task's problem for every picture, or for every measured image."""
    if settings.images.measured:
        return measured_problems(settings, task, seed, card)
    return simulated_problems(settings, task, seed, pictures)


def noise_facts(measurement: Measurement) -> dict:
    """The noise as JSON values."""
    if measurement.noise == "gaussian":
        return {"sigma": measurement.level}
    return {"sigma": None, "peak": measurement.photons}


def chosen_pictures(images: Images, card: dict) -> list[Picture]:
    """The user's images, or the bundled samples that go with the prior."""
    common: dict[str, Any] = {
        "size": images.size or card["size"],
        "multiple": card["size_multiple"],
        "units": units_of(card),
        "count": images.count,
    }
    if images.images:
        chosen = images.fit is not None or images.size is not None
        fit = images.fit or ("cut" if takes_any_size(card) and not chosen else "crop")
        return load_pictures(list(images.images), fit=fit, chosen=chosen, **common)
    return sample_pictures(samples_of(card), **common)


def samples_of(card: dict) -> str:
    """The bundled samples that go with a prior."""
    names = (card.get("samples"), card.get("name"), "photo")
    return next(name for name in names if name in SAMPLES)


def state_channels(prior: Prior, card: dict) -> int:
    """Channels of a solver's state: the image's, or the latent's."""
    return state_shape(prior, (card["size"], card["size"], card["channels"]))[-1]


def takes_any_size(card: dict) -> bool:
    """Whether the prior's network only convolves, so that it is the same at every size."""
    network = card.get("architecture", {})
    return network.get("attention_factors") == [] and not network.get("middle_attention", True)

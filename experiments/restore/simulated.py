"""Images that are degraded here: which operator and which noise, as seeds decide."""

import jax.numpy as jnp
from jax import Array

from dsg_jax.operators.noise import measure, poisson_noise
from dsg_jax.operators.tasks import TASKS, operator_for, reference_operator
from dsg_jax.types import Operator, Problem
from experiments.files import array_hash
from experiments.images import Picture
from experiments.restore.batch import item_key
from experiments.restore.choices import task_options
from experiments.restore.measured import PosedProblem
from experiments.settings import Measurement, RestoreSettings

_MEASUREMENT = 2**31 - 1  # sample number whose key draws the measurement noise


def simulated_problems(
    settings: RestoreSettings, task: str, seed: int, pictures: list[Picture]
) -> list[PosedProblem]:
    """A task's problem for every picture."""
    facts = task_options(settings, task)[1]
    if settings.run.operator_seed is not None:  # left out otherwise, so that hashes stay
        facts = facts | {"operator_seed": settings.run.operator_seed}
    posed = []
    for picture in pictures:
        x = jnp.asarray(picture.pixels)
        h, w, c = x.shape
        operator = drawn_operator(settings, task, (h, w, c), (seed, picture.image_index))
        key = item_key(seed, picture.image_index, _MEASUREMENT)
        problem = simulated(key, operator, x, settings.measurement)
        inputs = {"pixels": array_hash(x), "options": facts}
        posed.append(PosedProblem(picture, problem, (h, w, c), inputs))
    return posed


def drawn_operator(
    settings: RestoreSettings, task: str, shape: tuple[int, int, int], seed: tuple[int, int]
) -> Operator:
    """What degrades an image: of the image's seed, unless one was chosen for all images."""
    options, _ = task_options(settings, task)
    chosen = settings.run.operator_seed
    if chosen == "reference":
        return reference_operator(task, shape, **options)
    return operator_for(task, shape, seed if chosen is None else chosen, **options)


def check_operator_seed(settings: RestoreSettings, tasks: list[str]) -> None:
    """Raise ValueError where ``--operator-seed`` would decide nothing."""
    if settings.run.operator_seed is not None:
        random = [task for task in tasks if TASKS[task].random]
        if settings.images.measured or not random:
            about = "a measured image" if settings.images.measured else ", ".join(tasks)
            raise ValueError(f"--operator-seed: no mask or kernel of {about} is drawn, drop it")


def simulated(key: Array, operator: Operator, x: Array, measurement: Measurement) -> Problem:
    """An image (h, w, c), degraded; for Poisson noise sigma is its deviation at mid-grey."""
    if measurement.noise == "gaussian":
        sigma = measurement.level
        return Problem(operator, measure(key, operator, x, sigma), sigma)
    y = poisson_noise(key, operator.forward(x), measurement.photons / 255)
    return Problem(operator, y, (2 / measurement.photons) ** 0.5)

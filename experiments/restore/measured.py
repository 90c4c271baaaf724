"""The user's own degraded images: the measurement is given, a truth is not."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dsg_jax.checks import check_number
from dsg_jax.operators.linear import blur, inpainting
from dsg_jax.operators.spectral import fourier_subsampling
from dsg_jax.operators.tasks import TASKS, operator_for
from dsg_jax.types import Operator, Problem
from experiments.checks import TOGETHER, flag
from experiments.fields import Units, read_channels, units_of
from experiments.files import array_hash, say
from experiments.images import (
    Picture,
    check_sides,
    image_files,
    name_index,
    read_state,
    readable,
)
from experiments.restore.camera import partner, read_kernel, read_mask
from experiments.restore.choices import task_options
from experiments.restore.orientation import warn_if_turned
from experiments.settings import RestoreSettings


class PosedProblem(NamedTuple):
    """A measurement to explain, whether simulated or the user's.

    Attributes:
      shape: (h, w, c) of the image to restore.
      inputs: JSON values that stand for everything the problem was made of.
    """

    picture: Picture
    problem: Problem
    shape: tuple[int, int, int]
    inputs: dict


def check_camera(settings: RestoreSettings, tasks: list[str]) -> None:
    """Raise ValueError unless what describes the camera matches the mode and the task."""
    images = settings.images
    described = [name for name in ("mask", "kernel", "range") if getattr(images, name)]
    if not images.measured:
        if described:
            raise ValueError(
                f"--{described[0]} describes a measured image: give that with --measured"
            )
        return
    if len(tasks) != 1:
        raise ValueError(f"--measured is restored for one task, not {len(tasks)}: name one")
    need = TASKS[tasks[0]].needs
    if need and getattr(images, need, None) is None and need not in settings.task_options:
        raise ValueError(f"--measured with --task {tasks[0]} also needs --{need}")
    strange = [name for name in described if name not in (need, "range")]
    if need in ("mask", "kernel"):  # it says all about the camera
        strange += settings.task_options
    if strange:
        raise ValueError(f"{flag(strange[0])} does not belong to a measured {tasks[0]}: drop it")


def read_measurement(
    path: Path, units: Units, task: str, black_white: tuple[float, float] | None = None
) -> np.ndarray:
    """A photograph's file or .npy array, or a field's values, as (h, w, c) float32 states.

    Args:
      path: of the file.
      units: of the prior; coefficients in Fourier space have a real and an imaginary part for each
        channel, where the image has not.
      task: what it was measured for; in Fourier space there is no white.
      black_white: what stands for -1 and 1 in a photograph's .npy array, if not these.
    """
    is_array, fourier = path.suffix == ".npy", TASKS[task].fourier
    if fourier and not is_array:
        raise ValueError(f"{path}: what is in Fourier space is no image, give it as .npy")
    if not fourier and (units.is_field or not is_array):
        return read_state(path, units)
    has_parts = fourier and not TASKS[task].magnitude and units.channels != 2
    y = read_channels(path, units.channels * (2 if has_parts else 1))
    if black_white:
        black, white = black_white
        y = 2 * (y - np.float32(black)) / np.float32(white - black) - 1
    if not fourier and np.abs(y).max() > 4:  # no image in [-1, 1], however noisy
        raise ValueError(
            f"{path} reaches {np.abs(y).max():g}, where white is 1: say by --range what black and"
            " white are"
        )
    if not (fourier or black_white) and y.min() >= 0:
        say(f"{path} has no value below 0, and black is -1: if black is 0, give --range 0 1")
    return y


def shape_behind(
    settings: RestoreSettings, task: str, y: np.ndarray, size: int, channels: int
) -> tuple[int, int, int]:
    """The shape of the image of which ``y`` is the measurement; ``size`` where y does not show."""
    height, width, _ = y.shape
    if TASKS[task].magnitude:
        return size, size, channels
    factor = task_options(settings, task)[0]["factor"] if TASKS[task].needs == "factor" else 1
    check_number("--factor", factor, TOGETHER)
    return height * factor, width * factor, channels


def camera(
    settings: RestoreSettings, task: str, seed: int, name: str, shape: tuple[int, int, int]
) -> tuple[Operator, np.ndarray | None]:
    """What has measured the image of this name and shape.

    Returns:
      the operator, and the array that describes it, if any.
    """
    need, images = TASKS[task].needs, settings.images
    if need == "mask" and images.mask:
        mask = read_mask(partner(images.mask, name), shape)
        if TASKS[task].fourier:
            return fourier_subsampling(shape, mask), mask
        return inpainting(jnp.asarray(mask)), mask
    if need == "kernel" and images.kernel:
        kernel = read_kernel(partner(images.kernel, name), images.kernel_is)
        return blur(shape, jnp.asarray(kernel)), kernel
    return operator_for(task, shape, seed, **task_options(settings, task)[0]), None


def measured_problems(
    settings: RestoreSettings, task: str, seed: int, card: dict
) -> list[PosedProblem]:
    """The problem of every measured image that can be read.

    Raises:
      ValueError: what is wrong with a file, or with what describes the camera.
    """
    images, units = settings.images, units_of(card)
    files = image_files(list(images.measured), also=(".npy",))[: images.count]
    if images.range and (TASKS[task].fourier or all(file.suffix != ".npy" for file in files)):
        raise ValueError(
            "--range says what is black and white in a .npy file, and nothing measured is such an "
            "image: drop it"
        )
    read = lambda file: read_measurement(file, units, task, images.range)
    problems = [
        measured_problem(settings, task, seed, file, y, card) for file, y in readable(files, read)
    ]
    if images.kernel and seed == settings.run.seed[0]:
        other = "correlation" if images.kernel_is == "psf" else "psf"
        for posed in {posed.inputs["camera"]: posed for posed in reversed(problems)}.values():
            warn_if_turned(posed.problem, posed.picture.name, other)
    return problems


def measured_problem(
    settings: RestoreSettings, task: str, seed: int, path: Path, y: np.ndarray, card: dict
) -> PosedProblem:
    """The problem of one measured image, of which the file holds ``y``; it has no truth."""
    size = settings.images.size or card["size"]
    shape = shape_behind(settings, task, y, size, card["channels"])
    mend = "choose another --size" if TASKS[task].magnitude else "crop it, and what describes it"
    # First, for the operator of a large image takes minutes to make.
    check_sides(shape, card["size_multiple"], f"the image behind {path}", mend)
    operator, description = camera(settings, task, seed, path.stem, shape)
    expected = jax.eval_shape(operator.forward, jax.ShapeDtypeStruct(shape, np.float32)).shape
    if expected != y.shape:
        size_or = "another --size or " if TASKS[task].magnitude else ""
        raise ValueError(
            f"{path} has shape {y.shape}; {task} of a {shape} image gives {expected}: "
            f"give {size_or}the options that it was measured with"
        )
    if TASKS[task].needs == "mask" and description is not None:
        y = y * description[..., None]  # a hole reads 0, whatever the file shows
    return PosedProblem(
        Picture(path.stem, name_index(path.name), None),
        Problem(operator, jnp.asarray(y), settings.measurement.level),
        shape,
        {
            "measured": array_hash(y),
            "camera": None if description is None else array_hash(description),
            "options": task_options(settings, task)[1],
        },
    )

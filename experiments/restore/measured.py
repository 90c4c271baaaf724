"""The user's own degraded images: the measurement is given, a truth is not."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dsg_jax.operators.linear import blur, inpainting
from dsg_jax.operators.tasks import TASKS, operator_for
from dsg_jax.types import Operator, Problem
from experiments.checks import flag
from experiments.files import array_hash
from experiments.images import Picture, Unreadable, check_sides, name_index, read_image
from experiments.restore.choices import task_options
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


_LARGEST = 4.0  # |y| beyond this is no image in [-1, 1], however noisy


def check_camera(settings: RestoreSettings, tasks: list[str]) -> None:
    """Raise ValueError unless what describes the camera matches the mode and the task."""
    images = settings.images
    described = [name for name in ("mask", "kernel") if getattr(images, name)]
    if not images.measured:
        if described:
            name = described[0]
            raise ValueError(f"--{name} describes a measured image: give that with --measured")
        return
    if len(tasks) != 1:
        raise ValueError(f"--measured is restored for one task, not {len(tasks)}: name one")
    need = TASKS[tasks[0]].needs
    if need and getattr(images, need, None) is None and need not in settings.task_options:
        raise ValueError(f"--measured with --task {tasks[0]} also needs --{need}")
    strange = [name for name in described if name != need]
    if need in ("mask", "kernel"):  # it says all about the camera
        strange += settings.task_options
    if strange:
        raise ValueError(f"{flag(strange[0])} does not belong to a measured {tasks[0]}: drop it")


def read_array(path: Path) -> np.ndarray:
    """A .npy file of finite real numbers as float32."""
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise Unreadable(f"{path} is not a readable .npy array: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise ValueError(f"{path} does not hold one array of real numbers: save one by numpy.save")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{path} holds NaN or infinite values: replace them first")
    return array


def read_measurement(path: Path, channels: int, magnitude: bool) -> np.ndarray:
    """An image file, or a .npy array in the operator's units, as (h, w, channels) float32."""
    if path.suffix != ".npy":
        if magnitude:
            raise ValueError(f"{path}: Fourier magnitudes are no image, give them as .npy")
        return read_image(path, channels)
    y = read_array(path)
    y = y[..., None] if y.ndim == 2 else y
    if y.ndim != 3 or y.shape[-1] != channels:
        raise ValueError(f"{path} has shape {y.shape}, the prior restores (h, w, {channels})")
    if not magnitude and np.abs(y).max() > _LARGEST:
        raise ValueError(f"{path} reaches {np.abs(y).max():g}: scale it to [-1, 1] first")
    return y


def read_mask(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """(h, w) of 0 and 1; in an image, bright is known."""
    npy = path.suffix == ".npy"
    mask = read_array(path) if npy else (read_image(path, 1)[..., 0] > 0).astype(np.float32)
    if mask.shape[:2] != shape[:2]:
        sizes = [" x ".join(map(str, s[:2])) for s in (mask.shape, shape)]
        raise ValueError(
            f"the mask {path} is {sizes[0]}, but the measurement is {sizes[1]}: give one as large"
        )
    return mask


def read_kernel(path: Path) -> np.ndarray:
    """(k, l) blur kernel scaled to sum 1; in an image, black is 0."""
    kernel = read_array(path) if path.suffix == ".npy" else (read_image(path, 1)[..., 0] + 1) / 2
    total = kernel.sum()
    if total <= 0:
        raise ValueError(f"the kernel {path} sums to {total:g}: it must have a positive sum")
    return kernel / total


def camera(
    settings: RestoreSettings, task: str, seed: int, y: np.ndarray, size: int
) -> tuple[Operator, tuple[int, int, int], np.ndarray | None]:
    """The operator, the shape of the image before it, and the array that describes it, if any."""
    need, images = TASKS[task].needs, settings.images
    if need == "mask" and images.mask:
        mask = read_mask(images.mask, y.shape)
        return inpainting(jnp.asarray(mask)), y.shape, mask
    if need == "kernel" and images.kernel:
        kernel = read_kernel(images.kernel)
        return blur(y.shape, jnp.asarray(kernel)), y.shape, kernel
    height, width, channels = y.shape
    options, _ = task_options(settings, task)
    if TASKS[task].magnitude:
        height = width = size
    elif need == "factor":
        height, width = height * options["factor"], width * options["factor"]
    shape = (height, width, channels)
    return operator_for(task, shape, seed, **options), shape, None


def measured_problem(
    settings: RestoreSettings, task: str, seed: int, path: Path, y: np.ndarray, card: dict
) -> PosedProblem:
    """The problem of one measured image, of which the file holds ``y``; it has no truth."""
    size = settings.images.size or card["size"]
    operator, shape, description = camera(settings, task, seed, y, size)
    check_sides(shape, card["size_multiple"], f"the image behind {path}")
    expected = jax.eval_shape(operator.forward, jax.ShapeDtypeStruct(shape, np.float32)).shape
    if expected != y.shape:
        raise ValueError(
            f"{path} has shape {y.shape}; {task} of a {shape} image gives {expected}: "
            "give another --size or the options that it was measured with"
        )
    if TASKS[task].needs == "mask":
        y = np.asarray(operator.forward(jnp.asarray(y)))  # a hole reads 0, whatever the file shows
    inputs = {
        "measured": array_hash(y),
        "camera": None if description is None else array_hash(description),
        "options": task_options(settings, task)[1],
    }
    picture = Picture(path.stem, name_index(path.name), None)
    problem = Problem(operator, jnp.asarray(y), settings.measurement.sigma)
    return PosedProblem(picture, problem, shape, inputs)

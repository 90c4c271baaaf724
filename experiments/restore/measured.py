"""The user's own degraded images: the measurement is given, a truth is not."""

from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dsg_jax.operators.linear import blur, inpainting
from dsg_jax.operators.tasks import operator_for
from dsg_jax.types import Operator, Problem
from experiments.files import array_hash
from experiments.images import Picture, Unreadable, check_sides, name_index, read_image
from experiments.restore.choices import described_options, given_options, task_options

NEEDS = {
    "box_inpainting": "mask",
    "random_inpainting": "mask",
    "gaussian_deblur": "kernel",
    "motion_deblur": "kernel",
    "super_resolution": "factor",
}
"""What a task must be told about the camera; the other tasks need nothing."""


class Posed(NamedTuple):
    """A measurement to explain, whether simulated or the user's."""

    picture: Picture
    problem: Problem
    shape: tuple[int, int, int]
    """(h, w, c) of the image to restore."""
    inputs: dict
    """JSON values that stand for everything the problem was made of."""


_LARGEST = 4.0  # |y| beyond this is no image in [-1, 1], however noisy


def check_camera(arguments: Namespace, tasks: list[str]) -> None:
    """Raise ValueError unless ``--mask``, ``--kernel`` and ``--factor`` match mode and task."""
    if not arguments.measured:
        given = next((name for name in ("mask", "kernel") if getattr(arguments, name)), None)
        if given:
            raise ValueError(f"--{given} describes a measured image: give that with --measured")
        return
    if arguments.images:
        raise ValueError("--images are degraded and restored, --measured only restored: give one")
    if len(tasks) != 1:
        raise ValueError(f"--measured is restored for one task, not {len(tasks)}: name one")
    need = NEEDS.get(tasks[0])
    if need and getattr(arguments, need) is None:
        raise ValueError(f"--measured with --task {tasks[0]} also needs --{need}")
    strange = [name for name in ("mask", "kernel") if name != need and getattr(arguments, name)]
    if need in ("mask", "kernel"):  # it says all about the camera
        strange += given_options(arguments, tasks[0])
    if strange:
        shown = strange[0].replace("_", "-")
        raise ValueError(f"--{shown} does not belong to a measured {tasks[0]}: drop it")


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
    arguments: Namespace, task: str, y: np.ndarray, size: int
) -> tuple[Operator, tuple[int, int, int], np.ndarray | None]:
    """The operator, the shape of the image before it, and the array that describes it, if any."""
    need = NEEDS.get(task)
    if need == "mask":
        mask = read_mask(arguments.mask, y.shape)
        return inpainting(jnp.asarray(mask)), y.shape, mask
    if need == "kernel":
        kernel = read_kernel(arguments.kernel)
        return blur(y.shape, jnp.asarray(kernel)), y.shape, kernel
    height, width, channels = y.shape
    if task == "phase_retrieval":
        height = width = size
    elif need == "factor":
        height, width = height * arguments.factor, width * arguments.factor
    shape = (height, width, channels)
    return operator_for(task, shape, arguments.seed, **task_options(arguments, task)), shape, None


def measured_problem(
    arguments: Namespace, task: str, path: Path, y: np.ndarray, card: dict
) -> Posed:
    """The problem of one measured image, of which the file holds ``y``; it has no truth."""
    operator, shape, described = camera(arguments, task, y, arguments.size or card["size"])
    check_sides(shape, card["size_multiple"], f"the image behind {path}")
    expected = jax.eval_shape(operator.forward, jax.ShapeDtypeStruct(shape, np.float32)).shape
    if expected != y.shape:
        raise ValueError(
            f"{path} has shape {y.shape}; {task} of a {shape} image gives {expected}: "
            "give another --size or the options that it was measured with"
        )
    if NEEDS.get(task) == "mask":
        y = np.asarray(operator.forward(jnp.asarray(y)))  # a hole reads 0, whatever the file shows
    inputs = {
        "measured": array_hash(y),
        "camera": None if described is None else array_hash(described),
        "options": described_options(task_options(arguments, task)),
    }
    picture = Picture(path.stem, name_index(path.name), None)
    return Posed(picture, Problem(operator, jnp.asarray(y), arguments.sigma), shape, inputs)

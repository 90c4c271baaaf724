"""The papers' tasks: what is measured, at which settings, and how its random parts are drawn.

The settings are those of the papers at 256 x 256; lengths scale with the shorter image side.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from dsg_jax.operators import kernels
from dsg_jax.operators import linear as operators
from dsg_jax.operators.blur_network import MISSING, BlurNetwork, blur_code, nonlinear_blur
from dsg_jax.operators.linear import Shape
from dsg_jax.types import Operator

REFERENCE_SEED = 42
"""DiffStateGrad, DAPS and PSLD seed numpy with it, so all their images share one mask or kernel."""
REFERENCE_CODE_SEED = 0
"""The same for the code of the nonlinear blur."""
_PAPER_SIDE = 256
_SMALLEST_KERNEL = 15


class Task(NamedTuple):
    """One kind of measurement; an entry of `TASKS`."""

    title: str
    build: Callable[..., Operator]
    """(rng, shape, **options) -> Operator; the keyword arguments are the task's options."""
    linear: bool
    """Whether A is linear, and so has an adjoint and a transpose; PSLD needs that."""
    paper: str
    """The papers' settings at 256 x 256."""
    output_domain: str = "symmetric"
    """Scale of A(x) for `measurement.noise_level` at the default options: "symmetric" as [-1, 1] or
    "unit" as [0, 1]."""


def identity(rng: np.random.RandomState, shape: Shape) -> Operator:
    """Denoising: A = I."""
    del rng, shape
    return operators.identity()


def box_inpainting(
    rng: np.random.RandomState, shape: Shape, *, box: int | None = None, margin: int | None = None
) -> Operator:
    """Hide a square of ``box`` = side / 2, at least ``margin`` = side / 16 from the border."""
    side = min(shape[:2])
    box = side // 2 if box is None else box
    margin = side // 16 if margin is None else margin
    return operators.inpainting(kernels.box_mask(rng, shape, box, margin))


def random_inpainting(
    rng: np.random.RandomState, shape: Shape, *, low: float = 0.70, high: float = 0.71
) -> Operator:
    """Hide a share of the pixels drawn from [``low``, ``high``)."""
    return operators.inpainting(kernels.random_mask(rng, shape, low, high))


def gaussian_deblur(
    rng: np.random.RandomState, shape: Shape, *, size: int | None = None, std: float | None = None
) -> Operator:
    """Blur by a Gaussian of ``std`` = 3 side / 256 (at least 1.5) in an odd ``size`` of pixels."""
    del rng
    size = _kernel_size(shape) if size is None else size
    std = max(1.5, 3 * min(shape[:2]) / _PAPER_SIDE) if std is None else std
    return operators.gaussian_blur(shape, size, std)


def motion_deblur(
    rng: np.random.RandomState,
    shape: Shape,
    *,
    size: int | None = None,
    intensity: float = 0.5,
    second_draw: bool = False,
) -> Operator:
    """Blur by a random camera shake; ``second_draw`` discards one kernel first, as the references.

    See `kernels.motion_kernel` and `kernels.reference_motion_kernel`.
    """
    size = _kernel_size(shape) if size is None else size
    if second_draw:
        kernels.motion_kernel(rng, size, intensity)
    return operators.blur(shape, kernels.motion_kernel(rng, size, intensity))


def super_resolution(rng: np.random.RandomState, shape: Shape, *, factor: int = 4) -> Operator:
    """Enlarge an image reduced by ``factor`` with an antialiased cubic."""
    del rng
    return operators.super_resolution(shape, factor)


def phase_retrieval(
    rng: np.random.RandomState,
    shape: Shape,
    *,
    oversample: float = 2.0,
    unit_range: bool = True,
    pad: int | None = None,
) -> Operator:
    """Recover an image from its Fourier magnitude; options of `operators.phase_retrieval`."""
    del rng
    return operators.phase_retrieval(shape, oversample, unit_range, pad)


def hdr(rng: np.random.RandomState, shape: Shape, *, scale: float = 2.0) -> Operator:
    """Undo an overexposure by ``scale``."""
    del rng, shape
    return operators.hdr(scale)


def nonlinear_deblur(
    rng: np.random.RandomState, shape: Shape, *, network: BlurNetwork | None = None
) -> Operator:
    """Undo the blur of a trained network (Tran et al. 2021) at a random code, drawn from ``rng``.

    The sides of the image must be multiples of 128; ``network`` is not bundled: `load_blur_network`
    reads a converted one.

    Raises:
      ValueError: no ``network``, or an image that it does not take.
    """
    if network is None:
        raise ValueError(MISSING)
    code = blur_code(rng, shape, network.config.code_channels)
    return nonlinear_blur(network, code)


TASKS: dict[str, Task] = {
    "identity": Task("Denoising", identity, True, "not in the papers"),
    "box_inpainting": Task(
        "Box inpainting",
        box_inpainting,
        True,
        "hole of 128 x 128 at random, at least 16 from the border (DAPS: 32)",
    ),
    "random_inpainting": Task(
        "Random inpainting", random_inpainting, True, "70 % of the pixels; in code U[0.70, 0.71)"
    ),
    "gaussian_deblur": Task(
        "Gaussian deblurring", gaussian_deblur, True, "kernel 61 x 61, standard deviation 3"
    ),
    "motion_deblur": Task(
        "Motion deblurring", motion_deblur, True, "kernel 61 x 61, intensity 0.5"
    ),
    "super_resolution": Task("Super-resolution", super_resolution, True, "factor 4, bicubic"),
    "phase_retrieval": Task(
        "Phase retrieval",
        phase_retrieval,
        False,
        "oversampling 2, image in [0, 1], best of 4 runs",
        output_domain="unit",
    ),
    "hdr": Task("High dynamic range", hdr, False, "factor 2"),
    "nonlinear_deblur": Task(
        "Nonlinear deblurring",
        nonlinear_deblur,
        False,
        "network of Tran et al., code of seed 0 for all images",
    ),
}


def check_task(task: str) -> None:
    """Refuse a name that is no key of `TASKS`.

    Raises:
      ValueError: it is none.
    """
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}; known: {', '.join(TASKS)}")


def operator_for(task: str, shape: Shape, seed: int | Sequence[int], **options) -> Operator:
    """The operator of a named task for images of one shape.

    Args:
      task: a key of `TASKS`.
      shape: (h, w, c).
      seed: for the mask or kernel; (seed, image_index) gives every image its own. An integer seeds
        `numpy.random.RandomState` as the reference code does, see `reference_operator`.
      **options: of the task, such as ``box`` or ``std``: the keyword arguments of its `Task.build`.

    Raises:
      ValueError: an unknown task or option, or a setting that the shape does not allow.
    """
    check_task(task)
    build = TASKS[task].build
    known = [n for n, p in inspect.signature(build).parameters.items() if p.kind == p.KEYWORD_ONLY]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(
            f"unknown option {', '.join(unknown)} of {task}; known: {', '.join(known) or 'none'}"
        )
    return build(np.random.RandomState(seed), tuple(shape), **options)


def reference_operator(task: str, shape: Shape, **options) -> Operator:
    """The operator that DiffStateGrad and DAPS use for every image: seed 42, second motion kernel.

    The code of the nonlinear blur has seed 0. For DAPS's box, give ``margin`` = side / 8.

    Raises:
      ValueError: as `operator_for`.
    """
    if task == "motion_deblur":
        options = {"second_draw": True, **options}
    seed = REFERENCE_CODE_SEED if task == "nonlinear_deblur" else REFERENCE_SEED
    return operator_for(task, shape, seed, **options)


def _kernel_size(shape: Shape) -> int:
    """The odd number nearest to 61 side / 256 (the smaller of two), at least 15."""
    wanted = 61 * min(shape[:2]) / _PAPER_SIDE
    return max(_SMALLEST_KERNEL, 2 * math.ceil(wanted / 2 - 1) + 1)

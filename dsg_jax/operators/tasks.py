"""The tasks: what is measured, and at which settings. `build` has the function of each.

Reading this list takes no jax.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from dsg_jax.options import Option, options_of

if TYPE_CHECKING:
    from dsg_jax.types import Operator

Shape = tuple[int, ...]
# DiffStateGrad, DAPS and PSLD seed numpy with it, so all their images share one mask or kernel.
REFERENCE_SEED = 42
# The same for the code of the nonlinear blur.
REFERENCE_CODE_SEED = 0
NOT_IN_PAPERS = "not in the papers"


class Task(NamedTuple):
    """One kind of measurement; an entry of `TASKS`.

    Attributes:
      name: what people type, and the name of its function in `build`.
      paper: the papers' settings at 256 x 256.
      linear: whether A is linear, and so has an adjoint and a transpose; PSLD needs that.
      needs: what must be known of the camera to restore a measurement that is not simulated.
      random: whether a mask, kernel or code is drawn.
      output_domain: scale of A(x) for `noise.noise_level` at the default options: as [-1, 1] or as
        [0, 1].
      fourier: whether y is in Fourier space and no image: magnitudes, or real and imaginary parts
        side by side.
      magnitude: whether y is a Fourier magnitude, which does not tell the size of the image.
      checkpoint: whether the operator is a network that is not bundled.
    """

    name: str
    title: str
    paper: str
    linear: bool = True
    needs: Literal["mask", "kernel", "factor", ""] = ""
    random: bool = False
    output_domain: Literal["symmetric", "unit"] = "symmetric"
    fourier: bool = False
    magnitude: bool = False
    checkpoint: bool = False

    @property
    def build(self) -> "Callable[..., Operator]":
        """(rng, shape, **options) -> Operator."""
        return getattr(import_module("dsg_jax.operators.build"), self.name)

    @property
    def options(self) -> dict[str, Option]:
        """The keyword arguments of `build`."""
        return options_of("operators.build", self.name)


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("identity", "Denoising", NOT_IN_PAPERS),
        Task(
            "box_inpainting",
            "Box inpainting",
            "hole of 128 x 128 at random, at least 16 from the border (DAPS: 32)",
            needs="mask",
            random=True,
        ),
        Task(
            "random_inpainting",
            "Random inpainting",
            "70 % of the pixels; in code U[0.70, 0.71)",
            needs="mask",
            random=True,
        ),
        Task(
            "gaussian_deblur",
            "Gaussian deblurring",
            "kernel 61 x 61, standard deviation 3",
            needs="kernel",
        ),
        Task(
            "motion_deblur",
            "Motion deblurring",
            "kernel 61 x 61, intensity 0.5",
            needs="kernel",
            random=True,
        ),
        Task("super_resolution", "Super-resolution", "factor 4, bicubic", needs="factor"),
        Task(
            "phase_retrieval",
            "Phase retrieval",
            "oversampling 2, image in [0, 1], best of 4 runs",
            linear=False,
            output_domain="unit",
            fourier=True,
            magnitude=True,
        ),
        Task("hdr", "High dynamic range", "factor 2", linear=False),
        Task(
            "nonlinear_deblur",
            "Nonlinear deblurring",
            "network of Tran et al., code of seed 0 for all images",
            linear=False,
            random=True,
            checkpoint=True,
        ),
        Task("circular_deblur", "Circular deblurring", NOT_IN_PAPERS),
        Task("block_super_resolution", "Block super-resolution", NOT_IN_PAPERS, needs="factor"),
        Task(
            "fourier_subsampling",
            "Fourier subsampling",
            NOT_IN_PAPERS,
            needs="mask",
            random=True,
            fourier=True,
        ),
    )
}


def check_task(task: str) -> None:
    """Refuse a name that is no key of `TASKS`.

    Raises:
      ValueError: it is none.
    """
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}; known: {', '.join(TASKS)}")


def operator_for(task: str, shape: Shape, seed: int | Sequence[int], **options) -> "Operator":
    """The operator of a named task for images of one shape.

    Args:
      task: a key of `TASKS`.
      shape: (h, w, c).
      seed: for the mask or kernel; (seed, image_index) gives every image its own. An integer seeds
        `numpy.random.RandomState` as the reference code does, see `reference_operator`.
      **options: of the task, such as ``box`` or ``std``: see `Task.options`.

    Raises:
      ValueError: an unknown task or option, or a setting that the shape does not allow.
    """
    check_task(task)
    known = TASKS[task].options
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(
            f"unknown option {', '.join(unknown)} of {task}; known: {', '.join(known) or 'none'}"
        )
    return TASKS[task].build(np.random.RandomState(seed), tuple(shape), **options)


def reference_operator(task: str, shape: Shape, **options) -> "Operator":
    """The operator that DiffStateGrad and DAPS use for every image: seed 42, second motion kernel.

    The code of the nonlinear blur has seed 0. For DAPS's box, give ``margin`` = side / 8.

    Raises:
      ValueError: as `operator_for`.
    """
    if task == "motion_deblur":
        options = {"second_draw": True, **options}
    seed = REFERENCE_CODE_SEED if task == "nonlinear_deblur" else REFERENCE_SEED
    return operator_for(task, shape, seed, **options)

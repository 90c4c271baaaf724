"""The errors of functions that the commands are made of, and of the process; see test_errors.py."""

import runpy
import sys
from pathlib import Path

import jax
import numpy as np
from pytest import MonkeyPatch

from dsg_jax.operators.blur import same
from dsg_jax.types import Operator
from experiments import __main__ as command_line
from experiments.calibrate.posterior import one_form
from experiments.calibrate.priors import gaussian, pixel_prior, smooth_basis
from experiments.images import Picture
from experiments.papers.entry import values
from experiments.quality.classical import best_balance, bicubic, biharmonic, wiener
from experiments.quality.command import blur_kernel
from experiments.restore.plan import Item
from experiments.speed.memory import plan_of

IMAGE = np.zeros((4, 4, 3), np.float32)
KERNEL = np.full((3, 3), 1 / 9)
WITHOUT_TRUTH = Item(Picture("y", 0, None), 0, None, "", "")


def a_process_of_its_own(folder: Path) -> object:
    with MonkeyPatch.context() as world:
        world.setattr(sys, "argv", ["experiments", "reproduce"])
        return runpy.run_path(command_line.__file__, run_name="__main__")


def a_compiler_that_tells_nothing(folder: Path) -> object:
    with MonkeyPatch.context() as world:
        world.setattr(jax.stages.Compiled, "memory_analysis", lambda self: None)
        return plan_of(lambda x: x, (jax.ShapeDtypeStruct((), "float32"),))


CASES = {
    "no experiment is named: choose from all": a_process_of_its_own,
    "plans no memory in advance: set JAX_PLATFORMS=cpu": a_compiler_that_tells_nothing,
    "y has no truth to compare with": lambda folder: blur_kernel(WITHOUT_TRUTH),
    "row 'DAPS' has 2 numbers for 1 columns": (
        lambda folder: values(("hdr",), ("psnr",), {"DAPS": "1.0 2.0"})
    ),
    "factor must be a positive integer, got 0": lambda folder: bicubic(IMAGE, 0),
    "an image has shape (h, w, c), got (4, 4)": lambda folder: bicubic(IMAGE[..., 0], 2),
    "mask of shape (3, 3); an image (4, 4, 3) needs (4, 4)": (
        lambda folder: biharmonic(IMAGE, np.ones((3, 3)))
    ),
    "the mask must hold only 0 (hole) and 1": lambda folder: biharmonic(IMAGE, IMAGE[..., 0]),
    "odd sides, got (2, 3)": lambda folder: wiener(IMAGE, KERNEL[:2], 1.0),
    "balance must be positive, got -1.0": lambda folder: wiener(IMAGE, KERNEL, -1.0),
    "0 images and 1 measurements; pair them": lambda folder: best_balance([], [IMAGE], KERNEL),
    "arrays of shapes () is neither mask nor blur": (
        lambda folder: one_form(Operator(same), (8, 8, 3))
    ),
    "shape (8, 8, 1): the colours of the prior": lambda folder: smooth_basis((8, 8, 1)),
    "clock='sun': choose from table, closed form": lambda folder: pixel_prior(gaussian(), "sun"),
}

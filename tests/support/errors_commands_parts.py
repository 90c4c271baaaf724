"""The errors of functions that the commands are made of, and of the process; see test_errors.py."""

import runpy
import sys
from pathlib import Path

import jax
from pytest import MonkeyPatch

from dsg_jax.operators.blur import same
from dsg_jax.types import Operator
from experiments import __main__ as command_line
from experiments.calibrate.problems import one_form
from experiments.papers.entry import values
from experiments.speed.memory import step_memory
from support.gaussian_prior import gaussian_prior


def a_process_of_its_own(folder: Path) -> object:
    with MonkeyPatch.context() as world:
        world.setattr(sys, "argv", ["experiments", "reproduce"])
        return runpy.run_path(command_line.__file__, run_name="__main__")


def a_compiler_that_tells_nothing(folder: Path) -> object:
    with MonkeyPatch.context() as world:
        world.setattr(jax.stages.Compiled, "memory_analysis", lambda self: None)
        return step_memory("dps", gaussian_prior(), 8)


CASES = {
    "no experiment is named: choose from all": a_process_of_its_own,
    "plans no memory in advance: set JAX_PLATFORMS=cpu": a_compiler_that_tells_nothing,
    "row 'DAPS' has 2 numbers for 1 columns": (
        lambda folder: values(("hdr",), ("psnr",), {"DAPS": "1.0 2.0"})
    ),
    "arrays of shapes () is neither mask nor blur": (lambda folder: one_form(Operator(same))),
}

"""The arguments of `export`."""

import argparse
from collections.abc import Callable
from pathlib import Path

from experiments.arguments import add, add_measurement, add_method, add_steps


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """What is exported: task, prior, projection and solver, as for `restore`."""
    add_measurement(parser)
    add_method(parser)
    add_steps(parser)
    group = parser.add_argument_group("export")
    add(group, "--size", int, "side of the images in pixels (default: the prior's)")
    add(group, "--samples", int, "posterior samples that a call makes", 1)
    add(group, "--seed", int, "decides the mask or kernel, which is an array of the file", 0)
    platforms = ["cpu", "cuda", "tpu"]
    add(group, "--platforms", str, "what it is to run on", platforms, nargs="+", metavar="NAME")
    add(group, "--out", Path, "the file to write, a numpy archive", Path("results/solver.npz"))
    parser.set_defaults(projection="state")


def plan_export(arguments: argparse.Namespace) -> Callable[[], object]:
    """Check `export`."""
    from experiments.export import plan_export

    return plan_export(arguments)


EXPORT = {
    "export": (
        "write a solver as a file that runs with jax and numpy alone, on CPU, CUDA and TPU",
        add_export_arguments,
        plan_export,
    ),
}
"""An entry of `experiments.__main__.COMMANDS`."""

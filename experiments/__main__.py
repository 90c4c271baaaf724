"""The commands: `python -m experiments --help`.

A command first checks everything the user gave (its ``plan``) and only then works: what is wrong
is said in one line, with exit code 2, before anything was written.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from experiments.arguments import add, add_restore_arguments
from experiments.cpu_flags import set_cpu_flags

set_cpu_flags()

Work = Callable[[], object]
"""What is left to do once the arguments have been checked."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, where argparse prints the usage before it."""

    def error(self, message: str):
        """Print the line and exit with code 2."""
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


def plan_restore(arguments: argparse.Namespace) -> Work:
    """Check `restore`."""
    from experiments.restore import plan, run

    planned = plan(arguments)
    return lambda: run(planned)


def plan_train_prior(arguments: argparse.Namespace) -> Work:
    """Check `train-prior`: the source must hold the images that the prior wants."""
    from experiments.train_prior import SOURCES, train

    if arguments.name not in SOURCES:
        raise ValueError(f"no prior {arguments.name!r} to train: choose from {', '.join(SOURCES)}")
    split, _ = SOURCES[arguments.name]
    split(arguments.source)
    settings = {name: value for name, value in vars(arguments).items() if name != "plan"}
    return lambda: train(**settings)


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that `train-prior` takes."""
    parser.add_argument("name", help="emoji or photo")
    add(parser, "--source", Path, "folder of the unpacked image package", required=True)
    add(parser, "--out", Path, "folder of the checkpoints and the log", required=True)
    add(parser, "--size", int, "side of the training images, pixels", 64)
    add(parser, "--steps", int, "optimiser steps", 5000)
    add(parser, "--batch-size", int, "images per step", 16)
    add(parser, "--learning-rate", float, "peak of the cosine schedule", 5e-4)
    add(parser, "--save-every", int, "steps between checkpoints", 100)
    add(parser, "--seed", int, "decides initial weights, batches and noise", 0)


COMMANDS = {
    "restore": (
        "degrade images and restore them with and without DiffStateGrad, or restore measured ones",
        add_restore_arguments,
        plan_restore,
    ),
    "train-prior": (
        "train a pixel prior; run again to continue after a kill",
        add_train_arguments,
        plan_train_prior,
    ),
}
"""Name -> what it does, what adds its arguments, and what checks them and returns the work."""


def parser() -> argparse.ArgumentParser:
    """The whole command line; ``plan`` of the parsed arguments checks them."""
    whole = Parser(prog="python -m experiments", description="DiffStateGrad in JAX: experiments.")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for name, (text, add_arguments, plan) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        add_arguments(command)
        command.set_defaults(plan=plan)
    return whole


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        work = arguments.plan(arguments)
    except (ValueError, OSError, NotImplementedError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    work()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The commands: `python -m experiments --help`.

A command first checks everything the user gave (its ``plan``) and only then works: what is wrong
is said in one line, with exit code 2, before anything was written.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.arguments import (
    add,
    add_quality_arguments,
    add_restore_arguments,
)
from experiments.calibration_arguments import CALIBRATION
from experiments.compile_cache import set_compile_cache
from experiments.cpu_flags import set_cpu_flags
from experiments.export_arguments import EXPORT
from experiments.faults import collecting
from experiments.grid_arguments import (
    add_merge_arguments,
    add_reproduce_arguments,
    add_robustness_arguments,
)
from experiments.speed_arguments import SPEED
from experiments.training_commands import TRAINING

set_cpu_flags()
set_compile_cache()

STOPPED = 130
"""Exit code after Ctrl-C."""
Work = Callable[[], object]
"""What is left to do once the arguments have been checked."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, where argparse prints the usage before it."""

    def error(self, message: str):
        """Print the line and exit with code 2."""
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


def plan_restore(arguments: argparse.Namespace) -> Work:
    """Check `restore`."""
    from experiments.restore.run import plan, run

    planned = plan(arguments)
    return lambda: run(planned)


def plan_quality(arguments: argparse.Namespace) -> Work:
    """Check `quality`."""
    from experiments.quality.command import plan_quality

    return plan_quality(arguments, parser().parse_args)


def plan_robustness(arguments: argparse.Namespace) -> Work:
    """Check `robustness`."""
    from experiments.papers.robustness import plan_robustness

    return plan_robustness(arguments)


def plan_reproduce(arguments: argparse.Namespace) -> Work:
    """Check `reproduce`."""
    from experiments.papers.command import plan_reproduce

    return plan_reproduce(arguments)


def plan_merge(arguments: argparse.Namespace) -> Work:
    """Check `merge`."""
    from experiments.restore.merge import plan_merge

    return plan_merge(arguments)


def plan_demo(arguments: argparse.Namespace) -> Work:
    """Plan the demonstration."""
    from experiments.demo import plan_demo

    return plan_demo(arguments, parser().parse_args)


def add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that `demo` takes."""
    add(parser, "--count", int, "images per task", 3)
    add(parser, "--levels", int, "annealing levels of DAPS", 16)
    add(parser, "--out", Path, "output folder", Path("results/demo"))


def plan_bench(arguments: argparse.Namespace) -> Work:
    """Check `bench`."""
    from experiments.speed.bench import plan_bench

    return plan_bench(arguments)


def add_bench_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that `bench` takes."""
    add(parser, "--prior", str, "prior whose network is timed", "emoji")
    add(parser, "--out", Path, "also write the table as JSON to this file")


def plan_memory(arguments: argparse.Namespace) -> Work:
    """Check `memory`."""
    from experiments.speed.memory import ADM, DTYPES, MODELS, memory

    if arguments.model not in ("all", *MODELS, ADM):
        known = ", ".join(("all", *MODELS, ADM))
        raise ValueError(f"no model {arguments.model!r}: choose from {known}")
    if arguments.dtype not in DTYPES:
        raise ValueError(f"no dtype {arguments.dtype!r}: choose from {', '.join(DTYPES)}")
    return lambda: memory(arguments)


def add_memory_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that `memory` takes."""
    add(parser, "--model", str, "ldm-ffhq, sd-1.5, adm-ffhq or all", "all")
    add(parser, "--dtype", str, "compute type of the networks: float32 or bfloat16", "float32")
    add(parser, "--out", Path, "also write the table as JSON to this file")


COMMANDS = {
    "demo": (
        "restore bundled images over seven tasks, DAPS beside DiffStateGrad-DAPS",
        add_demo_arguments,
        plan_demo,
    ),
    "restore": (
        "degrade images and restore them with and without DiffStateGrad, or restore measured ones",
        add_restore_arguments,
        plan_restore,
    ),
    "quality": (
        "compare a prior's restorations with classical methods on held-out images",
        add_quality_arguments,
        plan_quality,
    ),
    "robustness": (
        "quality against the step size, plain and projected by several rank rules",
        add_robustness_arguments,
        plan_robustness,
    ),
    "reproduce": (
        "the papers' tables and figures, our numbers beside the printed ones",
        add_reproduce_arguments,
        plan_reproduce,
    ),
    "merge": (
        "join the folders of runs on several machines",
        add_merge_arguments,
        plan_merge,
    ),
    "bench": (
        "time operators, network, projection and a DAPS level, as ratios",
        add_bench_arguments,
        plan_bench,
    ),
    "memory": (
        "peak memory of a solver's step at the published models' sizes, by compiling it",
        add_memory_arguments,
        plan_memory,
    ),
    **CALIBRATION,
    **EXPORT,
    **SPEED,
    **TRAINING,
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
    """Run one command; returns the exit code.

    0: all is done. 1: all that can be done is, but something was damaged. 2: what was asked for
    cannot be done. 130: stopped by Ctrl-C or SIGTERM.
    """
    arguments = parser().parse_args(argv)
    with collecting() as faults, terminable():
        try:
            code = run(arguments)
        except KeyboardInterrupt:
            where = f" {arguments.out} is in order, and" if getattr(arguments, "out", None) else ""
            print(f"stopped:{where} the same command goes on where it was", file=sys.stderr)
            return STOPPED
        for message in faults:
            print(f"damaged: {message}", file=sys.stderr)
        return code or int(bool(faults))


def run(arguments: argparse.Namespace) -> int:
    """Check and do what a command is asked for; returns the exit code."""
    try:
        if hasattr(arguments, "distributed"):
            from experiments.restore.processes import join_processes

            join_processes(arguments)
        work = arguments.plan(arguments)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    try:
        work()
    except (MemoryError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    code = main()
    if code == STOPPED:  # Python would wait for the compiled program, which cannot be stopped
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)

"""The commands: `dsg-jax --help`, or `python -m experiments --help`.

A command first checks everything the user gave (its ``plan``) and only then works: what is wrong
is said in one line, with exit code 2, before anything was written.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

from experiments.environment import set_compile_cache, set_cpu_flags

# Before numpy is imported: its OpenBLAS reads its number of threads once, and sums in that order.
set_cpu_flags()
set_compile_cache()

from experiments.boundary import DEBUG, execute, refuse  # noqa: E402
from experiments.cli import UsageError, parse  # noqa: E402
from experiments.files import collected_faults  # noqa: E402

# Exit code after Ctrl-C.
STOPPED = 130


class Command(NamedTuple):
    """An entry of `COMMANDS`; its modules are imported when it is chosen.

    Attributes:
      words: what it does.
      settings: where its settings type is, as MODULE:NAME without ``experiments``; free of jax.
      plan: where the function is that checks settings and returns the `Work`.
    """

    words: str
    settings: str
    plan: str


COMMANDS = {
    "demo": Command(
        "restore bundled images over the tasks, DAPS beside DiffStateGrad-DAPS",
        "demo_settings:DemoSettings",
        "demo:plan_demo",
    ),
    "restore": Command(
        "degrade images and restore them with and without DiffStateGrad, or restore measured ones",
        "settings:RestoreSettings",
        "restore.command:plan_restore",
    ),
    "quality": Command(
        "compare a prior's restorations with classical methods on held-out images",
        "quality.settings:QualitySettings",
        "quality.command:plan_quality",
    ),
    "reproduce": Command(
        "the papers' tables and figures, our numbers beside the printed ones",
        "papers.settings:ReproduceSettings",
        "papers.command:plan_reproduce",
    ),
    "calibrate": Command(
        "coverage, ranks and widths of the solvers' samples where the posterior is known",
        "calibrate.settings:CalibrateSettings",
        "calibrate.command:plan_calibrate",
    ),
    "speed": Command(
        "where the time of a step goes: ceilings, networks, pieces of every solver, batches",
        "speed.settings:SpeedSettings",
        "speed.command:plan_speed",
    ),
    "memory": Command(
        "peak memory of a solver's step at the published models' sizes, by compiling it",
        "speed.settings:MemorySettings",
        "speed.memory:plan_memory",
    ),
    "export": Command(
        "write a solver as a file that runs with jax and numpy alone, on CPU, CUDA and TPU",
        "export_settings:ExportSettings",
        "export:plan_export",
    ),
    "train-prior": Command(
        "train a pixel prior; run again to continue after a kill",
        "train.settings:TrainPriorSettings",
        "train.pixel:plan_train_prior",
    ),
    "train-first-stage": Command(
        "train the autoencoder of a latent prior; run again to continue after a kill",
        "train.settings:TrainFirstStageSettings",
        "train.first_stage:plan_train_first_stage",
    ),
    "train-latent-prior": Command(
        "train the network of a latent prior on its first stage's latents; run again to continue",
        "train.settings:TrainLatentPriorSettings",
        "train.latent:plan_train_latent_prior",
    ),
    "export-prior": Command(
        "turn a run of train-prior into a prior that restore can load",
        "train.settings:ExportPriorSettings",
        "train.finish:plan_export_prior",
    ),
    "export-latent-prior": Command(
        "turn a first stage and a network on its latents into a prior that restore can load",
        "train.settings:ExportLatentPriorSettings",
        "train.finish:plan_export_latent_prior",
    ),
}


def located(place: str) -> Any:
    """The object at MODULE:NAME in this package."""
    module, _, name = place.partition(":")
    return getattr(import_module(f"experiments.{module}"), name)


def overview(prog: str) -> str:
    """The list of commands."""
    width = max(map(len, (*COMMANDS, CONVERT)))
    lines = [f"  {name:<{width}}  {command.words}" for name, command in COMMANDS.items()]
    lines.append(f"  {CONVERT:<{width}}  turn PyTorch checkpoints into priors")
    return "\n".join(
        [
            f"usage: {prog} COMMAND [OPTIONS]",
            "",
            *lines,
            "",
            "COMMAND --help: more",
            f"COMMAND {DEBUG}: where an error comes from",
        ]
    )


# The command of `checkpoints_convert`, which has a command line of its own.
CONVERT = "convert"


def main(argv: list[str] | None = None, prog: str = "python -m experiments") -> int:
    """Run one command; returns the exit code.

    0: all is done. 1: all that can be done is, but something was damaged. 2: what was asked for
    cannot be done. 130: stopped by Ctrl-C or SIGTERM.
    """
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(overview(prog))
        return 0
    if name == CONVERT:
        from checkpoints_convert.__main__ import main as convert

        return convert(rest)
    debug = DEBUG in rest
    rest = [word for word in rest if word != DEBUG]
    try:
        if name not in COMMANDS:
            raise UsageError(f"no command {name!r}: choose from {', '.join(COMMANDS)}")
        command = COMMANDS[name]
        settings = parse(located(command.settings), rest, f"{prog} {name}", command.words)
    except (UsageError, OSError) as error:
        return refuse(error, debug)
    with collected_faults() as faults, terminable():
        try:
            code = execute(settings, located(command.plan), debug)
        except KeyboardInterrupt:
            print("stopped: the same command goes on where it was", file=sys.stderr)
            return STOPPED
        for message in faults:
            print(f"damaged: {message}", file=sys.stderr)
        return code or int(bool(faults))


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def console() -> None:
    """The program ``dsg-jax``."""
    leave(main(prog="dsg-jax"))


def leave(code: int) -> None:
    """End the process; at once after Ctrl-C, for a compiled program cannot be stopped."""
    if code == STOPPED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    leave(main())

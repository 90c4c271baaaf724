"""The arguments of `speed`."""

import argparse
from collections.abc import Callable
from pathlib import Path

from experiments.arguments import add


def add_speed_arguments(parser: argparse.ArgumentParser) -> None:
    """Which priors, at which batches."""
    text = "bundled or converted priors; adm-ffhq, ldm-ffhq, sd-1.5: their sizes, random weights"
    add(parser, "--priors", str, text, ["emoji", "emoji-64-ldm"], nargs="+", metavar="PRIOR")
    add(parser, "--batch-size", int, "samples at once, for networks and steps", 4)
    text = "samples at once, for the table of scaling"
    add(parser, "--batches", int, text, [1, 2, 4, 8], nargs="+", metavar="N")
    add(parser, "--out", Path, "where the JSON goes", Path("results/speed.json"))


def plan_speed(arguments: argparse.Namespace) -> Callable[[], object]:
    """Check `speed`."""
    from dsg_jax.priors import BUNDLED, PRIOR_KINDS
    from dsg_jax.priors.folder import read_card
    from experiments.speed.command import speed
    from experiments.speed.random_priors import PUBLISHED

    for name in arguments.priors:
        folder = BUNDLED.get(name, Path(name))
        if name not in PUBLISHED and not (folder / "card.json").is_file():
            known = ", ".join((*sorted(BUNDLED), *PUBLISHED))
            raise ValueError(f"no prior {name!r}: give a folder with card.json, or {known}")
        if name not in PUBLISHED:
            read_card(folder, *PRIOR_KINDS)
    for name, least in (("batch_size", arguments.batch_size), ("batches", min(arguments.batches))):
        if least < 1:
            raise ValueError(f"--{name.replace('_', '-')} {least}: give whole numbers >= 1")
    return lambda: speed(arguments)


SPEED = {
    "speed": (
        "where the time of a step goes: ceilings, networks, pieces of every solver, batches",
        add_speed_arguments,
        plan_speed,
    ),
}
"""An entry of `experiments.__main__.COMMANDS`."""

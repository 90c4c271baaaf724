"""The command `calibrate` and its arguments."""

import argparse
from collections.abc import Callable
from pathlib import Path

from experiments.arguments import add

PRIOR_NAMES = ("gaussian", "spots")
TASK_NAMES = ("box_inpainting", "random_inpainting", "gaussian_deblur")
SOLVER_NAMES = (
    "dps",
    "daps",
    "daps-sigma",
    "psld",
    "latent-dps",
    "latent-daps",
    "resample",
)
SETTINGS = ("gaussian:random_inpainting", "gaussian:gaussian_deblur", "spots:box_inpainting")
"""Those of the report. Only under the box are both kinds of `spots` likely."""
RULES = ("none", "official", "per_channel")


def add_calibrate_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that `calibrate` takes."""
    several = {"nargs": "+", "metavar": "NAME"}
    text = f"PRIOR:TASK, of {', '.join(PRIOR_NAMES)} and of {', '.join(TASK_NAMES)}"
    add(parser, "--setting", str, text, list(SETTINGS), nargs="+", metavar="PRIOR:TASK")
    text = f"samplers, of {', '.join(SOLVER_NAMES)} (daps whose likelihood has the true noise)"
    add(parser, "--solver", str, text, list(SOLVER_NAMES), **several)
    text = "none (the plain solver) and rank rules of the projection"
    add(parser, "--rules", str, text, list(RULES), **several)
    add(parser, "--tau", float, "share of the squared singular values kept, in (0, 1]", 0.99)
    add(parser, "--sigma", float, "standard deviation of the noise, images in [-1, 1]", 0.05)
    add(parser, "--truths", int, "images drawn from the prior, each measured once", 32)
    text = "posterior samples of every truth: 19, 39, ..."
    add(parser, "--samples", int, text, 19)
    text = "dps, psld, latent-dps: steps, of 1000; guidance steps grow as they get fewer"
    add(parser, "--steps", int, text, 100)
    add(parser, "--levels", int, "daps: annealing levels, of 200", 10)
    add(parser, "--resample-steps", int, "resample: reverse steps, of 500", 50)
    add(parser, "--limit", int, "resample: most updates of an image and a latent", 200)
    add(parser, "--seed", int, "decides truths, noise and samples", 0)
    add(parser, "--batch-size", int, "samples computed at once; speed and memory only", 304)
    add(parser, "--out", Path, "output folder", Path("results/calibration"))
    add(parser, "--report", Path, "folder of the report and its figures (default: --out)")


def plan_calibrate(arguments: argparse.Namespace) -> Callable[[], object]:
    """Check `calibrate`."""
    from experiments.calibrate.command import plan_calibrate

    return plan_calibrate(arguments)


CALIBRATION = {
    "calibrate": (
        "coverage, ranks and widths of the solvers' samples where the posterior is known",
        add_calibrate_arguments,
        plan_calibrate,
    )
}
"""An entry of `__main__.COMMANDS`."""

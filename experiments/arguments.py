"""The arguments of `restore`. Kept apart from what they need, so that ``--help`` is instant."""

import argparse
from pathlib import Path

TASK_NAMES = (
    "identity",
    "box_inpainting",
    "random_inpainting",
    "gaussian_deblur",
    "motion_deblur",
    "super_resolution",
    "phase_retrieval",
    "hdr",
    "nonlinear_deblur",
)


def add(group, name: str, kind: type, text: str, default=None, **more) -> None:
    """Add one typed argument, its default shown in the help."""
    shown = "" if default is None else " (default: %(default)s)"
    group.add_argument(name, type=kind, help=text + shown, default=default, **more)


def add_images(parser: argparse.ArgumentParser) -> None:
    """Which images, and what is done to them."""
    group = parser.add_argument_group("images (the bundled samples, if none are given)")
    several = {"nargs": "+", "metavar": "PATH"}
    add(group, "--images", Path, "files or folders to degrade and restore", **several)
    add(group, "--measured", Path, "degraded images to restore: files, or .npy", **several)
    add(group, "--mask", Path, "with --measured: inpainting mask, white is known; or .npy")
    add(group, "--kernel", Path, "with --measured: blur kernel, scaled to sum 1; or .npy")
    text = "crop: central square resized to --size; none: images as they are"
    add(group, "--fit", str, text, "crop", choices=("crop", "none"))
    add(group, "--size", int, "side of the images in pixels (default: the prior's)")
    add(group, "--count", int, "only the first N images", metavar="N")


def add_measurement(parser: argparse.ArgumentParser) -> None:
    """What is measured, and how noisily."""
    group = parser.add_argument_group("measurement")
    text = f"one, several or all of: {', '.join(TASK_NAMES)}"
    add(group, "--task", str, text, nargs="+", required=True)
    text = "standard deviation of the noise in the units of the measurement, [-1, 1] for images"
    add(group, "--sigma", float, text, 0.05)
    add(group, "--box", int, "box_inpainting: side of the hole, pixels")
    add(group, "--margin", int, "box_inpainting: least distance of hole and border, pixels")
    add(group, "--hidden-low", float, "random_inpainting: least share of hidden pixels")
    add(group, "--hidden-high", float, "random_inpainting: largest share of hidden pixels")
    add(group, "--kernel-size", int, "gaussian_deblur, motion_deblur: odd side, pixels")
    add(group, "--std", float, "gaussian_deblur: standard deviation, pixels")
    add(group, "--intensity", float, "motion_deblur: shake of the camera, 0 to 1")
    add(group, "--factor", int, "super_resolution: ratio of the sides")
    add(group, "--oversample", float, "phase_retrieval: oversampling of the transform")
    add(group, "--exposure", float, "hdr: overexposure")


def add_method(parser: argparse.ArgumentParser) -> None:
    """Which prior, projection and solver."""
    group = parser.add_argument_group("method")
    add(group, "--prior", str, "emoji, photo, or the folder of a prior", "emoji")
    add(group, "--solver", str, "the sampler", "daps", choices=("dps", "daps"))
    text = "none: the plain solver; state: DiffStateGrad; both"
    add(group, "--projection", str, text, "both", choices=("both", "none", "state"))
    text = "share of the squared singular values kept, in (0, 1]; rules rank, fraction: their value"
    add(group, "--tau", float, text, 0.99)
    text = "how tau becomes a rank: official, per_channel, mean, rank or fraction"
    add(group, "--rank-rule", str, text, "official")
    add(group, "--period", int, "project every N-th (inner) step", 1, metavar="N")
    add(group, "--sides", str, "both (U U' G V V'), left (U U' G) or right (G V V')", "both")
    add(group, "--steps", int, "dps: reverse steps, evenly spaced (default: all times)")
    add(group, "--scale", float, "dps: size of a guidance step (default: the task's)")
    text = "daps: version of the reference (default: legacy)"
    add(group, "--variant", str, text, choices=("legacy", "main"))
    text = "daps: inner sampler (default: langevin)"
    add(group, "--inner", str, text, choices=("langevin", "hmc"))
    add(group, "--levels", int, "daps: annealing levels (default: 200)")
    add(group, "--ode-steps", int, "daps: Euler steps per level (default: 5)")
    add(group, "--inner-steps", int, "daps: inner updates per level (default: the task's)")
    text = "daps: standard deviation in the likelihood (default: 0.01 as the reference, not sigma)"
    add(group, "--tau-y", float, text)


def add_run(parser: argparse.ArgumentParser) -> None:
    """How many, how, and where to."""
    group = parser.add_argument_group("run")
    add(group, "--samples", int, "posterior samples per image", 1)
    add(group, "--seed", int, "decides masks, kernels, noise and samples", 0)
    add(group, "--batch-size", int, "samples computed at once; speed and memory only", 8)
    text = "a PSNR below this is called a failure, dB; our assumption"
    add(group, "--failure-psnr", float, text, 20.0)
    text = "output folder; the same command again finishes what is missing"
    add(group, "--out", Path, text, Path("results/restore"))


def add_restore_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that `restore` takes."""
    for group in (add_images, add_measurement, add_method, add_run):
        group(parser)

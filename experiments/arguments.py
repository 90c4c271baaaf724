"""The arguments of the commands. Kept apart from what they need, so that ``--help`` is instant."""

import argparse
from collections.abc import Callable
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


EXTRA_METRICS = ("ssim_skimage7", "lpips_vgg_unscaled", "lpips_piq_avgpool")

SOLVER_NAMES = ("daps", "dps", "psld", "resample", "latent-dps", "latent-daps")


def add(group, name: str, kind: Callable, text: str, default=None, **more) -> None:
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
    add(group, "--blur-network", Path, "nonlinear_deblur: folder of the converted GOPRO_wVAE.pth")


def add_method(parser: argparse.ArgumentParser) -> None:
    """Which prior, projection and solver."""
    group = parser.add_argument_group("method")
    text = "name of a bundled prior or a folder (default: one that fits the solver)"
    add(group, "--prior", str, text)
    add(group, "--solver", str, "the sampler", "daps", choices=SOLVER_NAMES)
    text = "none: the plain solver; state: DiffStateGrad; both"
    add(group, "--projection", str, text, "both", choices=("both", "none", "state"))
    text = "share of the squared singular values kept, in (0, 1]; rules rank, fraction: their value"
    add(group, "--tau", float, text, 0.99)
    text = "how tau becomes a rank: official (default), per_channel, mean, rank or fraction"
    add(group, "--rank-rule", str, text)
    text = "project every N-th (inner) step (default: 1; resample: its preset's)"
    add(group, "--period", int, text, metavar="N")
    add(group, "--sides", str, "both (U U' G V V'), left (U U' G) or right (G V V')", "both")
    text = "what the projection decomposes: state is DiffStateGrad, the others are for ablations"
    add(group, "--source", str, text, "state", choices=("state", "gradient", "random"))


def add_steps(parser: argparse.ArgumentParser) -> None:
    """Settings of the solvers, each for some of them; by default as in the reference code."""
    group = parser.add_argument_group("solver settings (default: the reference's for the task)")
    text = "dps, psld, resample, latent-dps: reverse steps, evenly spaced"
    add(group, "--steps", int, text)
    text = "multiply the step by this: guidance (dps, psld, latent-dps), learning rates (resample)"
    add(group, "--step-factor", float, text)
    add(group, "--scale", float, "dps: size of a guidance step")
    add(group, "--gamma", float, "psld: weight of the gluing loss")
    add(group, "--omega", float, "psld: weight of the measurement loss")
    add(group, "--zeta", float, "latent-dps: size of a guidance step")
    add(group, "--eta", float, "psld, latent-dps: 0 is DDIM, 1 ancestral sampling")
    glues = ("transpose", "adjoint", "pseudo_inverse")
    add(group, "--glue", str, "psld: what takes a measurement back to an image", choices=glues)
    text = "psld, latent-daps: whose settings, the latent models' or Stable Diffusion's"
    add(group, "--group", str, text, choices=("ldm", "sd"))
    add(group, "--variant", str, "daps: version of the reference", choices=("legacy", "main"))
    add(group, "--inner", str, "daps, latent-daps: inner sampler", choices=("langevin", "hmc"))
    add(group, "--levels", int, "daps, latent-daps: annealing levels")
    add(group, "--ode-steps", int, "daps, latent-daps: Euler steps per level")
    add(group, "--inner-steps", int, "daps, latent-daps: inner updates per level")
    text = "daps, latent-daps: standard deviation in the likelihood (0.01 in the reference)"
    add(group, "--tau-y", float, text)
    text = "latent-daps: network time of a noise level, the prior's own or the reference's"
    add(group, "--time-map", str, text, choices=("table", "adm", "sd"))
    presets = ("official", "paper", "plorg")
    add(
        group, "--preset", str, "resample: released code, paper (default) or PLoRG", choices=presets
    )
    text = "resample: what is projected, gradients (default) or AdamW's updates"
    add(group, "--project", str, text, choices=("gradient", "update"))
    add(group, "--pixel-limit", int, "resample: most updates of an image (2000)")
    add(group, "--latent-limit", int, "resample: most updates of a latent (500)")


def add_run(parser: argparse.ArgumentParser) -> None:
    """How many, how, and where to."""
    group = parser.add_argument_group("run")
    add(group, "--samples", int, "posterior samples per image", 1)
    add(group, "--seed", int, "decides masks, kernels, noise and samples", 0)
    text = "samples that a device computes and that are written together: memory only"
    add(group, "--batch-size", int, text, 8)
    text = "samples of a batch in memory together (default: as many as fit)"
    add(group, "--microbatch", int, text, metavar="N")
    text = "memory to stay below, GB (default: the device's, or what is free on a CPU)"
    add(group, "--memory", float, text, metavar="GB")
    text = "latent priors: recompute blocks in the backward pass, for less memory and more time"
    group.add_argument("--remat", action="store_true", help=text)
    text = "a PSNR below this is called a failure, dB; our assumption"
    add(group, "--failure-psnr", float, text, 20.0)
    text = "output folder; the same command again finishes what is missing"
    add(group, "--out", Path, text, Path("results/restore"))
    add_sharing(group)


def shard(text: str) -> tuple[int, int]:
    """Such as 2/3 for (2, 3)."""
    first, _, last = text.partition("/")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise argparse.ArgumentTypeError(f"{text}: give I/N with I from 1 to N, such as 2/3")
    return int(first), int(last)


def add_sharing(group) -> None:
    """What long runs take: a share of the work, and further metrics."""
    text = "compute every N-th batch only, from the I-th; `merge` joins the folders"
    add(group, "--shard", shard, text, metavar="I/N")
    text = f"further columns, as other codes measure: {', '.join(EXTRA_METRICS)}"
    more = {"nargs": "+", "choices": EXTRA_METRICS, "metavar": "METRIC"}
    group.add_argument("--metrics", default=[], help=text, **more)


def add_devices(parser: argparse.ArgumentParser) -> None:
    """Where a run is computed."""
    group = parser.add_argument_group("devices, and runs of hours")
    add(group, "--devices", int, "the first N of this process (default: all)", metavar="N")
    text = "one of several processes that share --out: of a SLURM job or a TPU pod, found by jax"
    group.add_argument("--distributed", action="store_true", help=text)
    text = "one of several processes elsewhere: where process 0 listens"
    add(group, "--coordinator", str, text, metavar="HOST:PORT")
    add(group, "--processes", int, "how many there are", metavar="N")
    add(group, "--process", int, "which of them this is, from 0", metavar="I")
    add(group, "--heartbeat", int, "seconds until a silent process counts as dead", 60)
    text = "save unfinished batches every N steps, so that a killed run goes on from there"
    add(group, "--save-every", int, text, metavar="N")
    add(group, "--save-minutes", float, "the same every M minutes", metavar="M")
    text = "replicated: a copy on every device; sharded: split over them, for large priors"
    choices = ("replicated", "sharded")
    add(group, "--parameters", str, text, "replicated", choices=choices)


def add_restore_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that `restore` takes."""
    for group in (add_images, add_measurement, add_method, add_steps, add_run, add_devices):
        group(parser)


def add_quality_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that `quality` takes."""
    add(parser, "--prior", str, "emoji, photo, or the folder of a prior", "emoji")
    add(parser, "--size", int, "side of the images in pixels", 64)
    add(parser, "--count", int, "held-out images", 6)
    add(parser, "--levels", int, "annealing levels of DAPS", 20)
    add(parser, "--samples", int, "posterior samples of every image", 4)
    add(parser, "--batch-size", int, "samples computed at once", 8)
    add(parser, "--seed", int, "decides masks, kernels, noise and samples", 0)
    add(parser, "--failure-psnr", float, "phase retrieval succeeds from here on, dB", 20.0)
    add(parser, "--out", Path, "output folder", Path("results/quality"))

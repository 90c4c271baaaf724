"""The arguments of the commands that run `restore` over grids, and of `merge`."""

import argparse
from pathlib import Path

from experiments.arguments import add, add_restore_arguments, add_sharing


def add_robustness_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that `robustness` takes: the arguments of `restore`, some of them in lists."""
    group = parser.add_argument_group("grid")
    text = "multiples of the default step (psld: made for 1000 steps, fewer want larger ones)"
    default = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    add(group, "--step-factors", float, text, default, nargs="+", metavar="X")
    text = "none (the plain solver) and rank rules of the projection"
    add(group, "--rules", str, text, ["none", "official", "per_channel"], nargs="+")
    text = "posterior samples for phase retrieval, of which the lowest misfit counts"
    add(group, "--phase-samples", int, text, 4, metavar="N")
    add(group, "--report", Path, "folder of the tables and figures (default: --out)")
    add_restore_arguments(parser)
    parser.set_defaults(out=Path("results/robustness"))


def add_reproduce_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that `reproduce` takes."""
    parser.add_argument("name", nargs="*", help="table1, fig6 and so on, or all: see --list")
    flag = "store_true"
    parser.add_argument("--list", action=flag, help="print every experiment and the paper's values")
    text = "print runs, programs, estimated time and memory; time is taken from a few steps"
    parser.add_argument("--dry-run", action=flag, help=text)
    parser.add_argument("--full", action=flag, help="the papers' steps and 100 images")
    text = "priors, at most one on pixels and one on latents (default: emoji emoji-64-ldm)"
    add(parser, "--prior", str, text, nargs="+", metavar="PRIOR")
    add(parser, "--images", Path, "files or folders (default: the prior's samples)", nargs="+")
    add(parser, "--fit", str, "as in restore", "crop", choices=("crop", "none"))
    add(parser, "--size", int, "side of the images in pixels (default: the prior's)")
    add(parser, "--count", int, "only the first N images (default: 4; 100 with --full)")
    add(parser, "--seeds", int, "decide masks, noise and samples; each runs all", [0], nargs="+")
    add(parser, "--sigma", float, "standard deviation of the noise, as in restore", 0.01)
    presets = ("official", "paper", "plorg")
    text = "rank rule, and period and stages of ReSample (default: the experiment's)"
    add(parser, "--preset", str, text, choices=presets)
    add(
        parser, "--base-step", float, "psld: default step over the published (default: 8; 1 --full)"
    )
    add(parser, "--large-step", float, "psld: large step over the default one; our choice", 4.0)
    add(parser, "--steps", int, "psld, resample: reverse steps (default: 50; the papers' --full)")
    add(parser, "--levels", int, "daps, latent-daps: levels (default: 20, 10; the papers' --full)")
    add(parser, "--limit", int, "resample: most updates (default: 50; the papers' --full)")
    add(parser, "--blur-network", Path, "nonlinear_deblur: folder of the converted network")
    add(parser, "--batch-size", int, "samples computed at once; speed and memory only", 8)
    add(parser, "--failure-psnr", float, "a PSNR below this is a failure, dB; our choice", 20.0)
    add(parser, "--out", Path, "output folder", Path("results/reproduce"))
    add(parser, "--report", Path, "folder of the reports (default: --out)")
    add_sharing(parser)


def add_merge_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that `merge` takes."""
    parser.add_argument("out", type=Path, help="folder to join into; it may hold results already")
    text = "folders of runs with --shard, or of other runs of the same command"
    parser.add_argument("folder", type=Path, nargs="+", help=text)

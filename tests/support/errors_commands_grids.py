"""The errors of the commands over many runs, and what provokes them; see test_errors.py."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from pytest import MonkeyPatch

from experiments import export
from experiments.__main__ import main
from experiments.calibrate.cases import case_of, samplers_of
from experiments.calibrate.command import plan_calibrate
from experiments.calibrate.scores import is_stored
from experiments.calibrate.settings import CalibrateSettings
from experiments.papers.command import plan_reproduce, stored_run
from experiments.quality import command as quality
from support.gaussian_prior import gaussian_prior
from support.reproduce_cases import chosen, reproduce_settings, tiny_priors
from support.tiny_command import tiny_prior
from support.words import settings_of


def command(words: str) -> Callable[[Path], object]:
    """A command that writes, if it writes at all, into the folder."""

    def provoke(folder: Path) -> int:
        name, *rest = words.split()
        return main([name, "--out", str(folder / "out"), *rest])

    return provoke


def exporting(words: str) -> Callable[[Path], object]:
    """`export` of DPS with a toy prior; further words may go on with ``--task hdr``."""

    def provoke(folder: Path) -> int:
        out = ["--out", str(folder / "x.npz")]
        with MonkeyPatch.context() as world:
            world.setattr(export, "load_prior", tiny_prior)
            return main(["export", *out, "--solver", "dps", "--task", "hdr", *words.split()])

    return provoke


def small_calibration(folder: Path) -> CalibrateSettings:
    words = "--setting spots:box_inpainting --solver dps --rules none --truths 5 --samples 19"
    return settings_of("calibrate", *words.split(), "--out", folder)


def a_cell_that_is_a_folder(folder: Path) -> object:
    settings = small_calibration(folder)
    samplers_of(case_of(settings.setting[0], settings), settings)[0].path.mkdir(parents=True)
    return plan_calibrate(settings)


def a_damaged_cell(folder: Path) -> object:
    settings = small_calibration(folder)
    sampler = samplers_of(case_of(settings.setting[0], settings), settings)[0]
    sampler.path.parent.mkdir()
    np.savez(sampler.path, ranks=np.zeros(3))
    return is_stored(sampler, settings.samples)


def priors_of_two_sizes(folder: Path) -> object:
    latent = {name: one for name, one in tiny_priors().items() if one.prior.first_stage}
    priors = latent | {"daps": chosen(gaussian_prior(), size=64)}
    return plan_reproduce(reproduce_settings(folder, "table2"), priors)


def fewer_images_than_asked_for(folder: Path) -> object:
    Image.new("RGB", (32, 32)).save(folder / "one.png")
    text = f"table2 --task box_inpainting --solver daps --images {folder / 'one.png'} --count 3"
    return plan_reproduce(reproduce_settings(folder, text), tiny_priors())


def a_report_that_is_a_file(folder: Path) -> object:
    (folder / "report.md").touch()
    return command(f"reproduce table1 --report {folder / 'report.md'}")(folder)


def quality_without_scikit_image(folder: Path) -> object:
    with MonkeyPatch.context() as world:
        world.setattr(quality, "find_spec", lambda name: None)
        return command("quality")(folder)


def a_card_that_was_changed(folder: Path) -> object:
    (folder / "card.json").write_text('{"run": {"seconds": "many"}}')
    return stored_run(folder / "card.json")


REPRODUCE = {
    "card.json is damaged: what it says of the run": a_card_that_was_changed,
    "unknown experiment 'table99': choose from all": command("reproduce table99"),
    "--large-step 0.0: give a finite number > 0": command("reproduce table1 --large-step 0"),
    "--dry-run is about the whole run: drop --shard": command(
        "reproduce table1 --dry-run --shard 1/2"
    ),
    "report.md is a file, give another folder": a_report_that_is_a_file,
    "--task hdr: table1 has none: choose from random_inpainting": command(
        "reproduce table1 --task hdr"
    ),
    "nothing is left of table1 with --task box_inpainting: drop": command(
        "reproduce table1 table2 --task box_inpainting"
    ),
    "--levels is for daps, latent-daps, and the rows are of psld: drop it": command(
        "reproduce table1 --levels 3"
    ),
    "--blur-network is for nonlinear_deblur, which is not chosen": command(
        "reproduce table1 --blur-network folder"
    ),
    "--full takes 100 images: give --images FOLDER": command("reproduce table1 --full"),
    "--prior nowhere: no prior is there: give a folder with card.json": command(
        "reproduce table1 --prior nowhere"
    ),
    "name one pixel prior, or the two sets of weights": command(
        "reproduce table2 --prior emoji photo"
    ),
    "nothing of table1 can be run: no latent prior is given (--prior emoji)": command(
        "reproduce table1 --prior emoji"
    ),
    "a table compares the same images: give --size and --images": priors_of_two_sizes,
    "--class-label: none of the priors takes a class": lambda folder: plan_reproduce(
        reproduce_settings(folder, "table2 --class-label 1"), tiny_priors()
    ),
    "--count 3: only 1 image is there": fewer_images_than_asked_for,
}
CALIBRATE = {
    "is a folder, and samples are to be written there": a_cell_that_is_a_folder,
    "--limit changes nothing here, for nothing asks": command("calibrate --solver dps --limit 3"),
    "--setting spots:hdr: choose from gaussian:box_inpainting": command(
        "calibrate --setting spots:hdr"
    ),
    ".npz is damaged and left out: its samples are drawn again": a_damaged_cell,
    "--solver ddrm: choose from dps": command("calibrate --solver ddrm"),
    "add none, the plain solver the others are compared to": command("calibrate --rules official"),
    "--truths 4: give at least 5, one per bin of ranks": command("calibrate --truths 4"),
    "20 samples: give 19, 39 or another multiple of 20": command("calibrate --samples 20"),
}
OTHERS = {
    "--sigma: dps does not ask how noisy y is: drop it": exporting("--sigma 0.1"),
    "pigdm needs a linear task and hdr is none": exporting("--solver pigdm"),
    "--matmul-precision high: a CPU computes every": exporting(
        "--matmul-precision high --platforms cpu"
    ),
    "--seed 3: hdr draws no mask and no kernel: drop it": exporting("--seed 3"),
    "no prior 'none': give a folder with card.json": command("speed --priors none"),
    "--solver psld: none works with the prior adm-ffhq": command(
        "memory --model adm-ffhq --solver psld"
    ),
    "scikit-image's: pip install scikit-image": quality_without_scikit_image,
    "--task hdr identity: an export is for one task": exporting("identity"),
    "an export is for one method, and these are several: dps, dps-dsg": (
        exporting("--projection both")
    ),
    "--size 18: the prior needs multiples of 4": exporting("--size 18"),
    "x.bin: the file is a numpy archive, call it .npz": exporting("--out x.bin"),
}
CASES = {**REPRODUCE, **CALIBRATE, **OTHERS}

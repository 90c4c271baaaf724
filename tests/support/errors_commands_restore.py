"""The errors of `restore`'s arguments, and what provokes them; see test_errors.py."""

import os
from collections.abc import Callable
from pathlib import Path

import jax
from PIL import Image
from pytest import MonkeyPatch

from dsg_jax.clock import edm_clock
from dsg_jax.solvers import SOLVERS
from dsg_jax.types import Prior
from experiments.__main__ import main
from experiments.restore import memory as budget
from experiments.restore.choices import (
    chosen_methods,
    chosen_tasks,
    rank_rules,
    solver_settings,
)
from experiments.restore.compatible import check_operators, check_prior
from experiments.settings import Measurement, Method, RestoreSettings
from support.errors_commands_inputs import BOX, MASKED, restore
from support.linear_stage import linear_prior
from support.tiny_command import RUN, stand_in

TOGETHER = BOX + "--coordinator here:1 "


def processes_outside_a_cluster(folder: Path) -> int:
    jax.devices()  # jax, which runs already, then refuses without looking for a cluster
    return restore(BOX + "--distributed")(folder)


def a_folder_of_somebody_else(folder: Path) -> int:
    with MonkeyPatch.context() as world:
        world.setattr(os, "access", lambda path, mode: False)
        return restore(BOX)(folder)


def a_device_with_little_memory(folder: Path) -> int:
    with MonkeyPatch.context() as world:
        world.setattr(budget, "planned_bytes", lambda compiled: 8e9)
        return restore(f"{RUN.removeprefix('restore')} --count 1 --memory 1")(folder)


def settings_file(text: str) -> Callable[[Path], object]:
    """`restore` with a settings file; "" is none."""

    def provoke(folder: Path) -> int:
        if text:
            (folder / "x.toml").write_text(text)
        return main(["restore", "--settings", str(folder / "x.toml")])

    return provoke


def after(first: str, second: str) -> Callable[[Path], object]:
    """A command, and another one in the same folder."""

    def provoke(folder: Path) -> int:
        with MonkeyPatch.context() as world:
            stand_in(world.setattr)
            out = str(folder / "out")
            tiny = [*RUN.split(), "--count", "1", "--out", out]
            return main([*tiny, *first.split()]) or main([*tiny, *second.split()])

    return provoke


def a_long_name(folder: Path) -> int:
    name = "n" * 249 + ".png"
    Image.new("RGB", (16, 16)).save(folder / name)
    return restore(f"{BOX} --images {folder / name}")(folder)


def fid_of_few(folder: Path) -> int:
    """FID against a folder of one image, with a network that is not read yet."""
    (folder / "card.json").write_text('{"kind": "inception-fid", "version": 1}')
    (folder / "real").mkdir()
    Image.new("RGB", (16, 16)).save(folder / "real" / "a.png")
    with MonkeyPatch.context() as world:
        world.setenv("DSG_JAX_INCEPTION", str(folder))
        return restore(f"{BOX} --fid {folder / 'real'}")(folder)


NUMBERS = {
    "--std inf: give a finite number, below 3.4e38": restore("--task gaussian_deblur --std inf"),
    "2880000 samples of hdr alone: give at most": restore("--task hdr --samples 60000"),
    "--samples 0: give a whole number from 1 to 65,536": restore(BOX + "--samples 0"),
    "--seed 4294967296: give a whole number >= 0 and below 2^32": restore(
        BOX + "--seed 4294967296"
    ),
    "--failure-psnr nan: give a number of dB": restore(BOX + "--failure-psnr nan"),
    "--sigma -1.0: give a noise level >= 0": restore(BOX + "--sigma -1"),
    "--peak 0.0: give a number of photons": restore(BOX + "--noise poisson --peak 0"),
    "--peak 9.0 is about --noise poisson": restore(BOX + "--peak 9"),
    "--sigma 0.1 is about gaussian noise": restore(BOX + "--noise poisson --sigma 0.1"),
    "--operator-seed -1: give a whole number >= 0": restore(BOX + "--operator-seed -1"),
    "--memory 0.0: give a finite number > 0": restore(BOX + "--memory 0"),
    "--seed names 1 twice: drop one": restore(BOX + "--seed 1 1"),
    "--tau names nothing: give at least one": restore(BOX + "--tau"),
    "--smoothing 2.0: give a number from 0 to 1": restore(BOX + "--smoothing 2"),
    "--smoothing changes nothing here: dps follows one gradient an outer": restore(
        BOX + "--solver daps dps --smoothing 0 0.9"
    ),
    "--task is missing: choose from all, identity": restore(""),
    "--shard 0/3: give I/N with I from 1 to N": restore(BOX + "--shard 0/3"),
}
CHOICES = {
    "--out y.png: y.png is a file, give another folder": restore(BOX + "--out y.png"),
    "y.png is a file, give another folder": restore(BOX + "--out y.png/out"),
    "cannot be written, give another folder": a_folder_of_somebody_else,
    "no command 'restor': choose from demo, restore": lambda folder: main(["restor"]),
    "invalid choice 'foo' for argument '--task'. Expected one of ('all', 'identity'": restore(
        "--task foo"
    ),
    "--steps is an option of dps or psld": restore(BOX + "--steps 10"),
    "unknown task 'foo': choose from all, identity": lambda folder: chosen_tasks(
        RestoreSettings(measurement=Measurement(("foo",)))
    ),
    "unknown solver 'foo': choose from dps, daps": lambda folder: chosen_methods(
        RestoreSettings(method=Method(solver=("foo",)))
    ),
    "--sed is no option of identity, box_inpainting": lambda folder: chosen_tasks(
        RestoreSettings(measurement=Measurement(("hdr",)), task_options={"sed": 1})
    ),
    "--solver daps psld: some work on pixels and some on latents": restore(
        BOX + "--solver daps psld"
    ),
    "DAPS starts at sigma 80 and not at the published 100: the prior": lambda folder: (
        solver_settings(
            chosen_methods(RestoreSettings())[0], "hdr", Prior(None, edm_clock()), "gaussian"
        )
    ),
    "--rank-rule official counts on 3 channels and here is a state of 1": lambda folder: rank_rules(
        ("official",), "official", 1
    ),
    "--rank-rule auto official: auto is official here": lambda folder: rank_rules(
        ("auto", "official"), "official", 3
    ),
    "psld needs a linear task and hdr is none: use resample": lambda folder: check_operators(
        SOLVERS["psld"], ["hdr"]
    ),
    "get GOPRO_wVAE.pth of Tran et al. 2021": restore("--task nonlinear_deblur"),
    "--operator-seed: no mask or kernel of hdr is drawn": restore(
        "--task hdr --operator-seed reference"
    ),
    "--noise poisson is of images, and phase_retrieval measures none": restore(
        "--task phase_retrieval --noise poisson --solver dps"
    ),
    "daps knows no Poisson noise: use --solver dps": restore(BOX + "--noise poisson"),
    "--factor is an option of super_resolution or block_super_resolution: drop it": restore(
        BOX + "--factor 2"
    ),
    "dps works on pixels and this prior on latents: use psld": (
        lambda folder: check_prior(SOLVERS["dps"], linear_prior())
    ),
}
DEVICES = {
    "--devices 99: 99 devices: give 1 to": restore(BOX + "--devices 99"),
    "give --coordinator, --processes and --process, or": restore(BOX + "--processes 2"),
    "--coordinator here: give HOST:PORT of process 0": restore(
        BOX + "--coordinator here --processes 2 --process 0"
    ),
    "--process 2 --processes 2: count the processes from 0": restore(
        TOGETHER + "--processes 2 --process 2"
    ),
    "did not find each other: jax.distributed.initialize() must": processes_outside_a_cluster,
    "one sample of dps needs 8 GB, of which": a_device_with_little_memory,
}
SETTINGS = {
    "--settings names no file": lambda folder: main(["restore", "--settings"]),
    "x.toml cannot be read": settings_file(""),
    "x.toml: no 'sede' there; known: samples, seed": settings_file("[run]\nsede = 1"),
    "x.toml: run is a table, write [run]": settings_file("run = 1"),
    "x.toml: samples = 'many' is not of its type": settings_file("[run]\nsamples = 'many'"),
    "x.toml: --samples 0: give a whole number from 1 to 65,536": settings_file(
        "[run]\nsamples = 0"
    ),
}
FOLDERS = {
    "(box_inpainting/dps/airplane_0.json: sigma 0.05 there, 0.1 here)": after("", "--sigma 0.1"),
    "nnn... would be written as a file whose name has 258 bytes": a_long_name,
    "--fid real needs the weights of pytorch-fid, which are not bundled: convert": restore(
        BOX + "--fid real"
    ),
    "real: 1 images there, and FID of fewer than 100 is mostly their number: give": fid_of_few,
    "--fit changes nothing here: a measured image stays": restore(MASKED + "y.png --fit crop"),
}
CASES = {**NUMBERS, **FOLDERS, **CHOICES, **DEVICES, **SETTINGS}

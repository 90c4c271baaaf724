"""The errors of `restore`'s arguments and images, and what provokes them; see test_errors.py."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from PIL import Image
from pytest import MonkeyPatch

from dsg_jax.solvers import SOLVERS
from experiments.__main__ import main
from experiments.decode import read_image
from experiments.restore import memory as budget
from experiments.restore.choices import chosen_methods, chosen_tasks
from experiments.restore.plan import check_operators, check_prior
from experiments.settings import Measurement, Method, RestoreSettings
from support.linear_stage import linear_prior
from support.tiny_command import RUN, stand_in

BOX = "--task box_inpainting "
MASKED = BOX + "--mask mask.png --measured "
BLURRED = "--task motion_deblur --measured y.png --kernel "
PHASE = "--task phase_retrieval --measured "
TOGETHER = BOX + "--coordinator here:1 "


def deep_png(side: int = 1) -> bytes:
    """A PNG file of one row in colours of 16 bits, which Pillow does not write."""
    chunk = lambda name, content: (
        struct.pack(">I", len(content)) + name + content
        + struct.pack(">I", zlib.crc32(name + content))
    )  # fmt: skip
    header = struct.pack(">IIBBBBB", side, side, 16, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + bytes(6))
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    return b"".join([b"\x89PNG\r\n\x1a\n", *chunks])


def write_inputs() -> None:
    """Good and bad images of 16 x 16 pixels, in the working folder."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
    Path("twice").mkdir()
    Path("empty").mkdir()
    for name in ("y.png", "twice/x.png", "twice/x.bmp"):
        picture.save(name)
    picture.resize((18, 16)).save("odd.png")
    picture.resize((8, 8)).save("tiny.png")
    Path("torn.png").write_bytes(Path("y.png").read_bytes()[:300])
    Image.new("F", (16, 16)).save("float.tif")
    Path("deep.png").write_bytes(deep_png())
    Path("wide.png").write_bytes(deep_png(9000))
    Image.new("L", (20, 16)).save("mask.png")
    picture.save("colours.png")
    Image.new("L", (3, 3)).save("black.png")
    np.save("nan.npy", np.full((16, 16, 3), np.nan))
    np.save("grey.npy", np.zeros((16, 16)))
    np.save("cube.npy", np.zeros((4, 4, 4)))
    np.save("known.npy", np.ones((16, 16)))
    np.save("scaled.npy", np.eye(16) * 255)
    np.save("even.npy", np.ones((4, 3)))
    np.save("flat.npy", np.ones((3, 3)))
    np.save("soft.npy", np.full((16, 16), 0.4))
    np.save("light.npy", np.zeros((16, 16, 3)))
    Image.fromarray(np.full((16, 16), 4095, np.uint16)).save("dark.png")
    np.save("bright.npy", np.full((16, 16, 3), 200.0))
    np.save("names.npy", np.array(["a"]))
    Path("bad.npy").write_bytes(b"\x93NUMPY but no more")


def restore(words: str) -> Callable[[Path], object]:
    """`restore` with a toy prior, in a folder that has `write_inputs`."""

    def provoke(folder: Path) -> int:
        with MonkeyPatch.context() as world:
            stand_in(world.setattr)
            world.chdir(folder)
            write_inputs()
            return main(["restore", "--out", "out", *words.split()])

    return provoke


def processes_outside_a_cluster(folder: Path) -> int:
    jax.devices()  # jax, which runs already, then refuses without looking for a cluster
    return restore(BOX + "--distributed")(folder)


def a_folder_of_somebody_else(folder: Path) -> int:
    with MonkeyPatch.context() as world:
        world.setattr(os, "access", lambda path, mode: False)
        return restore(BOX)(folder)


def a_damaged_orientation(folder: Path) -> object:
    with MonkeyPatch.context() as world:
        world.setattr("experiments.decode.ImageOps.exif_transpose", lambda picture: 1 / 0)
        Image.new("RGB", (4, 4)).save(folder / "y.png")
        return read_image(folder / "y.png")


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


NUMBERS = {
    "--samples 0: give a whole number >= 1": restore(BOX + "--samples 0"),
    "--seed 4294967296: give a whole number >= 0 and below 2^32": restore(
        BOX + "--seed 4294967296"
    ),
    "--failure-psnr nan: give a number of dB": restore(BOX + "--failure-psnr nan"),
    "--sigma -1.0: give a noise level >= 0": restore(BOX + "--sigma -1"),
    "--memory 0.0: give a finite number > 0": restore(BOX + "--memory 0"),
    "--seed names 1 twice: drop one": restore(BOX + "--seed 1 1"),
    "--tau names nothing: give at least one": restore(BOX + "--tau"),
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
    "psld needs a linear task and hdr is none: use resample": lambda folder: check_operators(
        SOLVERS["psld"], ["hdr"]
    ),
    "get GOPRO_wVAE.pth of Tran et al. 2021": restore("--task nonlinear_deblur"),
    "--factor is an option of super_resolution: drop it or change --task": restore(
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
    "x.toml: --samples 0: give a whole number >= 1": settings_file("[run]\nsamples = 0"),
}
IMAGES = {
    "a prior of 4 channels restores no image file": lambda folder: read_image(folder / "x.png", 4),
    "error: torn.png is not a readable image": restore(BOX + "--images torn.png"),
    "warning: torn.png is not a readable image": restore(
        BOX + "--fit none --images torn.png odd.png"
    ),
    "float.tif holds floating-point, signed or 32-bit": restore(BOX + "--images float.tif"),
    "deep.png has colours of 16 bits, which would be cut": restore(BOX + "--images deep.png"),
    "wide.png has 68 bytes and 81000000 pixels; at most": restore(BOX + "--images wide.png"),
    "dark.png uses 12 of its 16 bits at most": restore(
        BOX + "--fit none --images dark.png odd.png"
    ),
    "its EXIF orientation is damaged and not applied": a_damaged_orientation,
    "missing.png does not exist: give an image file": restore(BOX + "--images missing.png"),
    "the folder empty holds no image: name another": restore(BOX + "--images empty"),
    "two images are called 'x': rename one": restore(BOX + "--images twice"),
    "tiny.png is 8 x 8: give at least 11 pixels": restore(BOX + "--images tiny.png --fit none"),
    "odd.png is 16 x 18, but the prior needs sides divisible by 4": restore(
        BOX + "--images odd.png --fit none"
    ),
}
MEASURED = {
    "--kernel-is correlation is about a --kernel": restore(
        MASKED + "y.png --kernel-is correlation"
    ),
    "--mask describes a measured image": restore(BOX + "--mask mask.png"),
    "--images are degraded and restored": restore(MASKED + "y.png --images y.png"),
    "--measured is restored for one task, not 2": restore("--task hdr identity --measured y.png"),
    "--measured with --task box_inpainting also needs --mask": restore(BOX + "--measured y.png"),
    "--kernel does not belong to a measured box_inpainting": restore(
        MASKED + "y.png --kernel black.png"
    ),
    "bad.npy is not a readable .npy array": restore(MASKED + "bad.npy"),
    "names.npy does not hold one array of real numbers": restore(MASKED + "names.npy"),
    "nan.npy holds NaN or infinite values": restore(MASKED + "nan.npy"),
    "y.png: Fourier magnitudes are no image": restore(PHASE + "y.png"),
    "grey.npy has shape (16, 16, 1), the prior restores": restore(MASKED + "grey.npy"),
    "bright.npy reaches 200: scale it to [-1, 1]": restore(MASKED + "bright.npy"),
    "the mask mask.png is 16 x 20, but the measurement is 16 x 16": restore(MASKED + "y.png"),
    "colours.png has colours or transparency": restore(BOX + "--mask colours.png --measured y.png"),
    "cube.npy has shape (4, 4, 4): give (height, width)": restore(BLURRED + "cube.npy"),
    "the mask known.npy has one class": restore(BOX + "--mask known.npy --measured y.png"),
    "the mask scaled.npy reaches from 0 to 255": restore(
        BOX + "--mask scaled.npy --measured y.png"
    ),
    "light.npy has no value below 0: if white is 1": restore(MASKED + "light.npy"),
    "the mask soft.npy has 256 grey pixels of 256": restore(
        BOX + "--mask soft.npy --measured y.png"
    ),
    "the kernel flat.npy is flat: the mean over 3 x 3": restore(
        "--task motion_deblur --measured odd.png --kernel flat.npy"
    ),
    "the kernel black.png sums to 0": restore(BLURRED + "black.png"),
    "the kernel even.npy is 4 x 3, and its middle lies": restore(BLURRED + "even.npy"),
    "phase_retrieval of a (16, 16, 3) image gives (24, 24, 3)": restore(PHASE + "bright.npy"),
}
CASES = {**NUMBERS, **CHOICES, **DEVICES, **SETTINGS, **IMAGES, **MEASURED}

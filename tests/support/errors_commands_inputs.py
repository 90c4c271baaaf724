"""The errors of the images, masks and kernels that `restore` reads; see test_errors.py."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from pytest import MonkeyPatch

from dsg_jax.clock import adm_clock
from dsg_jax.networks.adm import ADMConfig
from dsg_jax.networks.edm import EDMConfig
from dsg_jax.operators.blur import blur
from dsg_jax.priors.edm import EDMNetwork
from dsg_jax.priors.pixel import ADMNetwork
from dsg_jax.types import Prior, Problem
from experiments.__main__ import main
from experiments.decode import read_image
from experiments.images import Picture
from experiments.restore.classes import class_labels
from experiments.restore.orientation import warn_if_turned
from experiments.restore.plan import chosen_pictures
from experiments.settings import Images
from support.tiny_command import CARD, stand_in

BOX = "--task box_inpainting "
MASKED = BOX + "--mask mask.png --measured "
BLURRED = "--task motion_deblur --measured y.png --kernel "
PHASE = "--task phase_retrieval --measured "
ADM = ADMNetwork({}, ADMConfig(num_classes=3))
# Of a prior that only convolves.
ANY_SIZE = {"architecture": {"attention_factors": [], "middle_attention": False}}


def deep_png(pixels: np.ndarray, side: int | None = None) -> bytes:
    """A PNG file of (h, w, 2, 3 or 4) uint16, which Pillow does not write; 2 is grey and alpha.

    ``side`` is what its header says instead.
    """
    chunk = lambda name, content: (
        struct.pack(">I", len(content)) + name + content
        + struct.pack(">I", zlib.crc32(name + content))
    )  # fmt: skip
    height, width, channels = pixels.shape
    size = (side or width, side or height)
    header = struct.pack(">IIBBBBB", *size, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels))
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    return b"".join([b"\x89PNG\r\n\x1a\n", *chunks])


def write_inputs() -> None:
    """Good and bad images of 16 x 16 pixels, in the working folder."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
    Path("twice").mkdir()
    Path("empty").mkdir()
    Path("one").mkdir()
    for name in ("y.png", "twice/x.png", "twice/x.bmp", "one/x.png"):
        picture.save(name)
    picture.resize((18, 16)).save("odd.png")
    picture.resize((8, 8)).save("tiny.png")
    Path("torn.png").write_bytes(Path("y.png").read_bytes()[:300])
    Image.new("F", (16, 16)).save("float.tif")
    Path("deep.png").write_bytes(deep_png(np.zeros((1, 1, 2), np.uint16)))
    Path("wide.png").write_bytes(deep_png(np.zeros((1, 1, 3), np.uint16), 9000))
    Path("deep.ppm").write_bytes(b"P6 1 1 1000\n" + bytes(6))
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
    np.save("far.npy", np.full((16, 16, 2), 200.0))
    np.save("small.npy", np.zeros((12, 12, 2)))
    np.save("names.npy", np.array(["a"]))
    Path("bad.npy").write_bytes(b"\x93NUMPY but no more")


def restore(words: str, channels: int = 3) -> Callable[[Path], object]:
    """`restore` with a toy prior, in a folder that has `write_inputs`."""

    def provoke(folder: Path) -> int:
        with MonkeyPatch.context() as world:
            stand_in(world.setattr, channels)
            world.chdir(folder)
            write_inputs()
            return main(["restore", "--out", "out", *words.split()])

    return provoke


def default_fit(card: dict) -> Callable[[Path], object]:
    """What becomes of two images with a prior of this card, where nobody chose."""

    def provoke(folder: Path) -> list[Picture]:
        with MonkeyPatch.context() as world:
            world.chdir(folder)
            write_inputs()
            return chosen_pictures(Images((Path("y.png"), Path("odd.png"))), CARD | card)

    return provoke


def classes(
    chosen: tuple[str, ...] | None, text: str = "", network: object = ADM
) -> Callable[[Path], object]:
    """The classes of two images by a prior of three, beside a file x.txt."""

    def provoke(folder: Path) -> list[int] | None:
        with MonkeyPatch.context() as world:
            world.chdir(folder)
            Path("x.txt").write_text(text)
            return class_labels(chosen, ["a", "b"], Prior(network, adm_clock()), {"classes": 3})

    return provoke


def a_turned_kernel(folder: Path) -> None:
    kernel = np.array([[4.0, 3, 2, 1, 0, 0, 0]]) / 10
    stripes = np.tile(np.repeat(np.float32([-1, 1, 0, 0.5, -0.5]), 8), (16, 1))[..., None]
    y = blur(stripes.shape, kernel).forward(stripes)
    warn_if_turned(Problem(blur(y.shape, kernel[:, ::-1]), y, 0.05), "y.png", "psf")


def a_damaged_orientation(folder: Path) -> object:
    with MonkeyPatch.context() as world:
        world.setattr("experiments.decode.ImageOps.exif_transpose", lambda picture: 1 / 0)
        Image.new("RGB", (4, 4)).save(folder / "y.png")
        return read_image(folder / "y.png")


IMAGES = {
    "error: torn.png is not a readable image": restore(BOX + "--images torn.png"),
    "warning: torn.png is not a readable image": restore(
        BOX + "--fit none --images torn.png odd.png"
    ),
    "float.tif holds floating-point, signed or 32-bit": restore(BOX + "--images float.tif"),
    "deep.png has colours of 16 bits, which would be cut": restore(BOX + "--images deep.png"),
    "deep.ppm has colours of 10 bits, which would be cut": restore(BOX + "--images deep.ppm"),
    "wide.png has 68 bytes and 81000000 pixels; at most": restore(BOX + "--images wide.png"),
    "dark.png uses 12 of its 16 bits at most": restore(
        BOX + "--fit none --images dark.png odd.png"
    ),
    "its EXIF orientation is damaged and not applied": a_damaged_orientation,
    "missing.png does not exist: give an image file": restore(BOX + "--images missing.png"),
    "the folder empty holds no image: name another": restore(BOX + "--images empty"),
    "two images are called 'x': rename one": restore(BOX + "--images twice"),
    "y.png is 16 x 16 and restored at 20 x 20, for the prior's size": default_fit({"size": 20}),
    "odd.png is 16 x 18 and restored at 16 x 16, for the prior's network": default_fit(ANY_SIZE),
    "an image at --size 18 is 18 x 18, but the prior": restore(BOX + "--images y.png --size 18"),
    "tiny.png is 8 x 8: give at least 11 pixels": restore(BOX + "--images tiny.png --fit none"),
    "odd.png is 16 x 18, but the prior needs sides divisible by 4": restore(
        BOX + "--images odd.png --fit none"
    ),
}
FIELDS = {
    "the prior is of grey images: of colours the luminance is taken": restore(
        BOX + "--fit none --images y.png odd.png", 1
    ),
    "are fields of 2 channels, and the bundled samples are photographs": restore(BOX, 2),
    "y.png is no .npy: the prior's states are fields of 2 channels": restore(
        BOX + "--images y.png", 2
    ),
    "far.npy reaches from 200 to 200, and the prior's values lie between -1 and 1": restore(
        BOX + "--images far.npy small.npy", 2
    ),
    "small.npy is 12 x 12, and fields are not enlarged": restore(BOX + "--images small.npy", 2),
    "--metrics ssim_skimage7 is of photographs": restore(
        BOX + "--images small.npy --metrics ssim_skimage7", 2
    ),
    "--fid is of photographs, and these are fields": restore(
        BOX + "--images small.npy --fid . --fid-few", 2
    ),
    "--range is of images, and fields are in the prior's units": restore(
        MASKED + "far.npy --range 0 255", 2
    ),
    "--noise poisson counts photons, and fields have none": restore(
        BOX + "--solver dps --noise poisson --images small.npy", 2
    ),
}
CLASSES = {
    "--class-label 3: the prior takes no class: drop it": restore(BOX + "--class-label 3"),
    "--class-label is missing: the prior is asked by a class from 0 to 2": classes(None),
    "the prior has 3 classes and is asked without one": classes(
        None, network=EDMNetwork({}, EDMConfig(label_dim=3))
    ),
    "--class-label has 3 classes for 2 images: give one for all": classes(("1", "2", "0")),
    "--class-label cat: give classes from 0 to 2, or a file": classes(("cat", "1")),
    "x.txt has the line 'a': give NAME CLASS": classes(("x.txt",), "a"),
    "x.txt has no line for the image b: add one": classes(("x.txt",), "a.png 1\n"),
}
MEASURED = {
    "of y.png unexplained, and turned by 180 degrees": a_turned_kernel,
    "--range 1.0 0.0: give two finite numbers": restore(MASKED + "light.npy --range 1 0"),
    "--range describes a measured image": restore(BOX + "--range 0 1"),
    "--range says what is black and white in a .npy": restore(MASKED + "y.png --range 0 1"),
    "the folder one has no image or .npy called 'y'": restore(BOX + "--mask one --measured y.png"),
    "--peak is of noise that is simulated": restore(
        "--task hdr --solver dps --noise poisson --peak 9 --measured y.png"
    ),
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
    "bad.npy is no .npy of numbers": restore(MASKED + "bad.npy"),
    "names.npy does not hold one array of real numbers": restore(MASKED + "names.npy"),
    "nan.npy holds NaN or infinite values": restore(MASKED + "nan.npy"),
    "y.png: what is in Fourier space is no image": restore(PHASE + "y.png"),
    "grey.npy has shape (16, 16, 1): give (h, w, 3)": restore(MASKED + "grey.npy"),
    "bright.npy reaches 200, where white is 1: say by --range": restore(MASKED + "bright.npy"),
    "the mask mask.png is 16 x 20, but the measurement is 16 x 16": restore(MASKED + "y.png"),
    "colours.png has colours or transparency": restore(BOX + "--mask colours.png --measured y.png"),
    "cube.npy has shape (4, 4, 4): give (height, width)": restore(BLURRED + "cube.npy"),
    "the mask known.npy has one class": restore(BOX + "--mask known.npy --measured y.png"),
    "the mask scaled.npy reaches from 0 to 255": restore(
        BOX + "--mask scaled.npy --measured y.png"
    ),
    "light.npy has no value below 0, and black is -1": restore(MASKED + "light.npy"),
    "the mask soft.npy has 256 grey pixels of 256": restore(
        BOX + "--mask soft.npy --measured y.png"
    ),
    "the kernel flat.npy is flat: the mean over 3 x 3": restore(
        "--task motion_deblur --measured y.png odd.png --kernel flat.npy"
    ),
    "the kernel black.png sums to 0": restore(BLURRED + "black.png"),
    "the kernel even.npy is 4 x 3, and its middle lies": restore(BLURRED + "even.npy"),
    "phase_retrieval of a (16, 16, 3) image gives (24, 24, 3)": restore(PHASE + "bright.npy"),
}
CASES = {**IMAGES, **FIELDS, **CLASSES, **MEASURED}

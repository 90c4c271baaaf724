"""Image files to pixels: which formats, which number is white, and what a damaged file is.

The one place where Pillow opens a user's file, and one that is no bomb.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dsg_jax.bounded import regular_size
from experiments.files import say

# Raster formats; Pillow starts an external program for some others.
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM")
# 16-bit colours of 45 million pixels, and 8-bit ones of the largest sensors.
MAX_BYTES, MAX_PIXELS = 256 * 2**20, 64_000_000
_MODES = {1: "L", 3: "RGB"}


class Unreadable(ValueError):
    """A file that is damaged, or whose pixels have no known range; among several it is left out."""


def read_image(path: Path, channels: int = 3) -> np.ndarray:
    """A photograph as float32 (h, w, channels) in [-1, 1], in any of `FORMATS`.

    The EXIF orientation is applied, transparency is put on white, 16-bit greyscale keeps its depth.

    Raises:
      Unreadable: a damaged file, or pixels whose range is not known.
    """
    if channels not in _MODES:
        raise ValueError(f"a prior of {channels} channels restores no image file: use 1 or 3")
    picture, white = decoded(path)
    if white > 255:
        grey = np.asarray(picture, np.float32)[..., None]
        if grey.max() < 4096:
            say(f"{path} uses 12 of its 16 bits at most: is it 12-bit? Then multiply it by 16")
        return np.repeat(grey / white, channels, axis=2) * 2 - 1
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    pixels = np.asarray(picture.convert(_MODES[channels]), np.float32)
    return pixels.reshape(*pixels.shape[:2], channels) / 127.5 - 1


def decoded(path: Path) -> tuple[Image.Image, int]:
    """The pixels of an image file, turned as its EXIF orientation says; and the number for white.

    Raises:
      Unreadable: pixels without such a number, and whatever a decoder makes of a damaged file.
    """
    try:
        check_size(path)
        with only_raising(), Image.open(path, formats=FORMATS) as opened:
            check_size(path, opened.width * opened.height)
            opened.load()
            white = full_scale(path, opened)
            picture = opened.copy()
    except (FileNotFoundError, Unreadable):
        raise
    except Exception as error:  # the boundary: a decoder raises whatever its parsers raise
        raise Unreadable(f"{path} is not a readable image: {error}") from error
    try:
        return ImageOps.exif_transpose(picture), white
    except Exception as error:  # metadata does not decide over pixels
        say(f"{path}: its EXIF orientation is damaged and not applied ({error})")
        return picture, white


def check_size(path: Path, pixels: int = 0) -> None:
    """Refuse what would take GBs to decode, whatever its header says.

    Raises:
      Unreadable: a file of over 256 MiB, or over 64 million pixels.
      ValueError: a folder, a pipe or a device.
    """
    if regular_size(path) > MAX_BYTES or pixels > MAX_PIXELS:
        raise Unreadable(
            f"{path} has {regular_size(path)} bytes and {pixels} pixels; at most {MAX_BYTES} and"
            f" {MAX_PIXELS} are read: make it smaller"
        )


@contextmanager
def only_raising() -> Iterator[None]:
    """Let Pillow print nothing, and raise its warning of an image that is too large."""
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def full_scale(path: Path, picture: Image.Image) -> int:
    """The number that stands for white: 255, or 65535 of 16-bit greyscale.

    Raises:
      Unreadable: signed, 32-bit and floating-point pixels, which have none; colours of 16 bits,
        which Pillow would cut to 8.
    """
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format != "TIFF"):
        return 65535
    if picture.mode in ("I", "F"):
        raise Unreadable(
            f"{path} holds floating-point, signed or 32-bit pixels (mode {picture.mode}): save it"
            " with 8 or 16 bits, unsigned"
        )
    bits = getattr(picture, "tag_v2", {}).get(258, (8,))  # TIFF's tag of the bits per sample
    if picture.format == "PNG":
        with open(path, "rb") as file:
            bits = (file.read(25)[24],)  # likewise, in the header
    if max(bits) > 8:
        raise Unreadable(
            f"{path} has colours of {max(bits)} bits, which would be cut to 8: save it with 8 bits,"
            " or give it in [-1, 1] as .npy with --measured"
        )
    return 255

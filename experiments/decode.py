"""Image files to pixels: which formats, which number is white, and what a damaged file is.

The one place where Pillow opens a user's file, and one that is no bomb.
"""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps

from dsg_jax.bounded import read_npy, regular_size
from experiments.files import say

# Raster formats; Pillow starts an external program for some others.
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM")
# 16-bit colours of 45 million pixels, and 8-bit ones of the largest sensors.
MAX_BYTES, MAX_PIXELS = 256 * 2**20, 64_000_000
_MODES = {1: "L", 3: "RGB"}
# Pillow's modes of files that may have colours, once transparency is put on white.
_COLOURED = "RGB", "RGBA", "RGBX", "P", "CMYK", "YCbCr", "LAB", "HSV"
# How Pillow calls 16-bit pixels that it would cut to 8, and that `sixteen_bits` reads whole.
_DEEP_MODES = {f"{bands};16{order}" for bands in ("RGB", "RGBX", "RGBA") for order in "BLN"}
# Weights of red, green and blue in a grey level, Pillow's.
_LUMINANCE = np.array((0.299, 0.587, 0.114), np.float32)


class Unreadable(ValueError):
    """A file that is damaged, or whose pixels have no known range; among several it is left out."""


def read_image(path: Path, channels: int = 3) -> np.ndarray:
    """A photograph as float32 (h, w, channels) in [-1, 1], in any of `FORMATS`.

    The EXIF orientation is applied, transparency is put on white, 16 bits are kept. Of colours that
    become one channel the luminance is taken, and it is said.

    Args:
      path: of the file.
      channels: 1 or 3.

    Raises:
      Unreadable: a damaged file, or pixels whose range is not known.
    """
    picture, white = decoded(path)
    if white > 255:
        levels = sixteen_bits(path, picture)
        if levels.max() < 4096:
            say(f"{path} uses 12 of its 16 bits at most: is it 12-bit? Then multiply it by 16")
        if channels < levels.shape[2]:
            say_if_coloured(levels)
            levels = (levels @ _LUMINANCE)[..., None]
        return np.repeat(levels / white, channels // levels.shape[2], axis=2) * 2 - 1
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    if channels == 1 and picture.mode in _COLOURED:
        say_if_coloured(np.asarray(picture.convert("RGB")))
    pixels = np.array(picture.convert(_MODES[channels]), np.float32)
    pixels /= 127.5  # in place: a large photograph takes 0.8 GB already
    pixels -= 1
    return pixels.reshape(*pixels.shape[:2], channels)


def say_if_coloured(pixels: np.ndarray) -> None:
    """Say, once, what is done about (h, w, 3) colours that a prior of grey images gets."""
    if np.ptp(pixels, axis=2).any():
        weights = " + ".join(f"{w:g} {n}" for w, n in zip(_LUMINANCE, "RGB", strict=True))
        say(f"the prior is of grey images: of colours the luminance is taken, {weights}", once=True)


def sixteen_bits(path: Path, picture: Image.Image) -> np.ndarray:
    """The pixels of a file of 16 bits, put on white; (h, w, 1 or 3) float32 in 0..65535.

    Pillow keeps the upper byte alone of colours. With the order of the bytes turned around, the
    lower one is what it takes for the upper.

    Args:
      path: the file.
      picture: what `decoded` makes of it.
    """
    if not picture.mode.startswith("RGB"):
        return np.asarray(picture, np.float32)[..., None]
    upper, lower = (
        np.asarray(decoded(path, turned)[0].convert("RGBA"), np.float32) for turned in (False, True)
    )
    pixels = 256 * upper + lower
    opacity = pixels[..., 3:] / 65535
    return pixels[..., :3] * opacity + 65535 * (1 - opacity)


def raw_mode(tile: Any) -> str:
    """How a part of an opened file keeps its pixels, in Pillow's words."""
    return tile.args if isinstance(tile.args, str) else tile.args[0]


def with_bytes_turned(tile: Any) -> Any:
    """A part of a 16-bit file for Pillow's decoders, with low and high bytes swapped."""
    mode, *others = [tile.args] if isinstance(tile.args, str) else tile.args
    order = mode[-1].replace("N", "L" if sys.byteorder == "little" else "B")
    mode = mode[:-1] + {"B": "L", "L": "B"}[order]
    return tile._replace(args=mode if isinstance(tile.args, str) else (mode, *others))


def decoded(path: Path, turned: bool = False) -> tuple[Image.Image, int]:
    """The pixels of an image file, turned as its EXIF orientation says; and the number for white.

    Args:
      path: the file.
      turned: whether the bytes of 16-bit colours are swapped, so that these are the lower ones.

    Raises:
      Unreadable: pixels without such a number, and whatever a decoder makes of a damaged file.
    """
    try:
        check_size(path)
        with only_raising(), Image.open(path, formats=FORMATS) as opened:
            check_size(path, opened.width * opened.height)
            white = full_scale(path, opened)
            if turned:
                opened.tile = [with_bytes_turned(tile) for tile in opened.tile]
            opened.load()
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


def read_array(path: Path) -> np.ndarray:
    """A .npy file of finite real numbers as float32."""
    check_size(path)
    try:
        array = read_npy(path)
    except ValueError as error:
        raise Unreadable(str(error)) from error
    if array.dtype.kind not in "biuf" or not array.size:
        raise ValueError(f"{path} does not hold one array of real numbers: save one by numpy.save")
    with np.errstate(over="ignore"):  # it is infinite, then
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{path} holds NaN or infinite values: replace them first")
    return array


@contextmanager
def only_raising() -> Iterator[None]:
    """Let Pillow print nothing, and raise its warning of an image that is too large."""
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def full_scale(path: Path, picture: ImageFile.ImageFile) -> int:
    """The number that stands for white: 255, or 65535 of 16 bits.

    Raises:
      Unreadable: signed, 32-bit and floating-point pixels, which have none; more than 8 bits that
        Pillow would cut.
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
    first: Any = picture.tile[0] if picture.format == "PPM" else None
    if first and first.codec_name.startswith("ppm"):
        bits = (int(first.args[-1]).bit_length(),)  # of the number for white
    alone = "transparency" not in picture.info  # a colour that stands for it would be cut too
    if set(bits) == {16} and {raw_mode(one) for one in picture.tile} <= _DEEP_MODES and alone:
        return 65535
    if max(bits) > 8:
        raise Unreadable(
            f"{path} has colours of {max(bits)} bits, which would be cut to 8: save it as PNG,"
            " in RGB of 16 bits"
        )
    return 255

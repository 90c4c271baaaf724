"""Files and words that are well made and still not what a command asks for."""

import io
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from support.fuzzing import edited_text
from support.mutation import damage

# What a file of numbers may hold.
TYPES = ("?", "i1", "u1", "<u2", ">i4", "u8", "<f2", ">f4", "f8", "g", "c8", "S3", "U2", "M8[s]")
SHAPES = ((), (0,), (16,), (0, 0), (1, 1), (3, 3), (5, 4), (16, 16), (16, 16, 1), (16, 16, 3))
SHAPES += ((16, 16, 4), (3, 16, 16), (1, 16, 16, 3), (300, 300), (1, 4097), (17, 3), (99, 99))
LEVELS = (0.0, 1.0, -1.0, 0.5, 255.0, 1e-45, 1e38, -1e38, np.nan, np.inf)
MODES = ("1", "L", "P", "RGB", "RGBA", "LA", "I", "I;16", "F", "CMYK", "YCbCr", "LAB", "HSV")
FORMS = ("PNG", "TIFF", "BMP", "WEBP", "GIF", "PPM", "JPEG")
# Values that somebody may give to any option.
NUMBERS = (
    "nan", "inf", "-inf", "-1", "0", "1", "2", "3", "7", "16", "0.5", "1e308", "-1e308", "1e-320",
    "1" + "0" * 30, "9" * 5000, "4096", "65536", "1000001", "-3", "20", "64", "1e-9", "0.1", "100",
)  # fmt: skip
WORDS = NUMBERS + (
    "", " ", "a" * 300, "a" * 5000, "ä😀", "\udcff",
    "/dev/null", "/dev/zero", "pipe", "folder", "text", "image.png", "loop", "missing",
    "missing/a/b", "text/a", "..", "1/2", "2/1", "0/0", "1/" + "9" * 30, "0x10", "1_000", "True",
    "None", "[1]", "{}", "-", "--", "=", "*", "%s", "a:b", "localhost:99999999", "array.npy",
    "broken.npy", "card", "settings.toml", "all", "auto", "reference", "daps", "dps", "psld",
    "resample", "box_inpainting", "phase_retrieval", "nonlinear_deblur", "table1", "fig6", "emoji",
    "photo", "emoji-64-ldm", "official", "rank", "fraction", "poisson",
)  # fmt: skip


def strange_array(rng: np.random.Generator) -> bytes:
    """A file of numbers of any type, shape and range."""
    shape = SHAPES[rng.integers(len(SHAPES))]
    low, high = (LEVELS[rng.integers(len(LEVELS))] for _ in range(2))
    array = np.where(rng.random(shape) < 0.5, low, high)
    stream = io.BytesIO()
    with np.errstate(all="ignore"), suppress(ValueError, OverflowError):
        array = array.astype(TYPES[rng.integers(len(TYPES))])
    np.save(stream, array)
    return stream.getvalue()


def strange_image(rng: np.random.Generator) -> bytes:
    """An image file of any mode, format and size."""
    sides = [int(rng.choice((1, 3, 5, 16, 17, 300))) for _ in range(2)]
    image, stream = Image.new(MODES[rng.integers(len(MODES))], sides, 1), io.BytesIO()
    while not stream.getvalue():
        with suppress(OSError, ValueError):
            image.save(stream, FORMS[rng.integers(len(FORMS))])
    return stream.getvalue()


def unusual_place(path: Path, rng: np.random.Generator) -> None:
    """Put something at the path that is no file, or nothing."""
    how = rng.integers(4)
    path.unlink()
    if how == 0:
        path.mkdir()
    elif how == 1:
        os.mkfifo(path)
    elif how == 2:
        path.symlink_to("/dev/zero" if rng.integers(2) else path)


def put(folder: Path, contents: dict[str, bytes]) -> None:
    """Write files as they were, whatever is at their places."""
    for name, content in contents.items():
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def damage_file(path: Path, rng: np.random.Generator) -> None:
    """Damage a file of a finished run: its values, its bytes, or what it is."""
    content, how = path.read_bytes(), rng.integers(10)
    if how == 0:
        unusual_place(path, rng)
    elif path.suffix == ".json" and how > 2:
        path.write_bytes(edited_text(json.loads(content), rng))
    elif path.suffix == ".npz" and how > 5:
        with np.load(io.BytesIO(content)) as archive:
            arrays = dict(archive)
        name = sorted(arrays)[rng.integers(len(arrays))]
        strange = np.load(io.BytesIO(strange_array(rng)))
        np.savez(path, **(arrays | {name if how < 9 else "extra": strange}))
    else:
        path.write_bytes(damage(content, rng))

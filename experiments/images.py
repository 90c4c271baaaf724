"""Images in and out: files or folders to float32 (h, w, c) in [-1, 1], and back to PNG."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from dsg_jax.priors.samples import sample_images
from experiments.decode import Unreadable, read_image
from experiments.fields import Units, read_field
from experiments.files import fault, say, write_atomically

# Least side of an image whose SSIM can be computed.
SSIM_WINDOW = 11


class Picture(NamedTuple):
    """An image to degrade and restore, or only the name of a measured one.

    Attributes:
      image_index: selects its random numbers: the place among the samples, or a hash of the file's
        name.
      pixels: (h, w, c) float32 in [-1, 1]; None where no truth exists.
    """

    name: str
    image_index: int
    pixels: np.ndarray | None


def crop_and_resize(x: np.ndarray, size: int) -> np.ndarray:
    """The central square, resized to ``size`` pixels by Lanczos and clipped to [-1, 1]."""
    side = min(x.shape[:2])
    square = central_part(x, side, side)
    if side == size:
        return square
    planes = [
        Image.fromarray(plane).resize((size, size), Image.Resampling.LANCZOS)
        for plane in np.moveaxis(square, -1, 0)
    ]
    return np.clip(np.stack([np.asarray(p) for p in planes], axis=-1), -1, 1)


def cut_to_multiple(x: np.ndarray, multiple: int) -> np.ndarray:
    """The central part whose sides are the largest multiples of ``multiple``."""
    height, width = (side - side % multiple for side in x.shape[:2])
    return central_part(x, height, width)


def central_part(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of an image that is at least as large."""
    top, left = (x.shape[0] - height) // 2, (x.shape[1] - width) // 2
    return x[top : top + height, left : left + width]


def image_files(paths: list[Path], also: tuple[str, ...] = ()) -> list[Path]:
    """The files named, and for every folder its image files (or suffixes ``also``) by name.

    Hidden files of a folder, among them macOS's ``._x.png``, are none; nor are the pictures that
    `restore` writes beside files of a suffix ``also``.
    """
    known = {*Image.registered_extensions(), *also}
    files = []
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist: give an image file or a folder")
        entries = sorted(path.iterdir()) if path.is_dir() else [path]
        images = [
            file
            for file in entries
            if file == path or file.suffix.lower() in known and not file.name.startswith(".")
        ]
        twins = {file.stem for file in images if file.suffix in also}
        images = [file for file in images if file.suffix in also or file.stem not in twins]
        if not images:
            raise FileNotFoundError(f"the folder {path} holds no image: name another")
        files += images
    stems = [file.stem for file in files]
    twice = next((file for file in files if stems.count(file.stem) > 1), None)
    if twice is not None:
        raise ValueError(f"two images are called {twice.stem!r}: rename one of them")
    return files


def readable(
    files: list[Path], read: Callable[[Path], np.ndarray]
) -> list[tuple[Path, np.ndarray]]:
    """Files with their content; of several a damaged one is a `fault` and left out.

    Raises:
      Unreadable: all files are damaged.
    """
    contents: list[tuple[Path, np.ndarray]] = []
    damaged: list[Unreadable] = []
    for file in files:
        try:
            contents.append((file, read(file)))
        except Unreadable as error:
            damaged.append(error)
    if damaged and not contents:
        raise damaged[0]
    for reason in damaged:
        fault(f"{reason}; it is left out")
    return contents


def name_index(name: str) -> int:
    """A stable 31-bit number of a file name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 1


def load_pictures(
    paths: list[Path],
    *,
    fit: Literal["crop", "cut", "none"],
    chosen: bool,
    size: int,
    multiple: int,
    units: Units,
    count: int | None,
) -> list[Picture]:
    """Read the user's images, or fields.

    Args:
      paths: files or folders.
      fit: "crop" brings the central square to ``size`` (of a field it takes the central part of
        that size), "cut" takes off a margin until the sides are divisible by ``multiple``, "none"
        keeps every image as it is.
      chosen: whether the user chose that or ``size``; if not, it is said what it does.
      size: side of the square, pixels.
      multiple: both sides must be divisible by this for the prior's network.
      units: of the prior.
      count: only the first ``count`` files; all, said, where these are fewer.
    """
    if fit == "crop":
        check_sides((size, size), multiple, f"an image at --size {size}", "choose another")
    pictures, files = [], image_files(paths, also=(".npy",) if units.is_field else ())
    if count is not None and count > len(files):
        images = "image is" if len(files) == 1 else "images are"
        say(f"--count {count}: only {len(files)} {images} there", once=True)
    for file, x in readable(files[:count], lambda file: read_state(file, units)):
        (height, width), name = x.shape[:2], str(file)
        if fit == "crop":
            x = field_part(x, size, name) if units.is_field else crop_and_resize(x, size)
        elif fit == "cut":
            x, name = cut_to_multiple(x, multiple), f"{file}, cut to multiples of {multiple},"
        check_sides(x.shape, multiple, name, "crop it, or choose --fit crop")
        pictures.append(Picture(file.stem, name_index(file.name), x))
        if not chosen and (height, width) != (size, size):
            why = "size" if fit == "crop" else f"network takes any multiple of {multiple}"
            say(
                f"{file} is {height} x {width} and restored at {x.shape[0]} x {x.shape[1]}, for the"
                f" prior's {why}; --size or --fit chooses for all images"
            )
            chosen = True  # said once
    return pictures


def read_state(path: Path, units: Units) -> np.ndarray:
    """The state (h, w, c) in a user's file: an image file's photograph, or a field."""
    return read_field(path, units) if units.is_field else read_image(path, units.channels)


def field_part(x: np.ndarray, size: int, name: str) -> np.ndarray:
    """The central part of a field, which nothing resamples; ValueError where it is smaller."""
    if min(x.shape[:2]) < size:
        raise ValueError(
            f"{name} is {x.shape[0]} x {x.shape[1]}, and fields are not enlarged: give at least "
            f"{size} x {size}, or --fit none"
        )
    return central_part(x, size, size)


def check_sides(shape: tuple[int, ...], multiple: int, name: str, mend: str) -> None:
    """Raise ValueError unless the prior's network and SSIM's window take this shape."""
    height, width = shape[:2]
    if min(height, width) < SSIM_WINDOW:
        raise ValueError(f"{name} is {height} x {width}: give at least {SSIM_WINDOW} pixels")
    if height % multiple or width % multiple:
        raise ValueError(
            f"{name} is {height} x {width}, but the prior needs sides divisible by {multiple}: "
            f"{mend}"
        )


def sample_pictures(
    name: str, *, size: int, multiple: int, units: Units, count: int | None
) -> list[Picture]:
    """The bundled samples, resized if ``size`` differs from theirs; grey is the mean of colours."""
    names, images = sample_images(name, count)
    check_sides((size, size), multiple, f"an image at --size {size}", "choose another")
    if units.channels == 1:
        images = images.mean(axis=3, keepdims=True, dtype=np.float32)
    each = enumerate(zip(names, images, strict=True))
    return [Picture(name, i, crop_and_resize(x, size)) for i, (name, x) in each]


def to_bytes(x: np.ndarray) -> np.ndarray:
    """[-1, 1] -> uint8; what is not finite becomes black."""
    x = np.nan_to_num(np.asarray(x, np.float32), nan=-1.0, posinf=1.0, neginf=-1.0)
    return np.round((np.clip(x, -1, 1) + 1) * 127.5).astype(np.uint8)


def from_bytes(pixels: np.ndarray) -> np.ndarray:
    """uint8 -> float32 in [-1, 1]."""
    return pixels.astype(np.float32) / 127.5 - 1


def png(x: np.ndarray) -> bytes:
    """A PNG file of an image (h, w, c) in [-1, 1], c = 1 or 3."""
    pixels = to_bytes(x)
    stream = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(stream, "PNG")
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    """A .npy file."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def save_npy(path: Path, array: np.ndarray) -> None:
    """Write an array in one piece."""
    write_atomically(path, npy(array))


def save_png(path: Path, x: np.ndarray) -> str:
    """Write an image in one piece; returns the SHA-256 of the file."""
    content = png(x)
    write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()

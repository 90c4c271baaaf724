"""Comparison grids: labelled columns, one image per row, small images enlarged to be seen."""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dsg_jax.operators.tasks import TASKS
from experiments.images import to_bytes

# Absolute error, in units of [-1, 1], that an error map shows as white.
ERROR_WHITE = 0.5

_CELL = 192  # least side of a cell, pixels
_GAP, _LINE = 8, 20


class Panel(NamedTuple):
    """One picture of a grid with a short caption below it.

    Attributes:
      pixels: (h, w, 3) uint8.
    """

    pixels: np.ndarray
    caption: str = ""


def colour(x: np.ndarray) -> np.ndarray:
    """(h, w, 1 or 3) in [-1, 1] -> (h, w, 3) uint8."""
    return np.broadcast_to(to_bytes(x), (*x.shape[:2], 3))


def show_measurement(task: str, y: np.ndarray, channels: int = 3) -> np.ndarray:
    """A measurement as an image in [-1, 1]: clipped; of spectra log(1 + 255 |y| / max |y|).

    What has another form than an image's or a state's of so many ``channels``, such as a list of
    numbers, is laid out in a square.
    """
    fourier = TASKS[task].fourier
    y = np.abs(y) if np.iscomplexobj(y) else y
    if y.ndim != 3 or y.shape[-1] not in (1, 3, channels) and not fourier:
        side = math.ceil(y.size**0.5)
        y = np.pad(y.ravel(), (0, side**2 - y.size)).reshape(side, side, 1)
    if not fourier:
        return np.clip(y, -1, 1)
    if not TASKS[task].magnitude:
        y = np.hypot(y[..., ::2], y[..., 1::2])
    relative = np.abs(y) / max(float(np.abs(y).max()), 1e-12)
    return 2 * np.log1p(255 * relative) / np.log(256) - 1


def heat(magnitude: np.ndarray) -> np.ndarray:
    """(h, w) in [0, 1] -> uint8 colours, black over red and yellow to white, as is what is NaN."""
    magnitude = np.nan_to_num(magnitude, nan=1.0)
    ramp = np.stack([3 * magnitude, 3 * magnitude - 1, 3 * magnitude - 2], axis=-1)
    return np.round(255 * np.clip(ramp, 0, 1)).astype(np.uint8)


def error_map(x: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean absolute error over the channels as uint8 colours."""
    return heat(np.abs(x - truth).mean(axis=-1) / ERROR_WHITE)


def std_map(std: np.ndarray) -> np.ndarray:
    """Posterior standard deviation, mean over the channels, on the scale of `error_map`."""
    return heat(std.mean(axis=-1) / ERROR_WHITE)


def scaled_into(pixels: np.ndarray, width: int, height: int) -> Image.Image:
    """An image enlarged by whole pixels (or shrunk) into a box, keeping its proportions."""
    scale = min(width / pixels.shape[1], height / pixels.shape[0])
    size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
    method = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
    return Image.fromarray(np.ascontiguousarray(pixels)).resize(size, method)


def grid(columns: list[str], rows: list[list[Panel]]) -> np.ndarray:
    """Draw a grid as (h, w, 3) uint8, its cells shaped like the last one of the first row."""
    height, width = rows[0][-1].pixels.shape[:2]
    enlarge = max(1, -(-_CELL // width))
    width, height = width * enlarge, height * enlarge
    pitch_x, pitch_y = width + _GAP, height + 2 * _LINE + _GAP
    size = len(columns) * pitch_x + _GAP, len(rows) * pitch_y + 2 * _LINE
    canvas = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=14)
    for c, title in enumerate(columns):
        draw.text((_GAP + c * pitch_x, _GAP), title, fill="black", font=font)
    for r, cells in enumerate(rows):
        top = 2 * _LINE + r * pitch_y
        for c, cell in enumerate(cells):
            left = _GAP + c * pitch_x
            picture = scaled_into(cell.pixels, width, height)
            canvas.paste(picture, (left + (width - picture.width) // 2, top))
            draw.text((left, top + height + 2), cell.caption, fill="black", font=font)
    return np.asarray(canvas)

"""What the numbers of a prior's states stand for: photographs, or fields in units of their own.

A field is what a card with a ``scaling`` is about, or a state of another number of channels than 1
and 3. Its state is (value - mean) / (2 std), and so [-1, 1] is the range mean - 2 std to mean + 2
std of its values. They come from .npy files and go into .npy files; in pictures of them, colours
stand for that range, and channels lie side by side. Without a ``scaling``, values are states.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.decode import read_array
from experiments.files import say
from experiments.settings import RestoreSettings

# Weights of cosine and sine in red, green and blue, of Green's map.
_COSINE, _SINE = np.array((-0.14861, -0.29227, 1.97294)), np.array((1.78277, -0.90649, 0.0))
# A state beyond is said: the mean and four standard deviations.
_FAR = 2.0


class Units(NamedTuple):
    """Of the values of a prior's states.

    Attributes:
      channels: of a state.
      is_field: photographs have values in [-1, 1], clip them, and are their own pictures.
      mean: the value of the state 0.
      std: of the values; two of them are one unit of the state.
    """

    channels: int
    is_field: bool
    mean: float = 0.0
    std: float = 0.5

    @property
    def ends(self) -> tuple[float, float]:
        """The values of the states -1 and 1."""
        return self.mean - 2 * self.std, self.mean + 2 * self.std

    def state(self, values: np.ndarray) -> np.ndarray:
        """Values as float32 states."""
        return (values - np.float32(self.mean)) / np.float32(2 * self.std)

    def values(self, state: np.ndarray) -> np.ndarray:
        """States as float32 values."""
        return np.asarray(state, np.float32) * np.float32(2 * self.std) + np.float32(self.mean)

    def beside(self, state: np.ndarray) -> np.ndarray:
        """The channels of a field (h, w, c) side by side, (h, c w, 1); photographs as they are."""
        if not self.is_field:
            return state
        return np.concatenate(np.moveaxis(state, -1, 0), axis=1)[..., None]

    def picture(self, state: np.ndarray) -> np.ndarray:
        """States (h, w, c) as an image in [-1, 1], (h, c w, 3) of a field."""
        if not self.is_field:
            return state
        return 2 * cubehelix((self.beside(np.asarray(state))[..., 0] + 1) / 2) - 1


PHOTOGRAPHS = Units(3, False)


def units_of(card: dict) -> Units:
    """Of a prior by its card."""
    channels, scaling = card["channels"], card.get("scaling", {})
    return Units(channels, bool(scaling) or channels not in (1, 3), **scaling)


def cubehelix(share: np.ndarray) -> np.ndarray:
    """Colours (..., 3) in [0, 1], black to white with a steadily growing perceived brightness.

        s + s (1 - s) / 2 (a cos f + b sin f),   f = 2 pi (7 / 6 - 3 / 2 s)

    for a share s in [0, 1], others clipped (Green 2011; start 0.5, -1.5 rotations, hue 1, gamma 1);
    a and b are weights of the colours. What is no number is black.
    """
    s = np.clip(np.nan_to_num(share), 0, 1)[..., None]
    angle = 2 * np.pi * (7 / 6 - 1.5 * s)
    helix = _COSINE * np.cos(angle) + _SINE * np.sin(angle)
    return np.clip(s + s * (1 - s) / 2 * helix, 0, 1).astype(np.float32)


def read_channels(path: Path, channels: int) -> np.ndarray:
    """The array (h, w, c) of a .npy file, of one channel also (h, w).

    Raises:
      ValueError: it has another shape.
      Unreadable: as `read_array`.
    """
    array = read_array(path)
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] != channels:
        raise ValueError(f"{path} has shape {array.shape}: give (h, w, {channels})")
    return array


def read_field(path: Path, units: Units) -> np.ndarray:
    """The states (h, w, c) of a .npy file of values.

    Raises:
      ValueError: another file, or another shape.
      Unreadable: as `read_array`.
    """
    if path.suffix != ".npy":
        raise ValueError(
            f"{path} is no .npy: the prior's states are fields of {units.channels} channels around "
            f"{units.mean:g}, and not photographs: save their values by numpy.save"
        )
    values = read_channels(path, units.channels)
    state = units.state(values)
    if np.abs(state).max() > _FAR:
        low, high = units.ends
        say(
            f"{path} reaches from {values.min():g} to {values.max():g}, and the prior's values lie "
            f"between {low:g} and {high:g} for the most part: are these other units?"
        )
    return state


def about(units: Units) -> str:
    """What a report says of pictures and metrics of fields."""
    low, high = units.ends
    return (
        "Fields: values are in .npy files, in the prior's units; pictures have channels side by "
        f"side, from {low:g} (black) to {high:g} (white). PSNR's peak and SSIM's range are "
        f"{high - low:g}, and neither clips. LPIPS is of photographs. Noise and misfit are in "
        f"units of the state, each {2 * units.std:g}."
    )


def check_options(units: Units, settings: RestoreSettings) -> None:
    """Raise ValueError where fields are asked for what is of photographs."""
    images, metrics = settings.images, settings.run.metrics
    if not units.is_field:
        return
    if not (images.images or images.measured):
        raise ValueError(
            f"the prior's states are fields of {units.channels} channels, and the bundled samples "
            "are photographs: name .npy files by --images or --measured"
        )
    if metrics:
        raise ValueError(f"--metrics {metrics[0]} is of photographs, and these are fields: drop it")
    if settings.run.fid:
        raise ValueError("--fid is of photographs, and these are fields: drop it")
    if images.range:
        raise ValueError("--range is of images, and fields are in the prior's units: drop it")
    if settings.measurement.noise == "poisson":
        raise ValueError("--noise poisson counts photons, and fields have none: drop it")

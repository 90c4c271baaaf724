"""What a user says of the camera: masks and blur kernels, from image files or .npy arrays.

    mask      white (1) is known, black (0) is a hole; grey is cut at one half, and said
    kernel    a point-spread function, what a point becomes (--kernel-is psf): y is the convolution
              of the image with it; or the weights of a correlation (--kernel-is correlation)

Neither is a photograph: transparency has no meaning that all programs share, and is refused.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from experiments.decode import decoded, read_array, sixteen_bits
from experiments.files import say
from experiments.images import image_files


def partner(path: Path, measured: str) -> Path:
    """The mask or kernel of the measured image of a name: one file serves all, a folder has each.

    Raises:
      ValueError: the folder has none of this name.
    """
    if not path.is_dir():
        return path
    for file in image_files([path], also=(".npy",)):
        if file.stem == measured:
            return file
    raise ValueError(
        f"the folder {path} has no image or .npy called {measured!r}, as the measured image is: "
        "add it, or name one file for all"
    )


def read_levels(path: Path) -> np.ndarray:
    """(h, w) of a grey image in [0, 1], black to white, or of a .npy array as it is.

    Raises:
      ValueError: transparency, colours, or an array that is not two-dimensional.
      Unreadable: as `decoded`.
    """
    if path.suffix == ".npy":
        levels = read_array(path)
        levels = levels[..., 0] if levels.ndim == 3 and levels.shape[2] == 1 else levels
        if levels.ndim != 2:
            raise ValueError(f"{path} has shape {levels.shape}: give (height, width)")
        return levels
    picture, white = decoded(path)
    is_grey = len(picture.getbands()) == 1 and picture.mode != "P"
    if white > 255:
        rgb = sixteen_bits(path, picture)
    else:
        rgb = np.atleast_3d(np.asarray(picture if is_grey else picture.convert("RGB"), np.float32))
    if picture.has_transparency_data or not (is_grey or np.ptp(rgb, axis=2).max() == 0):
        raise ValueError(
            f"{path} has colours or transparency, which may mean anything: save it in black, grey"
            " and white alone"
        )
    return rgb[..., 0] / (1 if picture.mode == "1" else white)


def read_mask(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """(h, w) of 0 and 1, 1 where the image is known; of whatever format, cut at one half.

    Raises:
      ValueError: another size than the measurement's, levels outside [0, 1], or one class alone.
    """
    levels = read_levels(path)
    if levels.shape != tuple(shape[:2]):
        raise ValueError(
            f"the mask {path} is {levels.shape[0]} x {levels.shape[1]}, but the measurement is"
            f" {shape[0]} x {shape[1]}: give one as large"
        )
    if levels.min() < 0 or levels.max() > 1:
        raise ValueError(
            f"the mask {path} reaches from {levels.min():g} to {levels.max():g}: "
            "give 1 where the image is known and 0 in the hole"
        )
    mask = (levels > 0.5).astype(np.float32)
    if grey := int(np.sum((levels > 0) & (levels < 1))):
        say(f"the mask {path} has {grey} grey pixels of {levels.size}: they are cut at one half")
    if mask.min() == mask.max():
        raise ValueError(f"the mask {path} has one class: white is known, black is the hole")
    return mask


def read_kernel(path: Path, convention: Literal["psf", "correlation"]) -> np.ndarray:
    """(k, l) weights of the correlation that `operators.linear.blur` is, scaled to sum 1.

    In an image, black is 0.

    Args:
      path: image or .npy.
      convention: what the file holds; a point-spread function is turned by 180 degrees.

    Raises:
      ValueError: even sides, or a sum that is not positive.
    """
    kernel = read_levels(path)
    total = kernel.sum()
    if total <= 0:
        raise ValueError(f"the kernel {path} sums to {total:g}: it must have a positive sum")
    if not all(side % 2 for side in kernel.shape):
        raise ValueError(
            f"the kernel {path} is {kernel.shape[0]} x {kernel.shape[1]}, and its middle lies "
            "between pixels: pad it with a row or column of zeros to odd sides, around the pixel "
            "that stays in place"
        )
    if kernel.size > 1 and np.ptp(kernel) == 0:
        say(f"the kernel {path} is flat: the mean over {kernel.shape[0]} x {kernel.shape[1]}")
    return kernel[::-1, ::-1] / total if convention == "psf" else kernel / total

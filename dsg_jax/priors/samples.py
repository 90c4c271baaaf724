"""The sample images that ship with the package, none of which the bundled priors were trained on.

Origins and licences: ``bundled/samples/LICENCES.md``.
"""

from importlib.resources import files

import numpy as np
from PIL import Image

# Set of samples -> side of its square images in pixels.
SAMPLES = {"emoji": 64, "photo": 256}


def sample_images(name: str, count: int | None = None) -> tuple[list[str], np.ndarray]:
    """The first ``count`` images of a set (all by default), in the order of their names.

    Returns:
      names, and the images as float32 (n, h, w, 3) in [-1, 1].

    Raises:
      ValueError: an unknown set, or a ``count`` that it does not have.
    """
    if name not in SAMPLES:
        raise ValueError(f"no samples named {name!r}: choose from {', '.join(SAMPLES)}")
    folder = files("dsg_jax") / "bundled" / "samples" / name
    images = sorted((f for f in folder.iterdir() if f.name.endswith(".png")), key=lambda f: f.name)
    if count is not None and not 1 <= count <= len(images):
        raise ValueError(f"count={count}: the set {name!r} has 1 to {len(images)} images")
    chosen = images[:count]
    pixels = []
    for file in chosen:
        with file.open("rb") as stream:
            pixels.append(np.asarray(Image.open(stream).convert("RGB"), np.float32))
    return [file.name.removesuffix(".png") for file in chosen], np.stack(pixels) / 127.5 - 1

"""Shared by the tests of metrics."""

import numpy as np


def smooth_image(shape: tuple[int, int, int], phase: float) -> np.ndarray:
    """A colour image of waves and one edge, in [-0.9, 0.9]."""
    h, w, c = shape
    i, j, k = np.meshgrid(np.arange(h), np.arange(w), np.arange(c), indexing="ij")
    waves = np.sin(0.3 * i + phase) * np.cos(0.17 * j - k)
    return (0.6 * waves + 0.3 * np.where(i > j, 1, -1)).astype(np.float32)


def distorted(kind: str, image: np.ndarray) -> np.ndarray:
    noise = np.random.RandomState(0).standard_normal(image.shape).astype(np.float32)
    return {
        "noise": image + 0.1 * noise,
        "far outside the range": image + 1.5 * noise,
        "shifted": np.roll(image, 3, axis=1),
        "dark": 0.3 * image - 0.4,
        "inverted": -image,
        "constant": np.full_like(image, 0.25),
    }[kind]


def on_unit_range(*images: np.ndarray) -> list[np.ndarray]:
    return [(np.clip(image, -1, 1).astype(np.float64) + 1) / 2 for image in images]

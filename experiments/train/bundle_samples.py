"""Make the bundled sample images again from the packages that they come from.

    python -m experiments.train.bundle_samples IMAGE_PACKAGES SKIMAGE_DATA

IMAGE_PACKAGES holds the unpacked packages of `training_images`; SKIMAGE_DATA is the folder
``skimage/data`` of scikit-image 0.24.0. Only held-out emoji and photographs are taken.
"""

import sys
from pathlib import Path

from PIL import Image

from dsg_jax.priors.samples import SAMPLES
from experiments.images import crop_and_resize
from experiments.train.images import SOURCES, emoji_family, load_emoji, load_photo, photo_family

FOLDER = Path(__file__).parents[2] / "dsg_jax" / "bundled" / "samples"

EMOJI = {  # family -> name
    "1f345": "tomato",
    "1f370": "shortcake",
    "1f383": "pumpkin",
    "1f385": "santa",
    "1f388": "balloon",
    "1f3e4": "post-office",
    "1f40b": "whale",
    "1f40c": "snail",
    "1f419": "octopus",
    "1f42a": "camel",
    "1f475": "grandmother",
    "1f603": "smile",
    "1f688": "railway",
    "1f696": "taxi",
    "1f6a0": "cableway",
    "1f6b2": "bicycle",
    "1f947": "medal",
    "1f96a": "sandwich",
    "1f980": "crab",
    "1f989": "owl",
    "1f98b": "butterfly",
    "1f995": "sauropod",
    "260e": "telephone",
    "2708": "airplane",
}
PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
TOO_DARK = "nathan-anderson-297460"  # almost no structure at 256 px


def bundle(packages: Path, skimage: Path) -> None:
    """Write every sample image as PNG without metadata."""
    # of a family the first by name, for the last entry of a dict stays
    first = {emoji_family(p): p for p in reversed(SOURCES["emoji"].split(packages)[1])}
    photos = {photo_family(path): path for path in SOURCES["photo"].split(packages)[1]}
    del photos[TOO_DARK]
    photos |= {Path(file).stem: skimage / file for file in PHOTOS}
    sides = SAMPLES["emoji"], SAMPLES["photo"]
    images = {f"emoji/{EMOJI[family]}": load_emoji(first[family], sides[0]) for family in EMOJI}
    for name, path in photos.items():
        images[f"photo/{name}"] = crop_and_resize(load_photo(path, sides[1]), sides[1])
    for name, image in images.items():
        file = FOLDER / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file, optimize=True)


if __name__ == "__main__":
    bundle(*map(Path, sys.argv[1:]))

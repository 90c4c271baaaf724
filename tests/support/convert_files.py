"""Shared by the tests of convert kinds."""

import gzip
from typing import NamedTuple

import numpy as np

from support.golden_case import GOLDEN
from support.network_cases import published_keys


class Described(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self) -> np.ndarray:
        """A resampling filter of EDM's of this shape."""
        taps = np.array([1, 1] if self.shape[-1] == 2 else [1, 3, 3, 1])
        return np.outer(taps, taps)[None, None] / taps.sum() ** 2


def published_file(name: str) -> dict[str, Described]:
    """A whole file's tensors, by the reference's own listing or by that of its network."""
    path = GOLDEN / "keys" / f"{name}.txt.gz"
    if not name.endswith("_file"):
        return {k: Described(s, np.dtype("float32")) for k, s in published_keys(name).items()}
    tensors = {}
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        key, dtype, shape = line.split(" ")
        sides = () if shape == "scalar" else tuple(int(n) for n in shape.split("x"))
        tensors[key] = Described(sides, np.dtype(dtype))
    return tensors


# kind -> what file, what stands before its names, the counts of used and of dropped tensors
FILES = {
    "adm-ffhq": ("adm_ffhq", "", 362, {}),
    "adm-imagenet": ("adm_imagenet", "", 566, {}),
    **{
        f"adm-imagenet{side}-cond": (f"adm_{side}_class_cond", "", tensors, {})
        for side, tensors in ((64, 541), (128, 493), (256, 567), (512, 645))
    },
    "unet2d": ("ddpm_celebahq_256", "", 450, {}),
    "consistency": ("consistency_edm_256", "", 566, {}),
    "edm": ("inversebench_128_1ch", "ema.", 306, {"ours": 16}),
    "ldm-ffhq": ("ldm_ffhq_file", "state_dict.", 573, {"schedule": 12, "trained": 368, "of": 2}),
    "ldm-imagenet": ("ldm_cin_file", "state_dict.", 894, {"schedule": 12}),
    "sd15": ("sd15_file", "state_dict.", 934, {"schedule": 12, "text": 197}),
    # The listings of U-Net and autoencoder, with OpenCLIP's names of the text encoder.
    "sd21": ("sd21_file", "state_dict.", 934, {"schedule": 12, "text": 294}),
    "vq-f4": ("vq_f4", "state_dict.", 205, {}),
    "kl-f8": ("kl_f8", "", 248, {}),
    "inception-fid": ("inception_fid", "", 472, {}),
    "kernel-wizard": ("kernel_wizard", "", 145, {"estimates": 14}),
}

"""FID of restored images and a folder of real ones, for the tables of `restore` and `reproduce`.

The environment variable ``DSG_JAX_INCEPTION`` names the folder of the converted network.
"""

import hashlib
import io
import os
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from dsg_jax.metrics.fid import (
    PROTOCOL,
    Statistics,
    frechet_distance,
    inception_features,
    load_inception,
    statistics,
    statistics_of_few,
)
from dsg_jax.priors.files import cache_folder
from dsg_jax.priors.folder import read_card
from experiments.decode import read_image
from experiments.files import write_atomically
from experiments.images import image_files
from experiments.restore.jobs import Job
from experiments.settings import Run

# Images of a set below which the distance says more about their number than about them.
LEAST = 100
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class RealImages(NamedTuple):
    """What restored images are compared with.

    Attributes:
      params: of the network.
      least: images that a set must have.
    """

    folder: Path
    params: dict
    statistics: Statistics
    least: int


class FIDScores(NamedTuple):
    """The distance of any samples of a run.

    Attributes:
      features: (2048,) of every finite sample's file, by the file's SHA-256.
    """

    real: RealImages
    features: dict[str, np.ndarray]

    def __call__(self, records: list[dict]) -> dict[str, float | int | None]:
        """FID of the finite samples among records, and their number; None for too few."""
        ours = [self.features[r["png_sha256"]] for r in records if r["finite"]]
        if len(ours) < self.real.least:
            return {"fid": None, "fid_images": len(ours)}
        distance = frechet_distance(statistics_of_few(np.stack(ours)), self.real.statistics)
        return {"fid": distance, "fid_images": len(ours)}

    @property
    def about(self) -> str:
        """What the numbers are, in a sentence."""
        return (
            f"FID (in brackets: of how many restored images) against the"
            f" {self.real.statistics.images} images of {self.real.folder}: {PROTOCOL}. Comparable"
            " at equal numbers and sizes of images only."
        )


def fid_text(row: dict) -> str:
    """A cell of a table, from what `FIDScores` gives."""
    if row.get("fid_images") is None:
        return "-"
    value = "-" if row["fid"] is None else f"{row['fid']:.2f}"
    return f"{value} ({row['fid_images']})"


def check_fid(run: Run, sets: Iterable[int]) -> None:
    """Raise an error where the FID that is asked for cannot be computed, or would be of few images.

    Args:
      run: has the options.
      sets: numbers of restored images that are compared together.

    Raises:
      ValueError: no network, or too few images on either side.
      FileNotFoundError: no folder of images.
    """
    if run.fid is None:
        return
    read_card(_network(run.fid), "inception-fid")
    least = _least(run)
    ways = " or ask for it with --fid-few" if least == LEAST else ""
    counts = {"there": len(image_files([run.fid])), "to restore": min(sets, default=least)}
    for name, count in counts.items():
        if count < least:
            raise ValueError(
                f"--fid {run.fid}: {count} images {name}, and FID of fewer than {least} is mostly "
                f"their number: give more images{ways}"
            )


def set_sizes(jobs: Iterable[Job]) -> list[int]:
    """How many samples every row of the tables of a plan has, of all shapes together."""
    counts: Counter[tuple[str, str]] = Counter()
    for job in jobs:
        counts[job.task, job.label] += len(job.items)
    return list(counts.values())


def real_images(run: Run) -> RealImages | None:
    """The network, and the statistics of the real images; None without ``--fid``.

    The statistics are kept in ``~/.cache/dsg_jax/fid`` under a hash of all files and the network.

    Raises:
      ValueError, OSError: the network or an image cannot be read; the message names it.
    """
    if run.fid is None:
        return None
    params, card = load_inception(_network(run.fid))
    files = image_files([run.fid])
    digests = sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    identity = hashlib.sha256(" ".join([PROTOCOL, card["tensors_sha256"], *digests]).encode())
    path = cache_folder("fid") / f"{identity.hexdigest()}.npz"
    real = _stored(path)
    if real is None:
        real = statistics(_features(params, files, "FID, real images"))
        _store(path, real)
    return RealImages(run.fid, params, real, _least(run))


def fid_scores(
    real: RealImages | None, runs: Iterable[tuple[Path, list[dict]]]
) -> FIDScores | None:
    """Features of all finite samples of some runs, for their scores; None without ``--fid``.

    Args:
      real: of `real_images`.
      runs: output folder and records of each.
    """
    if real is None:
        return None
    files = {
        record["png_sha256"]: out / record["png"]
        for out, records in runs
        for record in records
        if record["finite"]
    }
    batches = _features(real.params, list(files.values()), "FID, restored images")
    return FIDScores(
        real, dict(zip(files, (row for batch in batches for row in batch), strict=True))
    )


def _network(real: Path) -> str:
    folder = os.environ.get("DSG_JAX_INCEPTION")
    if not folder:
        raise ValueError(
            f"--fid {real} needs the weights of pytorch-fid, which are not bundled: convert them"
            " once, by `dsg-jax convert pt_inception-2015-12-05-6726825d.pth --out DIR`, and set "
            "DSG_JAX_INCEPTION=DIR"
        )
    return folder


def _least(run: Run) -> int:
    return 2 if run.fid_few else LEAST


def _features(params: dict, files: list[Path], about: str) -> Iterator[np.ndarray]:
    shown = tqdm(files, about, unit="image", disable=None, file=sys.stderr)
    return inception_features(params, map(read_image, shown))


def _stored(path: Path) -> Statistics | None:
    try:
        with np.load(path) as stored:
            return Statistics(int(stored["images"]), stored["mean"], stored["covariance"])
    except _DAMAGED:
        return None


def _store(path: Path, real: Statistics) -> None:
    stream = io.BytesIO()
    np.savez(stream, images=real.images, mean=real.mean, covariance=real.covariance)
    try:
        write_atomically(path, stream.getvalue())
    except OSError:  # a home that cannot be written: they are computed again next time
        pass

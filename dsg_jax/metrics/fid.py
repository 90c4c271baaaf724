"""Fréchet inception distance (Heusel et al. 2017) as pytorch-fid computes it.

The distance of two sets of images: of the Gaussians that have mean and covariance of the sets'
features. It depends on the number of images (few ones give a larger one), on how they were resized
and on the weights, so that only numbers of one `PROTOCOL` and about one count are comparable.
"""

from collections.abc import Iterable, Iterator
from functools import reduce
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dsg_jax.networks.inception import SIDE, Inception
from dsg_jax.priors import load_folder

# What a number has to be called to be comparable with others.
PROTOCOL = "pytorch-fid, Inception 2015-12-05, bilinear 299, pool3"


class Statistics(NamedTuple):
    """What FID knows of a set of images, in float64.

    Attributes:
      images: how many they are.
      mean: (d,) of their features.
      covariance: (d, d), divided by their number - 1.
      root: (n, d) whose ``root.T @ root`` is the covariance, where it is known.
    """

    images: int
    mean: np.ndarray
    covariance: np.ndarray
    root: np.ndarray | None = None


def load_inception(folder: str | Path) -> tuple[dict, dict]:
    """The network of a converted ``pt_inception-2015-12-05-6726825d.pth``, and its card.

    Raises:
      FileNotFoundError: no such folder, or one without a card.
      ValueError: a card or weights that are not those of this network.
    """
    params, card, _ = load_folder(folder, "inception-fid")
    return params, card


def inception_features(
    params: dict, images: Iterable[np.ndarray], batch: int = 32
) -> Iterator[np.ndarray]:
    """The features of images of any sizes, batch by batch.

    Args:
      params: of `load_inception`.
      images: (h, w, 3) or (h, w, 1) in [-1, 1]; grey is repeated to three channels.
      batch: images that are computed together.

    Yields:
      (n, 2048) float32 for each ``batch`` images, the last of which may be fewer.

    Raises:
      ValueError: an image of another shape.
    """
    left = iter(images)
    while members := [resized(image) for image in islice(left, batch)]:
        # Filled up with zeros, so that one program serves all batches.
        filled = np.zeros((batch, SIDE, SIDE, 3), np.float32)
        filled[: len(members)] = members
        yield np.asarray(_pool3(params, filled))[: len(members)]


def resized(image: np.ndarray) -> np.ndarray:
    """An image at the network's size, bilinear without antialiasing, as PyTorch interpolates.

        output pixel i lies at  (i + 1/2) n / 299 - 1/2  of n input pixels, not beyond the outer two

    Args:
      image: (h, w, 3) or (h, w, 1) in [-1, 1].

    Returns:
      (299, 299, 3) float32.

    Raises:
      ValueError: an image of another shape.
    """
    if image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise ValueError(
            f"FID takes images (h, w, 3) or (h, w, 1), not {image.shape}: give pictures"
        )
    x = np.asarray(image, np.float32)
    for axis in (0, 1):
        n = x.shape[axis]
        place = np.clip((np.arange(SIDE) + 0.5) * (n / SIDE) - 0.5, 0, n - 1)
        low = place.astype(int)
        share = (place - low).astype(np.float32)[(..., *[None] * (2 - axis))]
        x = (
            np.take(x, low, axis) * (1 - share)
            + np.take(x, np.minimum(low + 1, n - 1), axis) * share
        )
    return np.broadcast_to(x, (SIDE, SIDE, 3))


def statistics(features: Iterable[np.ndarray]) -> Statistics:
    """Mean and covariance of features, batch by batch in float64.

    Args:
      features: batches (n, d).

    Raises:
      ValueError: fewer than two images, which have no covariance.
    """
    total = reduce(_joined, map(_moments, features), None)
    if total is None or total.images < 2:
        raise ValueError(f"FID of {total.images if total else 0} images: give two at least")
    return total._replace(covariance=total.covariance / (total.images - 1))


def statistics_of_few(features: np.ndarray) -> Statistics:
    """The same of one array (n, d), with the root where n <= d: eigenvalues are then n only.

    Raises:
      ValueError: fewer than two images.
    """
    few = statistics([features])
    if few.images > features.shape[1]:
        return few
    return few._replace(root=(features - few.mean) / np.sqrt(few.images - 1))


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """Squared 2-Wasserstein distance of two Gaussians, in float64.

        |m_a - m_b|^2 + tr(C_a) + tr(C_b) - 2 tr((C_a C_b)^(1/2))

    The last trace is the sum of the roots of the eigenvalues of R C_b R', which is symmetric, for
    any R with R' R = C_a. That holds for sets smaller than the number of features, too, where the
    product that pytorch-fid takes the root of is singular.
    """
    difference = a.mean - b.mean
    root = a.root
    if root is None:
        values, vectors = np.linalg.eigh(a.covariance)
        root = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    inner = np.maximum(np.linalg.eigvalsh(root @ b.covariance @ root.T), 0)
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    return max(0.0, float(difference @ difference + traces - 2 * np.sqrt(inner).sum()))


@jax.jit
def _pool3(params: dict, x: Array | np.ndarray) -> Array:
    return Inception().apply({"params": params}, jnp.asarray(x))[0]


def _moments(batch: np.ndarray) -> Statistics:
    """Count, mean and, in place of the covariance, the sum of squares about the mean."""
    x = np.asarray(batch, np.float64)
    centred = x - x.mean(axis=0)
    return Statistics(len(x), x.mean(axis=0), centred.T @ centred)


def _joined(a: Statistics | None, b: Statistics) -> Statistics:
    """The same of two sets together (Chan et al. 1979)."""
    if a is None:
        return b
    images, difference = a.images + b.images, b.mean - a.mean
    between = np.outer(difference, difference) * (a.images * b.images / images)
    mean = a.mean + difference * (b.images / images)
    return Statistics(images, mean, a.covariance + b.covariance + between)

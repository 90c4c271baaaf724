"""Is a sampler calibrated? Ranks, coverage, spread and bias against the exact posterior.

If the truth and L samples come from one posterior, the number of samples below the truth is uniform
on 0..L, for every entry and every function of an image: simulation-based calibration (Talts et al.
2018). The central interval from the k-th smallest to the k-th largest sample then holds the truth
with probability (L + 1 - 2 k) / (L + 1), without any assumption on the posterior's shape.

Statistics take ``weights`` (r, n) on the truths, a row each for the estimate and for bootstrap
draws, and return one value per row.
"""

import numpy as np
from jax.scipy.stats import chi2

BINS = 5
"""Of the rank histograms."""
FUNCTIONALS = ("mean", "pixel", "direction", "likelihood")
"""Scalar functions of an image, see `functionals`."""
DRAWS = 2000
"""Of the bootstrap."""


def functionals(images: np.ndarray, y: np.ndarray, matrix, direction, pixel: int, sigma: float):
    """`FUNCTIONALS` of images (..., n) with their measurements y (..., m): (..., 4).

    The mean over all entries; the entry and the direction that the measurement knows least; and the
    log-likelihood -|y - A x|^2 / (2 sigma^2).
    """
    residual = y - images @ matrix.T
    likelihood = -np.sum(residual**2, axis=-1) / (2 * sigma**2)
    values = (images.mean(axis=-1), images[..., pixel], images @ direction, likelihood)
    return np.stack(values, axis=-1)


def ranks(truth: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """How many of the L samples (n, L, ...) lie below the truth (n, ...); 0..L."""
    return np.sum(samples < truth[:, None], axis=1)


def levels_of(count: int) -> tuple[float, float, float]:
    """Central intervals that end at samples: 50, 80 and 95 %, the last 90 % for 19, 59, ...

    Raises:
      ValueError: count + 1 is no multiple of 20.
    """
    if count < 1 or (count + 1) % 20:
        raise ValueError(
            f"{count} samples: give 19, 39 or another multiple of 20 less one, so that the central "
            "intervals end at samples; 39 has one of 95 %"
        )
    return 0.5, 0.8, 0.9 if (count + 1) % 40 else 0.95


def covered(rank: np.ndarray, count: int, level: float) -> np.ndarray:
    """Whether the central interval of a level holds the truth of the given rank among ``count``.

    ``level`` is one of `levels_of` (count).
    """
    cut = round((count + 1) * (1 - level) / 2)
    return (rank >= cut) & (rank <= count - cut)


def histogram(rank: np.ndarray, count: int) -> np.ndarray:
    """Ranks 0..count in `BINS` equal bins; (BINS,) counts. BINS has to divide count + 1."""
    return np.bincount(rank * BINS // (count + 1), minlength=BINS)


def uniformity(rank: np.ndarray, count: int) -> float:
    """The p value of uniform ranks: Pearson's chi-square test on `BINS` bins."""
    expected = len(rank) / BINS
    statistic = np.sum((histogram(rank, count) - expected) ** 2) / expected
    return float(chi2.sf(statistic, BINS - 1))


def rank_spread(weights: np.ndarray, rank: np.ndarray, count: int) -> np.ndarray:
    """Mean squared distance of the ranks from count / 2 over that of uniform ranks.

    Above 1 the truths lie outside too often (samples too narrow, or biased), below 1 inside (too
    wide). ``rank`` (n, ...) is averaged over all but its first axis.
    """
    uniform = ((count + 1) ** 2 - 1) / 12
    squares = (rank - count / 2.0) ** 2
    return weights @ squares.reshape(len(rank), -1).mean(axis=1) / uniform


def bootstrap_weights(count: int) -> np.ndarray:
    """(1 + DRAWS, count): equal weights first, then shares of truths drawn with replacement.

    The draws are the same at every call, so that statistics of two samplers can be paired.
    """
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=DRAWS)
    return np.vstack([np.ones(count), drawn]) / count


def estimate(values: np.ndarray) -> list[float]:
    """A statistic's value and the ends of its 95 % percentile interval (Efron 1979)."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return [float(values[0]), float(low), float(high)]


def std_ratio(weights: np.ndarray, variance: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Standard deviation of the samples over the posterior's: geometric mean over the entries.

    ``variance`` (n, p) of the samples (divided by L - 1) and ``exact`` are averaged over the truths
    before their ratio is taken, so that the ratio of a calibrated sampler is 1 on average.
    """
    return np.exp(0.5 * np.mean(np.log((weights @ variance) / (weights @ exact)), axis=1))


def bias(
    weights: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    exact_mean: np.ndarray,
    exact_variance: np.ndarray,
    count: int,
) -> np.ndarray:
    """Distance of the sampler's mean from the exact one, in posterior standard deviations.

        sqrt( average of ((mean - exact mean)^2 - variance / L) / exact variance )

    over entries and truths; the subtracted term is what L samples' mean is off by chance. Negative
    averages count as 0.
    """
    excess = ((mean - exact_mean) ** 2 - variance / count) / exact_variance
    return np.sqrt(np.maximum(weights @ excess.mean(axis=1), 0))

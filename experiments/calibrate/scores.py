"""Is a sampler calibrated? Ranks, coverage, spread and bias against the exact posterior.

If the truth and L samples come from one posterior, the number of samples below the truth is uniform
on 0..L, for every entry and every function of an image: simulation-based calibration (Talts et al.
2018). The central interval from the k-th smallest to the k-th largest sample then holds the truth
with probability (L + 1 - 2 k) / (L + 1), without any assumption on the posterior's shape.

Statistics take ``weights`` (r, n) on the truths, a row each for the estimate and for bootstrap
draws, and return one value per row.
"""

from typing import Any

import numpy as np
from jax.scipy.stats import chi2

from dsg_jax.bounded import regular_size
from dsg_jax.priors.mixture_posterior import least_known
from experiments.calibrate.cases import Case, Sampler
from experiments.calibrate.settings import BINS, levels_of
from experiments.files import fault
from experiments.statistics import PLAIN

# Scalar functions of an image, see `functionals`.
FUNCTIONALS = ("mean", "pixel", "direction", "likelihood")
# How often the bootstrap draws the truths anew.
DRAWS = 2000
# Numpy arrays by name: what is stored of a sampler's samples, see `stored`.
Arrays = dict[str, Any]


def functionals(case: Case, images: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`FUNCTIONALS` of images (..., p) with their measurements y (..., p): (..., 4).

    The mean over all entries; the entry and the direction that the measurement knows least; and the
    log-likelihood -|y - A x|^2 / (2 sigma^2).
    """
    return np.stack(
        [
            images.mean(axis=-1),
            images[..., case.variance.mean(axis=0).argmax()],
            images @ least_known(case.posterior),
            -np.sum((y - images @ case.matrix.T) ** 2, axis=-1) / (2 * case.sigma**2),
        ],
        axis=-1,
    )


def ranks(truth: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """How many of the L samples (n, L, ...) lie below the truth (n, ...); 0..L."""
    return np.sum(samples < truth[:, None], axis=1)


def covered(rank: np.ndarray, count: int, level: float) -> np.ndarray:
    """Whether the central interval of a level holds the truth of the given rank among ``count``.

    ``level`` is one of `settings.levels_of` (count).
    """
    cut = round((count + 1) * (1 - level) / 2)
    return (rank >= cut) & (rank <= count - cut)


def histogram(rank: np.ndarray, count: int) -> np.ndarray:
    """Ranks 0..count in `BINS` equal bins; (BINS,) counts. BINS has to divide count + 1."""
    return np.bincount(rank * BINS // (count + 1), minlength=BINS)


def uniformity(rank: np.ndarray, count: int) -> float:
    """The p value of uniform ranks: Pearson's chi-square test on `BINS` bins."""
    expected = len(rank) / BINS
    squares = (histogram(rank, count) - expected) ** 2
    return float(chi2.sf(np.sum(squares) / expected, BINS - 1))


def rank_spread(weights: np.ndarray, rank: np.ndarray, count: int) -> np.ndarray:
    """Mean squared distance of the ranks from count / 2 over that of uniform ranks.

    Above 1 the truths lie outside too often (samples too narrow, or biased), below 1 inside (too
    wide). ``rank`` (n, ...) is averaged over all but its first axis.
    """
    uniform = ((count + 1) ** 2 - 1) / 12
    squares = ((rank - count / 2.0) ** 2).reshape(len(rank), -1)
    return weights @ squares.mean(axis=1) / uniform


def bootstrap_weights(count: int) -> np.ndarray:
    """(1 + DRAWS, count): equal weights first, then shares of truths drawn with replacement.

    The draws are the same at every call, so that statistics of two samplers can be paired.
    """
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=DRAWS)
    return np.vstack([np.ones(count), drawn]) / count


def estimate(values: np.ndarray) -> list[float]:
    """A statistic's value and the ends of its 95 % percentile interval (Efron 1979)."""
    return [float(value) for value in (values[0], *np.quantile(values[1:], [0.025, 0.975]))]


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


def stored(case: Case, samples: np.ndarray, seconds: float) -> Arrays:
    """What is stored of the samples (n, L, p) of every truth.

    ``mean`` and ``variance`` (n, p), divided by L - 1; ``pixel_ranks`` (n, p) of every entry and
    ``ranks`` (n, 4) of the functionals; ``finite`` (n,), whether all samples of a truth are;
    ``seconds``.
    """
    truth, y = (images.reshape(len(samples), -1) for images in (case.truths, case.y))
    return {
        "mean": samples.mean(axis=1),
        "variance": samples.var(axis=1, ddof=1),
        "pixel_ranks": ranks(truth, samples),
        "ranks": ranks(functionals(case, truth, y), functionals(case, samples, y[:, None])),
        "finite": np.isfinite(samples).all(axis=(1, 2)),
        "seconds": np.array(seconds),
    }


def is_stored(sampler: Sampler, count: int) -> bool:
    """Whether a sampler's file has what `stored` makes of ``count`` samples; a `fault` if not."""
    if not sampler.path.exists():
        return False
    case = sampler.case
    expected = stored(case, np.zeros((*case.mean.shape[:1], count, case.mean.shape[1])), 0.0)
    try:
        regular_size(sampler.path)
        with np.load(sampler.path) as archive:
            arrays = dict(archive)
        forms = [{n: (a.shape, a.dtype) for n, a in one.items()} for one in (arrays, expected)]
        orders = np.concatenate([arrays[name].ravel() for name in ("ranks", "pixel_ranks")])
        if forms[0] == forms[1] and 0 <= orders.min() <= orders.max() <= count:
            return bool(np.isfinite(arrays["seconds"]))
    except Exception:  # numpy's and zip's parsers raise whatever they raise
        pass
    fault(f"{sampler.path} is damaged and left out: its samples are drawn again")
    return False


def scores_of(sampler: Sampler, arrays: Arrays, plain: Arrays, count: int) -> dict[str, Any]:
    """A row: the scores as JSON values; estimates are [value, low, high], None if unknown.

    Args:
      sampler: what drew the samples.
      arrays: what is stored of them.
      plain: the same of its solver without a projection, for the ratio of their widths.
      count: samples of every truth.
    """
    row = {
        "prior": sampler.case.prior,
        "task": sampler.case.task,
        "solver": sampler.name,
        "rule": sampler.rule,
        "seconds": round(float(arrays["seconds"]), 1),
        "not_finite": int(np.sum(~arrays["finite"])),
        # None where too few truths have finite samples, or what is asked does not exist
        **dict.fromkeys(("std", "std_hidden", "std_seen", "to_plain", "bias", "rank_spread")),
        **dict.fromkeys(("coverage", "p", "histogram")),
    }
    if arrays["finite"].sum() > 1:
        row |= widths(sampler, arrays, plain, count) | ranked(arrays, count)
    return row


def widths(sampler: Sampler, arrays: Arrays, plain: Arrays, count: int) -> dict:
    """Widths over the exact posterior's and over the plain solver's, and the means' distance."""
    case, finite = sampler.case, arrays["finite"]
    weights = bootstrap_weights(int(finite.sum()))
    mean, variance = arrays["mean"][finite], arrays["variance"][finite]
    exact_mean, exact = case.mean[finite], case.variance[finite]
    ratio = lambda where: estimate(std_ratio(weights, variance[:, where], exact[:, where]))
    scores = {
        "std": ratio(slice(None)),
        "bias": estimate(bias(weights, mean, variance, exact_mean, exact, count)),
    }
    hidden = np.all(case.matrix == 0, axis=1)  # entries that the measurement leaves out
    if hidden.any():
        scores |= {"std_hidden": ratio(hidden), "std_seen": ratio(~hidden)}
    both = finite & plain["finite"]
    if sampler.rule != PLAIN and both.sum() > 1:
        pair = arrays["variance"][both], plain["variance"][both]
        scores["to_plain"] = estimate(std_ratio(bootstrap_weights(int(both.sum())), *pair))
    return scores


def ranked(arrays: Arrays, count: int) -> dict:
    """Coverage over all entries, and the ranks of the functionals."""
    finite = arrays["finite"]
    weights, entries = bootstrap_weights(int(finite.sum())), arrays["pixel_ranks"][finite]
    by_name = {name: arrays["ranks"][finite, i] for i, name in enumerate(FUNCTIONALS)}
    return {
        "coverage": {
            f"{level:g}": estimate(weights @ covered(entries, count, level).mean(axis=1))
            for level in levels_of(count)
        },
        "rank_spread": estimate(rank_spread(weights, entries, count)),
        "p": {name: uniformity(rank, count) for name, rank in by_name.items()},
        "histogram": {name: histogram(rank, count).tolist() for name, rank in by_name.items()},
    }

"""What numbers of many restorations come to: choices of samples, means, worst tenth, intervals.

A record is what is known of one restored sample, by the names of its line in ``metrics.jsonl``. A
restoration that is not finite enters no mean; it is counted as a failure and stands below all
others among the worst.
"""

import math
from collections.abc import Callable, Iterable

import numpy as np

from experiments.settings import EXTRA_METRICS

# The rank rule that stands for no projection.
PLAIN = "none"
# How often the bootstrap draws.
RESAMPLES = 10_000


def grouped(records: Iterable[dict], *fields: str) -> dict[tuple, list[dict]]:
    """Records by the values of some fields, in order of appearance."""
    groups: dict[tuple, list[dict]] = {}
    for record in records:
        groups.setdefault(tuple(record[field] for field in fields), []).append(record)
    return groups


def finite_values(records: list[dict], name: str) -> np.ndarray:
    """The values of a field where the sample is finite and the field is known."""
    values = [r[name] for r in records if r["finite"] and r.get(name) is not None]
    return np.array(values, np.float64)


def extra_names(records: Iterable[dict]) -> list[str]:
    """The metrics on request that some records (or rows of a table) have, in their order."""
    fields = {name for record in records for name in record}
    return [name for name in EXTRA_METRICS if name in fields]


def is_failure(record: dict, failure_psnr: float) -> bool:
    """Not finite, or (where a truth exists) a PSNR below the threshold in dB."""
    low = record["psnr"] is not None and record["psnr"] < failure_psnr
    return not record["finite"] or low


def lowest_misfit(samples: list[dict]) -> dict:
    """The sample that explains its measurement best; choosing it needs no truth."""
    return min(samples, key=lambda r: math.inf if r["misfit"] is None else r["misfit"])


def highest_psnr(samples: list[dict]) -> dict:
    """The sample nearest to the truth, as the papers choose for phase retrieval."""
    return max(samples, key=lambda r: -math.inf if r["psnr"] is None else r["psnr"])


def finite_samples(samples: list[dict]) -> list[dict]:
    """The samples that are finite; all of them where none is."""
    return [sample for sample in samples if sample["finite"]] or samples


def mean_or_none(values: np.ndarray, reduce: Callable = np.mean) -> float | None:
    """The mean (or ``reduce``) of values, None without any."""
    return float(reduce(values)) if values.size else None


def worst_tenth(records: list[dict]) -> float | None:
    """Mean PSNR of the worst tenth of the images, rounded up; None if one of them is not finite."""
    known = lambda r: math.inf if r["psnr"] is None else r["psnr"]
    values = sorted(known(r) if r["finite"] else -math.inf for r in records)
    mean = float(np.mean(values[: -(-len(values) // 10)]))
    return mean if math.isfinite(mean) else None


def bootstrap_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float] | None:
    """Percentile interval of the mean (Efron 1979): images are drawn with replacement.

    The draws are the same at every call. None for fewer than two values.
    """
    if len(values) < 2:
        return None
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired(records: list[dict], others: list[dict], name: str) -> dict:
    """Mean difference of a field over the images that both have finite, and its interval.

    Of an image with several seeds the mean difference counts, for images are what is drawn.

    Returns:
      "mean" (None without a pair), "interval" ([low, high]; None below two pairs) and "pairs".
    """
    place = lambda r: (r["image"], r.get("seed"))
    known = lambda members: [r for r in members if r["finite"] and r[name] is not None]
    theirs = {place(r): r[name] for r in known(others)}
    both = [r for r in known(records) if place(r) in theirs]
    gains = [[r[name] - theirs[place(r)] for r in m] for m in grouped(both, "image").values()]
    differences = np.array([np.mean(gain) for gain in gains])
    interval = bootstrap_interval(differences)
    mean = mean_or_none(differences)
    return {"mean": mean, "interval": interval and list(interval), "pairs": len(differences)}

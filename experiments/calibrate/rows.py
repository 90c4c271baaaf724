"""The rows of `calibrate`: the scores of every sampler of a setting, with intervals over truths."""

import io
from typing import Any

import numpy as np

from experiments.calibrate.cells import Cell
from experiments.calibrate.scores import (
    FUNCTIONALS,
    bias,
    bootstrap_weights,
    covered,
    estimate,
    histogram,
    levels_of,
    rank_spread,
    std_ratio,
    uniformity,
)
from experiments.statistics import PLAIN

Kept = dict[str, np.ndarray]
"""The arrays that `calibration.score` leaves of a cell's samples."""

ESTIMATES = ("std", "std_hidden", "std_seen", "to_plain", "bias", "rank_spread")
MEASURED = (*ESTIMATES, "coverage", "p", "histogram")
"""Fields of a row that are None where too few truths have finite samples."""


def read_cell(cell: Cell) -> Kept:
    """The arrays of a finished cell."""
    with np.load(io.BytesIO(cell.path.read_bytes())) as arrays:
        return dict(arrays)


def row_of(cell: Cell, kept: Kept, plain: Kept, count: int) -> dict:
    """The scores of a cell as JSON values; estimates are [value, low, high], None if unknown.

    Args:
      cell: the sampler and its setting.
      kept: its arrays.
      plain: those of the same solver without a projection, for the ratio of their widths.
      count: samples of every truth.
    """
    row: dict[str, Any] = {"prior": cell.setting.prior, "task": cell.setting.task}
    row |= {"solver": cell.solver, "rule": cell.rule, "seconds": round(float(kept["seconds"]), 1)}
    row |= {"not_finite": int(np.sum(~kept["finite"]))} | dict.fromkeys(MEASURED)
    if kept["finite"].sum() < 2:
        return row
    return row | widths(cell, kept, plain, count) | ranked(kept, count)


def widths(cell: Cell, kept: Kept, plain: Kept, count: int) -> dict:
    """Widths over the exact posterior's and over the plain solver's, and the means' distance."""
    setting, finite = cell.setting, kept["finite"]
    weights = bootstrap_weights(int(finite.sum()))
    mean, variance = kept["mean"][finite], kept["variance"][finite]
    exact_mean, exact = setting.mean[finite], setting.variance[finite]
    ratio = lambda where: estimate(std_ratio(weights, variance[:, where], exact[:, where]))
    found = {
        "std": ratio(slice(None)),
        "bias": estimate(bias(weights, mean, variance, exact_mean, exact, count)),
    }
    if setting.hidden.any():
        found |= {"std_hidden": ratio(setting.hidden), "std_seen": ratio(~setting.hidden)}
    both = finite & plain["finite"]
    if cell.rule != PLAIN and both.sum() > 1:
        ours, theirs = kept["variance"][both], plain["variance"][both]
        found["to_plain"] = estimate(std_ratio(bootstrap_weights(len(ours)), ours, theirs))
    return found


def ranked(kept: Kept, count: int) -> dict:
    """Coverage over all entries, and the ranks of the functionals."""
    finite = kept["finite"]
    weights, entries = bootstrap_weights(int(finite.sum())), kept["pixel_ranks"][finite]
    inside = {level: covered(entries, count, level).mean(axis=1) for level in levels_of(count)}
    of = {name: kept["ranks"][finite, i] for i, name in enumerate(FUNCTIONALS)}
    return {
        "coverage": {f"{level:g}": estimate(weights @ inside[level]) for level in inside},
        "rank_spread": estimate(rank_spread(weights, entries, count)),
        "p": {name: uniformity(rank, count) for name, rank in of.items()},
        "histogram": {name: histogram(rank, count).tolist() for name, rank in of.items()},
    }

"""The numbers of `robustness`: means, the worst tenth, failures and paired intervals.

A restoration that is not finite enters no mean; it is counted as a failure and stands below all
others among the worst.
"""

import math

import numpy as np

from experiments.restore.report import extra_names, finite_values, grouped, is_failure

PLAIN = "none"
"""The rank rule that stands for no projection."""
RESAMPLES = 10_000
"""Of the bootstrap."""


def bootstrap_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float] | None:
    """Percentile interval of the mean (Efron 1979): images are drawn with replacement.

    The draws are the same at every call. None for fewer than two values.
    """
    if len(values) < 2:
        return None
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired(scores: list[dict], others: list[dict], name: str) -> dict:
    """Mean difference of a score over the images that both have, and its interval.

    Of an image with several seeds the mean difference counts, for images are what is drawn.
    """
    place = lambda s: (s["image"], s.get("seed"))
    known = lambda members: [s for s in members if s["finite"] and s[name] is not None]
    theirs = {place(s): s[name] for s in known(others)}
    mine = [s for s in known(scores) if place(s) in theirs]
    gains = [[s[name] - theirs[place(s)] for s in m] for m in grouped(mine, "image").values()]
    differences = np.array([np.mean(gain) for gain in gains])
    mean = float(differences.mean()) if differences.size else None
    interval = bootstrap_interval(differences)
    return {"mean": mean, "interval": interval and list(interval), "pairs": len(differences)}


def decibels(score: dict) -> float:
    """PSNR for comparisons: that of a restoration that is not finite is below all others."""
    if not score["finite"]:
        return -math.inf
    return math.inf if score["psnr"] is None else score["psnr"]


def worst_tenth(scores: list[dict]) -> float | None:
    """Mean PSNR of the worst tenth of the images, rounded up; None if one of them is not finite."""
    values = sorted(map(decibels, scores))
    mean = float(np.mean(values[: -(-len(values) // 10)]))
    return mean if math.isfinite(mean) else None


def mean_or_none(values: np.ndarray, reduce=np.mean) -> float | None:
    """The mean (or ``reduce``) of values, None without any."""
    return float(reduce(values)) if values.size else None


def row_of(scores: list[dict], plain: list[dict], failure_psnr: float) -> dict:
    """One task, rule and factor, beside the plain solver at the same factor."""
    place = {name: scores[0][name] for name in ("task", "rule", "factor")}
    values = {name: finite_values(scores, name) for name in ("psnr", "ssim", "lpips")}
    known = [s for s in scores if s["input_psnr"] is not None]
    below = [decibels(s) < s["input_psnr"] for s in known]
    return (
        place
        | {
            "images": len(scores),
            "not_finite": sum(not s["finite"] for s in scores),
            "psnr": mean_or_none(values["psnr"]),
            "psnr_std": mean_or_none(values["psnr"], np.std),
            "worst_tenth_psnr": worst_tenth(scores),
            "ssim": mean_or_none(values["ssim"]),
            "lpips": mean_or_none(values["lpips"]),
            "lpips_std": mean_or_none(values["lpips"], np.std),
            "failures": float(np.mean([is_failure(s, failure_psnr) for s in scores])),
            "below_input": float(np.mean(below)) if below else None,
            "psnr_gain": paired(scores, plain, "psnr"),
            "lpips_gain": paired(scores, plain, "lpips"),
            "rank": mean_or_none(finite_values(scores, "rank_mean")),
            "kept": mean_or_none(finite_values(scores, "kept_mean")),
            "seconds": float(np.mean([s["seconds"] for s in scores])),
        }
        | {name: mean_or_none(finite_values(scores, name)) for name in extra_names(scores)}
    )


def table_rows(scores: list[dict], failure_psnr: float) -> list[dict]:
    """A row for every task, factor and rule."""
    cells = grouped(scores, "task", "factor", "rule")
    return [
        row_of(members, cells[task, factor, PLAIN], failure_psnr)
        for (task, factor, _), members in cells.items()
    ]


def best_rows(scores: list[dict], rows: list[dict]) -> list[dict]:
    """Each rule at the factor with its highest mean PSNR, where all is finite.

    Paired with the plain solver at its own best factor, and at the smallest (the papers' tables
    compare the plain solver's default step with a large one of the projected solver). The factors
    are chosen on the images that they are scored on.
    """
    cells, best = grouped(scores, "task", "rule", "factor"), []
    for (task, rule), members in grouped(rows, "task", "rule").items():
        plain = [r for r in rows if r["task"] == task and r["rule"] == PLAIN]
        top, plain_top = highest(members), highest(plain)
        if top is None:
            continue
        mine, last = cells[task, rule, top["factor"]], members[-1]["psnr"]
        over = lambda r, mine=mine, task=task: paired(mine, cells[task, PLAIN, r["factor"]], "psnr")
        best.append(
            {
                "task": task,
                "rule": rule,
                "psnr_first": members[0]["psnr"],
                "best_factor": top["factor"],
                "psnr_best": top["psnr"],
                "lpips_best": top["lpips"],
                "psnr_last": last,
                "gain_over_plain_best": over(plain_top) if plain_top else None,
                "gain_over_plain_first": over(plain[0]),
            }
        )
    return best


def highest(rows: list[dict]) -> dict | None:
    """The row with the highest mean PSNR among those where all is finite."""
    return max((r for r in rows if not r["not_finite"]), key=lambda r: r["psnr"], default=None)

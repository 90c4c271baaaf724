"""The numbers of `reproduce`: a row for every task, method and value of what is varied."""

import numpy as np

from experiments.papers.entry import BY_MISFIT, BY_PSNR, SINGLE, Experiment, Value
from experiments.papers.plan import Place, PlannedExperiment, Point
from experiments.statistics import (
    extra_names,
    finite_samples,
    finite_values,
    grouped,
    highest_psnr,
    is_failure,
    lowest_misfit,
    mean_or_none,
    paired,
    worst_tenth,
)

QUALITY = ("psnr", "ssim", "lpips")

Records = dict[Place, list[dict]]
"""Records of the samples of every plan."""


def scores_of(point: Point, records: Records) -> list[dict]:
    """A score per image and seed, and where there are several samples for every choice of them."""
    scores = []
    for plan in point.plans:
        for samples in grouped(records[point.task, plan.out], "image").values():
            scores += choices_of(point, samples)
    return scores


def choices_of(point: Point, samples: list[dict]) -> list[dict]:
    """The scores of one image and seed: the chosen records, and how they were chosen."""
    place = {"row": point.row.label, "x": point.x}
    score = lambda chosen, record, seed: record | place | {"chosen": chosen, "seed": seed}
    seed = str(samples[0]["seed"])
    if len(samples) == 1:
        return [score("", samples[0], seed)]
    finite = finite_samples(samples)
    best = {BY_PSNR: highest_psnr(finite), BY_MISFIT: lowest_misfit(finite)}
    return [score(chosen, record, seed) for chosen, record in best.items()] + [
        score(SINGLE, record, f"{seed}.{record['sample']}") for record in samples
    ]


def table_rows(planned: PlannedExperiment, records: Records, failure_psnr: float) -> list[dict]:
    """Means, the worst tenth, failures and paired differences, with the paper's values.

    Args:
      planned: an experiment.
      records: of all of its plans.
      failure_psnr: dB below which a restoration is a failure.
    """
    scores = [score for point in planned.points for score in scores_of(point, records)]
    groups = grouped(scores, "task", "x", "chosen", "row")
    by_label = {row.label: row for row in planned.experiment.rows}
    rows = []
    for (task, x, chosen, label), members in groups.items():
        others = [a for a in by_label[label].against if (task, x, chosen, a) in groups]
        gains = {a: gains_over(members, groups[task, x, chosen, a]) for a in others}
        place = {"task": task, "x": x, "chosen": chosen, "row": label}
        printed = printed_values(planned.experiment, by_label[label].printed, task, chosen)
        shown = {"gains": gains, "paper": printed, "note": ""}
        rows.append(place | means(members, failure_psnr) | shown)
    return rows


def absent_rows(planned: PlannedExperiment) -> list[dict]:
    """Rows of what is not run: the paper's values, and why."""
    empty = dict.fromkeys(("x", "images", "worst_tenth_psnr", "failures", "not_finite"))
    rows = []
    for task, row, why in planned.absent:
        printed = printed_values(planned.experiment, row.printed, task, "")
        note = f"paper's values only: {why}" if printed else f"not run: {why}"
        place = {"task": task, "row": row.label, "chosen": "", "runs": 0}
        rows.append(empty | place | {"gains": {}, "paper": printed, "note": note})
    return rows


def gains_over(members: list[dict], others: list[dict]) -> dict[str, dict]:
    """Paired differences of all scores, see `statistics.paired`."""
    return {name: paired(members, others, name) for name in QUALITY}


def means(members: list[dict], failure_psnr: float) -> dict:
    """What one setting came to; what is not finite counts as failure only."""
    row: dict = {"images": len(grouped(members, "image")), "runs": len(members)}
    for name in (*QUALITY, "seconds", *extra_names(members)):
        known = finite_values(members, name)
        row[name] = mean_or_none(known)
        row[f"{name}_std"] = mean_or_none(known, np.std)
    return row | {
        "worst_tenth_psnr": worst_tenth(members),
        "failures": float(np.mean([is_failure(s, failure_psnr) for s in members])),
        "not_finite": sum(not s["finite"] for s in members),
        "rank": mean_or_none(finite_values(members, "rank_mean")),
        "kept": mean_or_none(finite_values(members, "kept_mean")),
        "values": [None if s["psnr"] is None else round(s["psnr"], 3) for s in members],
    }


def printed_values(
    experiment: Experiment, printed: str | None, task: str, chosen: str
) -> dict[str, Value]:
    """Metric -> the paper's value; it has none for choices of samples that are only ours."""
    if printed is None or chosen in (BY_MISFIT, SINGLE):
        return {}
    places = {metric: (printed, task, metric) for metric in experiment.metrics}
    return {
        m: experiment.values[place] for m, place in places.items() if place in experiment.values
    }

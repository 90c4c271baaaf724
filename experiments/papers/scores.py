"""The numbers of `reproduce`: a row for every task, method and value of what is varied."""

import numpy as np

from experiments.papers.entry import BY_MISFIT, BY_PSNR, SINGLE, Experiment, Row, Value
from experiments.papers.plan import Place, PlannedExperiment, Point
from experiments.restore.fid import FIDScores
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

# Records of the samples of every plan.
Records = dict[Place, list[dict]]


def scores_of(point: Point, records: Records) -> list[dict]:
    """A score per image and seed, and where there are several samples for every choice of them."""
    return [
        score
        for plan in point.plans
        for samples in grouped(records[point.task, plan.out], "image").values()
        for score in choices_of(point, samples)
    ]


def choices_of(point: Point, samples: list[dict]) -> list[dict]:
    """The scores of one image and seed: the chosen records, and how they were chosen."""
    seed, finite = str(samples[0]["seed"]), finite_samples(samples)
    choices = [
        (BY_PSNR, highest_psnr(finite), seed),
        (BY_MISFIT, lowest_misfit(finite), seed),
        *((SINGLE, record, f"{seed}.{record['sample']}") for record in samples),
    ]
    return [
        record | {"row": point.row.label, "x": point.x, "chosen": chosen, "seed": seed}
        for chosen, record, seed in (choices if len(samples) > 1 else [("", samples[0], seed)])
    ]


def table_rows(
    planned: PlannedExperiment,
    records: Records,
    failure_psnr: float,
    fid: FIDScores | None = None,
) -> list[dict]:
    """Means, the worst tenth, failures and paired differences, with the paper's values.

    Args:
      planned: an experiment.
      records: of all of its plans.
      failure_psnr: dB below which a restoration is a failure.
      fid: scores of the same records, where they are asked for.
    """
    scores = [score for point in planned.points for score in scores_of(point, records)]
    groups = grouped(scores, "task", "x", "chosen", "row")
    by_label = {row.label: row for row in planned.experiment.rows}
    rows = []
    for (task, x, chosen, label), members in groups.items():
        gains = {
            other: {name: paired(members, groups[task, x, chosen, other], name) for name in QUALITY}
            for other in by_label[label].against
            if (task, x, chosen, other) in groups
        }
        printed = printed_values(planned.experiment, by_label[label], task, chosen)
        rows.append(
            {"task": task, "x": x, "chosen": chosen, "row": label}
            | means(members, failure_psnr)
            | (fid(members) if fid else {})
            | {"gains": gains, "paper": printed, "note": ""}
        )
    return rows


def absent_rows(planned: PlannedExperiment) -> list[dict]:
    """Rows of what is not run: the paper's values, and why."""
    rows = []
    for task, row, why in planned.absent:
        printed = printed_values(planned.experiment, row, task, "")
        rows.append(
            dict.fromkeys(("x", "images", "worst_tenth_psnr", "failures", "not_finite"))
            | {"task": task, "row": row.label, "chosen": "", "runs": 0}
            | {"gains": {}, "paper": printed}
            | {"note": f"paper's values only: {why}" if printed else f"not run: {why}"}
        )
    return rows


def means(members: list[dict], failure_psnr: float) -> dict:
    """What one setting came to; what is not finite counts as failure only."""
    row: dict = {"images": len(grouped(members, "image")), "runs": len(members)}
    for name in (*QUALITY, "seconds", *extra_names(members)):
        known = finite_values(members, name)
        row |= {name: mean_or_none(known), f"{name}_std": mean_or_none(known, np.std)}
    return row | {
        "worst_tenth_psnr": worst_tenth(members),
        "failures": float(np.mean([is_failure(s, failure_psnr) for s in members])),
        "not_finite": sum(not s["finite"] for s in members),
        "rank": mean_or_none(finite_values(members, "rank_mean")),
        "values": [None if s["psnr"] is None else round(s["psnr"], 3) for s in members],
    }


def printed_values(experiment: Experiment, row: Row, task: str, chosen: str) -> dict[str, Value]:
    """Metric -> the paper's value; it has none for choices of samples that are only ours."""
    if chosen in (BY_MISFIT, SINGLE):
        return {}
    places = {metric: (row.printed or "", task, metric) for metric in experiment.metrics}
    return {
        m: experiment.values[place] for m, place in places.items() if place in experiment.values
    }


def label_of(row: dict) -> str:
    """The method of a row of `table_rows`, and how its samples were chosen."""
    return f"{row['row']}, {row['chosen']}" if row["chosen"] else row["row"]

"""The numbers of `reproduce`: a row for every task, method and value of what is varied."""

from pathlib import Path

import numpy as np

from experiments.papers.entry import Experiment, Value
from experiments.papers.plan import Cell, Planned, place_of
from experiments.papers.robustness import chosen_sample
from experiments.restore.plan import Plan
from experiments.restore.report import extra_names, finite_values, grouped, highest_psnr, is_failure
from experiments.statistics import mean_or_none, paired, worst_tenth

QUALITY = ("psnr", "ssim", "lpips")
MEASURED = (*QUALITY, "finite", "misfit", "rank_mean", "kept_mean", "seconds")
"""What a score takes over from the line of a sample."""
BY_PSNR, BY_MISFIT, SINGLE = "best by PSNR", "lowest misfit", "single runs"
"""How the samples of an image become scores; "" where it has one. The papers print the first."""

Done = dict[tuple[str, Path], list[dict]]
"""Lines of the samples of every plan, by `place_of`."""


def scores_of(cell: Cell, done: Done) -> list[dict]:
    """A score per image and seed, and where there are several samples for every choice of them."""
    scores = []
    for planned in cell.plans:
        lines = done[place_of(cell.task, planned)]
        for samples in grouped(lines, "image").values():
            scores += choices_of(cell, planned, samples)
    return scores


def choices_of(cell: Cell, planned: Plan, samples: list[dict]) -> list[dict]:
    """The scores of one image and seed."""
    seed = str(planned.arguments.seed)
    names = (*MEASURED, *planned.arguments.metrics)
    place = {"task": cell.task, "row": cell.row.label, "x": cell.x, "image": samples[0]["image"]}
    score = lambda chosen, line, seed=seed: (
        place | {name: line[name] for name in names} | {"chosen": chosen, "seed": seed}
    )
    if len(samples) == 1:
        return [score("", samples[0])]
    finite = [sample for sample in samples if sample["finite"]]
    chosen = [
        score(BY_PSNR, highest_psnr(finite or samples)),
        score(BY_MISFIT, chosen_sample(samples)),
    ]
    return chosen + [score(SINGLE, line, f"{seed}.{line['sample']}") for line in samples]


def table_rows(planned: Planned, done: Done, failure_psnr: float) -> list[dict]:
    """Means, the worst tenth, failures and paired differences, with the paper's values.

    Args:
      planned: an experiment.
      done: lines of all of its plans.
      failure_psnr: dB below which a restoration is a failure.
    """
    scores = [score for cell in planned.cells for score in scores_of(cell, done)]
    groups = grouped(scores, "task", "x", "chosen", "row")
    by_label = {cell.row.label: cell.row for cell in planned.cells}
    rows = []
    for (task, x, chosen, label), members in groups.items():
        others = [a for a in by_label[label].against if (task, x, chosen, a) in groups]
        gains = {a: gains_over(members, groups[task, x, chosen, a]) for a in others}
        place = {"task": task, "x": x, "chosen": chosen, "row": label}
        printed = printed_values(planned.experiment, by_label[label].printed, task, chosen)
        rows.append(place | means(members, failure_psnr) | {"gains": gains, "paper": printed})
    return rows


def gains_over(members: list[dict], others: list[dict]) -> dict:
    """Paired differences of all scores, and of seconds."""
    return {name: paired(members, others, name) for name in QUALITY}


def means(members: list[dict], failure_psnr: float) -> dict:
    """What one setting came to; what is not finite counts as failure only."""
    found: dict = {"images": len(grouped(members, "image")), "runs": len(members)}
    for name in (*QUALITY, "seconds", *extra_names(members)):
        known = finite_values(members, name)
        found[name] = mean_or_none(known)
        found[f"{name}_std"] = mean_or_none(known, np.std)
    return found | {
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

"""Held-out images restored over seven tasks on pixels and one on latents: tables, and one picture.

python -m experiments demo
"""

from argparse import Namespace
from collections.abc import Callable

import numpy as np

from experiments.images import from_bytes, save_png
from experiments.pictures import Cell, grid, show_measurement
from experiments.restore.gallery import TITLES, row_of
from experiments.restore.plan import Plan, plan
from experiments.restore.report import lowest_misfit
from experiments.restore.run import run

TASKS = (
    "super_resolution",
    "box_inpainting",
    "random_inpainting",
    "gaussian_deblur",
    "motion_deblur",
    "hdr",
    "phase_retrieval",
)
COLUMNS = ["truth", "measurement", "plain solver", "with DiffStateGrad", "error of the latter"]


def plan_demo(arguments: Namespace, parse: Callable[[list[str]], Namespace]) -> Callable:
    """Plan both runs; ``parse`` reads the arguments of `restore`."""
    count, out = ["--count", str(arguments.count)], arguments.out
    pixels = ["--prior", "emoji", "--task", *TASKS, "--levels", str(arguments.levels)]
    # fifty of the reference's thousand steps, hence longer ones
    latents = ["--solver", "psld", "--task", "super_resolution", "--steps", "50"]
    latents += ["--step-factor", "8"]
    runs = {out: pixels, out / "latent": latents}
    plans = [plan(parse(["restore", *run, *count, "--out", str(to)])) for to, run in runs.items()]
    return lambda: demo(plans)


def demo(plans: list[Plan]) -> None:
    """Run, and say where the picture is."""
    rows = [row for planned in plans for row in overview(planned, run(planned))]
    out = plans[0].out
    save_png(out / "demo.png", from_bytes(grid(COLUMNS, rows)))
    print(f"Compare the pictures: {out}/demo.png, and {out}/TASK/grid.png for all images.")


def overview(planned: Plan, records: list[dict]) -> list[list[Cell]]:
    """One row per task, each on another image, in the order of `COLUMNS`."""
    rows = []
    for number, task in enumerate(dict.fromkeys(job.task for job in planned.jobs)):
        jobs = [job for job in planned.jobs if job.task == task]
        item = jobs[0].items[number % len(jobs[0].items)]
        name = item.picture.name
        mine = [r for r in records if r["task"] == task and r["image"] == name]
        chosen = [lowest_misfit([r for r in mine if r["method"] == job.label]) for job in jobs]
        measured = show_measurement(task, np.asarray(item.problem.y))
        row = row_of(name, item.picture, measured, chosen, planned.out, None)
        title = f"{task.replace('_', ' ')}, {TITLES[jobs[0].label]}"
        rows.append([row[0], Cell(row[1].pixels, title), *row[2:]])
    return rows

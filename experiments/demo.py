"""Seven tasks on held-out images with the bundled prior: a table, and one picture of them all.

python -m experiments demo
"""

from argparse import Namespace
from collections.abc import Callable

import numpy as np

from experiments.gallery import columns_of, row_of
from experiments.images import from_bytes, save_png
from experiments.pictures import Cell, grid, show_measurement
from experiments.plan import Plan, plan
from experiments.report import lowest_misfit
from experiments.restore import run

TASKS = (
    "super_resolution",
    "box_inpainting",
    "random_inpainting",
    "gaussian_deblur",
    "motion_deblur",
    "hdr",
    "phase_retrieval",
)


def plan_demo(arguments: Namespace, parse: Callable[[list[str]], Namespace]) -> Callable:
    """Plan the run; ``parse`` reads the arguments of `restore`."""
    given = ["restore", "--prior", "emoji", "--task", *TASKS, "--count", str(arguments.count)]
    given += ["--levels", str(arguments.levels), "--out", str(arguments.out)]
    planned = plan(parse(given))
    return lambda: demo(planned)


def demo(planned: Plan) -> None:
    """Run, and say where the picture is."""
    picture = planned.out / "demo.png"
    save_png(picture, overview(planned, run(planned)))
    print(f"Compare the pictures: {picture}, and {planned.out}/TASK/grid.png for all images.")


def overview(planned: Plan, records: list[dict]) -> np.ndarray:
    """One row per task, each on another image, in [-1, 1]."""
    rows = []
    for number, task in enumerate(dict.fromkeys(job.task for job in planned.jobs)):
        jobs = [job for job in planned.jobs if job.task == task]
        item = jobs[0].items[number % len(jobs[0].items)]
        name = item.picture.name
        mine = [r for r in records if r["task"] == task and r["image"] == name]
        chosen = [lowest_misfit([r for r in mine if r["method"] == job.label]) for job in jobs]
        measured = show_measurement(task, np.asarray(item.problem.y))
        row = row_of(name, item.picture, measured, chosen, planned.out, None)
        title = task.replace("_", " ")
        rows.append([row[0], Cell(row[1].pixels, title), *row[2:]])
    methods = list(dict.fromkeys(job.label for job in planned.jobs))
    return from_bytes(grid(columns_of(methods, with_truth=True, several=False), rows))

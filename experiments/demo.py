"""Held-out images restored over seven tasks on pixels and one on latents: tables, and one picture.

dsg-jax demo
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dsg_jax.solvers import SOLVERS
from experiments.demo_settings import DemoSettings
from experiments.images import from_bytes, save_png
from experiments.pictures import Panel, grid, show_measurement
from experiments.restore.gallery import grid_row
from experiments.restore.plan import Plan, plan
from experiments.restore.run import run
from experiments.settings import Images, Measurement, Method, RestoreSettings, Run
from experiments.statistics import lowest_misfit

SHOWN = (
    "super_resolution",
    "box_inpainting",
    "random_inpainting",
    "gaussian_deblur",
    "motion_deblur",
    "hdr",
    "phase_retrieval",
)
COLUMNS = ["truth", "measurement", "plain solver", "with DiffStateGrad", "error of the latter"]
ON_LATENTS = next(name for name, entry in SOLVERS.items() if entry.prior == "latent")
"""The first solver on latents."""


def plan_demo(settings: DemoSettings) -> Callable[[], None]:
    """Check the settings of `demo`; the result restores and draws.

    Raises:
      ValueError, OSError: something the user gave is wrong; the message names it.
    """
    pixels = RestoreSettings(
        images=Images(count=settings.count),
        measurement=Measurement(task=SHOWN),
        solver_options={"levels": settings.levels},
        run=Run(out=settings.out),
    )
    latents = replace(
        pixels,
        measurement=Measurement(task=SHOWN[:1]),
        method=Method(solver=(ON_LATENTS,)),
        # fifty of the reference's thousand steps, hence longer ones
        solver_options={"steps": 50, "step_factor": 8.0},
        run=Run(out=settings.out / "latent"),
    )
    plans = [plan(pixels), plan(latents)]
    return lambda: demo(plans)


def demo(plans: list[Plan]) -> None:
    """Run, and say where the picture is."""
    rows = [row for planned in plans for row in overview(planned, run(planned))]
    out = plans[0].out
    save_png(out / "demo.png", from_bytes(grid(COLUMNS, rows)))
    print(f"Compare the pictures: {out}/demo.png, and {out}/TASK/grid.png for all images.")


def overview(planned: Plan, records: list[dict]) -> list[list[Panel]]:
    """One row per task, each on another image, in the order of `COLUMNS`."""
    rows = []
    for number, task in enumerate(dict.fromkeys(job.task for job in planned.jobs)):
        jobs = [job for job in planned.jobs if job.task == task]
        item = jobs[0].items[number % len(jobs[0].items)]
        name = item.picture.name
        restored = [r for r in records if (r["task"], r["image"]) == (task, name)]
        chosen = [lowest_misfit([r for r in restored if r["method"] == j.label]) for j in jobs]
        measured = show_measurement(task, np.asarray(item.problem.y))
        truth, measurement, *others = grid_row(
            name, item.picture, measured, chosen, planned.out, None
        )
        title = f"{task.replace('_', ' ')}, {jobs[0].title}"
        rows.append([truth, Panel(measurement.pixels, title), *others])
    return rows

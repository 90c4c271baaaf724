"""Held-out images restored over the tasks on pixels and one on latents: one picture, and tables.

Compiling takes most of the time, so every task restores a single image: the next one in turn.

dsg-jax demo
"""

from collections.abc import Callable

import numpy as np

from dsg_jax.operators.tasks import NOT_IN_PAPERS, TASKS
from dsg_jax.solvers import SOLVERS
from experiments.demo_settings import DemoSettings
from experiments.images import from_bytes, save_png
from experiments.pictures import grid, show_measurement
from experiments.restore.command import carry_out
from experiments.restore.gallery import grid_row
from experiments.restore.plan import Plan, plan
from experiments.settings import Images, Measurement, Method, RestoreSettings, Run
from experiments.statistics import grouped, lowest_misfit

# The papers' tasks that need no checkpoint; the smallest measurement first, what is no image last.
SHOWN = sorted(
    (n for n, t in TASKS.items() if t.paper != NOT_IN_PAPERS and not t.checkpoint),
    key=lambda name: (TASKS[name].needs != "factor", TASKS[name].magnitude),
)
COLUMNS = ["truth", "measurement", "plain solver", "with DiffStateGrad", "error of the latter"]


def plan_demo(settings: DemoSettings) -> Callable[[], None]:
    """Check the settings of `demo`; the result restores and draws.

    Raises:
      ValueError, OSError: something the user gave is wrong; the message names it.
    """
    plans = [
        plan(
            RestoreSettings(
                images=Images(count=settings.count),
                measurement=Measurement(task=tuple(SHOWN)),
                solver_options={"levels": settings.levels},
                run=Run(out=settings.out),
            )
        ),
        plan(
            RestoreSettings(
                images=Images(count=settings.count),
                measurement=Measurement(task=(SHOWN[0],)),
                method=Method(solver=(next(n for n, e in SOLVERS.items() if e.prior == "latent"),)),
                # fifty of the reference's thousand steps, hence longer ones
                solver_options={"steps": 50, "step_factor": 8.0},
                run=Run(out=settings.out / "latent"),
            )
        ),
    ]
    return lambda: demo([one_image_a_task(planned) for planned in plans])


def one_image_a_task(planned: Plan) -> Plan:
    """The plan with the first image for its first task, the second for the second, and so on."""
    tasks = list(dict.fromkeys(job.task for job in planned.jobs))
    return planned._replace(
        jobs=[
            job._replace(items=[job.items[tasks.index(job.task) % len(job.items)]])
            for job in planned.jobs
        ]
    )


def demo(plans: list[Plan]) -> None:
    """Run the plans and draw a row per task; says where the picture is."""
    rows = []
    for planned in plans:
        samples = grouped(carry_out(planned), "task", "image", "method")
        for task in dict.fromkeys(job.task for job in planned.jobs):
            jobs = [job for job in planned.jobs if job.task == task]
            picture = jobs[0].items[0].picture
            truth, measurement, *others = grid_row(
                picture,
                show_measurement(task, np.asarray(jobs[0].items[0].problem.y)),
                [lowest_misfit(samples[task, picture.name, job.label]) for job in jobs],
                planned,
                std=None,
            )
            rows.append(
                [
                    truth,
                    measurement._replace(caption=f"{task.replace('_', ' ')}, {jobs[0].title}"),
                    *others,
                ]
            )
    save_png(plans[0].out / "demo.png", from_bytes(grid(COLUMNS, rows)))
    print(f"Compare the pictures: {plans[0].out}/demo.png.")

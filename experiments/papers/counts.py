"""How many calls of the prior's networks the points of an experiment take, counted in a run."""

from collections import Counter

import jax
from jax import Array

from dsg_jax.sample import sample
from dsg_jax.types import Problem
from experiments.calls import counted, total
from experiments.papers.plan import PlannedExperiment, Point
from experiments.programs import solver_of, state_shape
from experiments.restore.batch import item_key


def calls_of(planned: PlannedExperiment) -> dict[tuple[str, float | None], dict[str, int]]:
    """Solver and value of what is varied -> calls, as `calls.total` has them.

    Each is counted once, on the first sample of its first point: neither a projection nor the
    measured task asks a network. A solver that stops by itself may take fewer on another image.
    """
    counts: dict[tuple[str, float | None], dict[str, int]] = {}
    for point in planned.points:
        place = point.row.solver, point.x
        if place not in counts:
            counts[place] = count_of(point)
    return counts


def count_of(point: Point) -> dict[str, int]:
    """The calls of the first sample of a point."""
    plan, tally = point.plans[0], Counter[str]()
    job, prior = plan.jobs[0], counted(plan.prior, tally)
    item, shape = job.items[0], state_shape(plan.prior, job.shape)
    key = item_key(job.seed, item.picture.image_index, item.sample)

    @jax.jit
    def run(arrays: tuple, problem: Problem) -> Array:
        return sample(key, solver_of(job.solver, arrays, problem), shape)[0]

    jax.block_until_ready(run((job.projection, prior, job.solver_settings), item.problem))
    return total(tally)


def add_calls(planned: PlannedExperiment, rows: list[dict]) -> None:
    """Put into the rows of `papers.scores.table_rows` how often a run calls the network.

    Calls back through it, for a gradient, count as those forward.
    """
    solvers, counts = {row.label: row.solver for row in planned.experiment.rows}, calls_of(planned)
    for row in rows:
        each = counts[solvers[row["row"]], row["x"]]
        row["calls"] = each.get("network", 0) + each.get("network VJP", 0)

"""What `reproduce --dry-run` prints: runs, programs, and time and memory from a short probe."""

import itertools
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp

from experiments.papers.plan import Planned, place_of
from experiments.restore.batch import (
    common_axes,
    compile_batch,
    item_key,
    padded,
    planned_bytes,
    run_batch,
    signature,
    stack,
    step_count,
)
from experiments.restore.compute import Work, outstanding
from experiments.restore.methods import state_shape
from experiments.restore.plan import Job, Plan
from experiments.restore.report import markdown_table

PROBE_STEPS = {"resample": 20}
"""Steps that the probe takes from the middle of a run, 2 where a solver is not named: every tenth
of ReSample's has an optimisation."""


COLUMNS = (
    "experiment",
    "settings",
    "batches to run",
    "programs",
    "running",
    "compiling",
    "MiB planned",
    "rows with the paper's value only",
)


class Load(NamedTuple):
    """The work of one job: steps of batches, and what its program depends on."""

    plan: Plan
    job: Job
    width: int
    batches: int
    """That are not on the disk already."""
    steps: int
    program: tuple


def inputs(planned: Plan, job: Job, width: int) -> tuple:
    """(keys, problems, axes, shape) of a job's first batch, as `restore` makes them."""
    axes = common_axes([item.problem for item in job.items])
    full = padded(job.items[:width], width)
    seed = planned.arguments.seed
    keys = jnp.stack([item_key(seed, item.picture.image_index, item.sample) for item in full])
    problems = stack([item.problem for item in full], axes)
    return keys, problems, axes, state_shape(planned.prior, job.shape)


def program_of(planned: Plan, job: Job, width: int, traced: dict) -> tuple:
    """The signature of a job's program with these solver arrays."""
    keys, problems, axes, shape = inputs(planned, job, width)
    static = {"axes": axes, "solver": job.method.solver, "static": job.method.static}
    rest = (job.projection, planned.prior, traced)
    return signature(keys, problems, rest, **static, shape=shape)


def load_of(work: Work) -> Load:
    """What is left of a job."""
    planned, job, width = work.planned, work.job, work.width
    program = program_of(planned, job, width, job.method.traced)
    return Load(planned, job, width, len(work.todo), step_count(job.method), program)


def shortened(job: Job) -> dict:
    """The solver's arrays with a few steps from the middle."""
    steps = job.method.traced["steps"]
    count = len(jax.tree.leaves(steps)[0])
    wanted = min(count, PROBE_STEPS.get(job.method.solver, 2))
    first = (count - wanted) // 2
    return job.method.traced | {"steps": jax.tree.map(lambda a: a[first : first + wanted], steps)}


def probe(load: Load) -> dict:
    """Compile and run a few steps of one batch: seconds of a step, of compiling; bytes."""
    planned, job = load.plan, load.job
    traced = shortened(job)
    method = job.method._replace(traced=traced)
    keys, problems, axes, shape = inputs(planned, job, load.width)
    compiled, compile_seconds = compile_batch(
        keys, problems, job.projection, planned.prior, method, axes, shape
    )
    started = time.perf_counter()
    run_batch(compiled, keys, problems)
    seconds = time.perf_counter() - started
    return {
        "step": seconds / len(jax.tree.leaves(traced["steps"])[0]),
        "compile": compile_seconds,
        "bytes": planned_bytes(program_of(planned, job, load.width, traced)),
    }


def dry_run(planned: list[Planned]) -> None:
    """Print what the experiments would run. Tasks of one solver are taken to cost the same."""
    first: dict[tuple, tuple[str, Plan]] = {}
    for one in planned:
        for task, planned_cell in plans_of(one):
            place = place_of(task, planned_cell)
            first.setdefault(place, (one.experiment.name, planned_cell))
    loads: dict[str, list[Load]] = {one.experiment.name: [] for one in planned}
    for name, plan in first.values():
        loads[name] += [load_of(work) for work in outstanding([plan]) if work.todo]
    probes: dict[tuple, dict] = {}
    for load in itertools.chain(*loads.values()):
        if kind_of(load) not in probes:
            probes[kind_of(load)] = probe(load)
    compiled: set[tuple] = set()
    lines: list[tuple[str, ...]] = []
    for one in planned:
        mine = loads[one.experiment.name]
        lines.append(line_of(one, mine, probes, compiled))
        compiled |= {load.program for load in mine}
    print(markdown_table(COLUMNS, lines))
    print(
        f"\nEstimated from {len(probes)} probes of a few steps of one batch each. What an"
        " experiment shares with one above it costs nothing again."
    )


def plans_of(one: Planned) -> list[tuple[str, Plan]]:
    """Task and plan of every cell and seed."""
    return [(cell.task, plan) for cell in one.cells for plan in cell.plans]


def line_of(
    one: Planned, loads: list[Load], probes: dict[tuple, dict], compiled: set[tuple]
) -> tuple[str, ...]:
    """An experiment's line of the table; ``compiled`` are the programs of those above it."""
    fresh = {load.program: kind_of(load) for load in loads if load.program not in compiled}
    running = sum(load.batches * load.steps * probes[kind_of(load)]["step"] for load in loads)
    compiling = sum(probes[kind]["compile"] for kind in fresh.values())
    sizes = [probes[kind_of(load)]["bytes"] for load in loads]
    memory = max((size for size in sizes if size is not None), default=None)
    return (
        one.experiment.name,
        str(len({place_of(*plan) for plan in plans_of(one)})),
        str(sum(load.batches for load in loads)),
        str(len(fresh)),
        clock(running),
        clock(compiling),
        "-" if memory is None else f"{memory / 2**20:.0f}",
        str(len(one.absent)),
    )


def kind_of(load: Load) -> tuple:
    """What decides the cost of a step."""
    job = load.job
    return job.method.solver, job.projection is None, job.shape, load.width


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"

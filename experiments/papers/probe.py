"""What `reproduce --dry-run` prints: runs, programs, and time and memory from a short probe."""

import math
import time
from dataclasses import replace
from typing import NamedTuple

import jax

from experiments.papers.plan import PlannedExperiment
from experiments.restore.batch import Program, compile_batch, signature
from experiments.restore.compute import Work, inputs_of, outstanding
from experiments.restore.memory import planned_bytes
from experiments.restore.parts import run_batch
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
    """The work of one job, and what decides its cost."""

    work: Work
    program: tuple
    """`signature` of its program."""
    kind: tuple
    """What decides the cost of a step."""


class Cost(NamedTuple):
    """What a probe of a few steps tells."""

    step: float
    """Seconds of a step of a batch."""
    compiling: float
    """Seconds."""
    bytes: float
    """That the program reserves; nan where the backend does not say."""


def load_of(work: Work) -> Load:
    """What is left of a job."""
    job, program = work.job, work.program
    kind = job.solver, job.projection is None, job.shape, work.width
    return Load(work, signature(*inputs_of(work, job.items[: work.width]), program), kind)


def shortened(program: Program) -> Program:
    """The same program with a few steps from the middle of the run."""
    count = min(program.steps, PROBE_STEPS.get(program.solver, 2))
    first = (program.steps - count) // 2
    steps = jax.tree.map(lambda a: a[first : first + count], program.settings.steps)
    return replace(program, settings=replace(program.settings, steps=steps))


def probe(work: Work) -> Cost:
    """Compile and run a few steps of a job's first batch."""
    program = shortened(work.program)
    keys, problems = inputs_of(work, work.job.items[: work.width])
    started = time.perf_counter()
    runner = compile_batch(keys, problems, program)
    compiled = time.perf_counter()
    run_batch(runner, keys, problems)
    seconds = time.perf_counter() - compiled
    return Cost(seconds / program.steps, compiled - started, planned_bytes(runner.compiled))


def dry_run(planned: list[PlannedExperiment]) -> None:
    """Print what the experiments would run. Tasks of one solver are taken to cost the same."""
    known: set[tuple] = set()
    loads: list[list[Load]] = []
    for one in planned:
        fresh = {place: plan for place, plan in one.plans.items() if place not in known}
        known |= fresh.keys()
        loads.append([load_of(work) for work in outstanding(list(fresh.values())) if work.todo])
    costs: dict[tuple, Cost] = {}
    for load in sum(loads, []):
        if load.kind not in costs:
            costs[load.kind] = probe(load.work)
    compiled: set[tuple] = set()
    lines: list[tuple[str, ...]] = []
    for one, left in zip(planned, loads, strict=True):
        lines.append(line_of(one, left, costs, compiled))
        compiled |= {load.program for load in left}
    print(markdown_table(COLUMNS, lines))
    print(
        f"\nEstimated from {len(costs)} probes of a few steps of one batch each. What an"
        " experiment shares with one above it costs nothing again."
    )


def line_of(
    one: PlannedExperiment, loads: list[Load], costs: dict[tuple, Cost], compiled: set[tuple]
) -> tuple[str, ...]:
    """An experiment's line of the table; ``compiled`` are the programs of those above it."""
    fresh = {load.program: load.kind for load in loads if load.program not in compiled}
    batches = [(len(load.work.todo), load.work.program.steps, costs[load.kind]) for load in loads]
    sizes = [cost.bytes for _, _, cost in batches if math.isfinite(cost.bytes)]
    return (
        one.experiment.name,
        str(len(one.plans)),
        str(sum(count for count, _, _ in batches)),
        str(len(fresh)),
        clock(sum(count * steps * cost.step for count, steps, cost in batches)),
        clock(sum(costs[kind].compiling for kind in fresh.values())),
        f"{max(sizes) / 2**20:.0f}" if sizes else "-",
        str(len(one.absent)),
    )


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"

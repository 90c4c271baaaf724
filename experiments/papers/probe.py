"""What `reproduce --dry-run` prints: runs, programs, and time and memory from a short probe."""

import math
import time
from dataclasses import replace
from typing import NamedTuple

import jax

from experiments.papers.plan import PlannedExperiment, works_of
from experiments.restore.batch import Program, compile_batch, signature
from experiments.restore.compute import Work, inputs_of
from experiments.restore.memory import planned_bytes
from experiments.restore.parts import run_batch
from experiments.restore.report import markdown_table

PROBE_STEPS = {"resample": 20}
"""Steps that the probe takes from the middle of a run, 2 where a solver is not named: every tenth
of ReSample's has an optimisation."""


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
    """The load of a job of which something is left."""
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
    inputs = inputs_of(work, work.job.items[: work.width])
    started = time.perf_counter()
    runner = compile_batch(*inputs, program)
    compiled = time.perf_counter()
    run_batch(runner, *inputs)
    step = (time.perf_counter() - compiled) / program.steps
    return Cost(step, compiled - started, planned_bytes(runner.compiled))


def dry_run(planned: list[PlannedExperiment]) -> None:
    """Print what the experiments would run. Tasks of one solver are taken to cost the same."""
    works = works_of(planned)
    loads = [  # works are taken out: of experiments that share one only the first has it
        [load_of(work) for place in one.plans for work in works.pop(place, []) if work.todo]
        for one in planned
    ]
    costs: dict[tuple, Cost] = {}
    for load in sum(loads, []):
        if load.kind not in costs:
            costs[load.kind] = probe(load.work)
    compiled: set[tuple] = set()
    lines = []
    for one, left in zip(planned, loads, strict=True):
        lines.append(line_of(one, left, costs, compiled))
        compiled |= {load.program for load in left}
    print(markdown_table(tuple(lines[0]), [tuple(line.values()) for line in lines]))
    print(
        f"\nEstimated from {len(costs)} probes of a few steps of one batch each. What an"
        " experiment shares with one above it costs nothing again."
    )


def line_of(
    one: PlannedExperiment, loads: list[Load], costs: dict[tuple, Cost], compiled: set[tuple]
) -> dict[str, str]:
    """An experiment's line of the table, by its headings.

    Args:
      one: the experiment.
      loads: what it has to compute that no experiment above it has.
      costs: by `Load.kind`.
      compiled: programs of the experiments above it.
    """
    fresh = {load.program: load.kind for load in loads if load.program not in compiled}
    batches = [(len(load.work.todo), load.work.program.steps, costs[load.kind]) for load in loads]
    sizes = [cost.bytes for _, _, cost in batches if math.isfinite(cost.bytes)]
    return {
        "experiment": one.experiment.name,
        "settings": str(len(one.plans)),
        "batches to run": str(sum(count for count, _, _ in batches)),
        "programs": str(len(fresh)),
        "running": clock(sum(count * steps * cost.step for count, steps, cost in batches)),
        "compiling": clock(sum(costs[kind].compiling for kind in fresh.values())),
        "MiB planned": f"{max(sizes) / 2**20:.0f}" if sizes else "-",
        "rows with the paper's value only": str(len(one.absent)),
    }


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"

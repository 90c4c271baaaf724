"""What `reproduce --dry-run` prints: runs, programs, and time and memory from a short probe."""

import math
import time
from dataclasses import replace
from typing import NamedTuple

import jax

from experiments.papers.plan import PlannedExperiment, about_priors, works_of
from experiments.programs import planned_bytes
from experiments.restore.batch import compile_batch, signature
from experiments.restore.compute import Work, inputs_of
from experiments.restore.parts import run_batch
from experiments.restore.report import markdown_table

# Steps that the probe takes from the middle of a run, 2 where a solver is not named: every tenth of
# ReSample's has an optimisation.
PROBE_STEPS = {"resample": 20}


class Cost(NamedTuple):
    """What a probe of a few steps tells.

    Attributes:
      step: seconds of a step of a batch.
      compiling: seconds.
      bytes: that the program reserves; nan where the backend does not say.
    """

    step: float
    compiling: float
    bytes: float


def kind_of(work: Work) -> tuple:
    """What decides the cost of a step of a job: tasks of one solver are taken to cost the same."""
    return work.job.solver, work.job.projection is None, work.job.shape, work.width


def program_signature(work: Work) -> tuple:
    """What two jobs have in common if they share a compiled program."""
    return signature(*inputs_of(work, work.job.items[: work.width]), work.program)


def probe(work: Work) -> Cost:
    """Compile and run a few steps, from the middle of the run, of a job's first batch."""
    whole, inputs = work.program, inputs_of(work, work.job.items[: work.width])
    count = min(whole.steps, PROBE_STEPS.get(whole.solver, 2))
    first = (whole.steps - count) // 2
    steps = jax.tree.map(lambda a: a[first : first + count], whole.settings.steps)
    program = replace(whole, settings=replace(whole.settings, steps=steps))
    started = time.perf_counter()
    runner = compile_batch(*inputs, program)
    compiled = time.perf_counter()
    run_batch(runner, *inputs)
    return Cost(
        step=(time.perf_counter() - compiled) / count,
        compiling=compiled - started,
        bytes=planned_bytes(runner.compiled),
    )


def dry_run(planned: list[PlannedExperiment]) -> None:
    """Print what the experiments would run."""
    print(about_priors(planned))
    works = works_of(planned)
    costs: dict[tuple, Cost] = {}
    compiled: set[tuple] = set()
    lines = []
    for one in planned:
        # Works are taken out: of experiments that share one only the first has it.
        left = [work for place in one.plans for work in works.pop(place, []) if work.todo]
        for work in left:
            if kind_of(work) not in costs:
                costs[kind_of(work)] = probe(work)
        kinds = {program_signature(work): kind_of(work) for work in left}
        fresh = {program: kind for program, kind in kinds.items() if program not in compiled}
        compiled |= fresh.keys()
        lines.append(line_of(one, left, costs, [costs[kind].compiling for kind in fresh.values()]))
    print(markdown_table(tuple(lines[0]), [tuple(line.values()) for line in lines]))
    print(
        f"\nEstimated from {len(costs)} probes of a few steps of one batch each. What an"
        " experiment shares with one above it costs nothing again."
    )


def line_of(
    one: PlannedExperiment, works: list[Work], costs: dict[tuple, Cost], compiling: list[float]
) -> dict[str, str]:
    """An experiment's line of the table, by its headings.

    Args:
      one: the experiment.
      works: what it has to compute that no experiment above it has.
      costs: by `kind_of`.
      compiling: seconds of every program that no experiment above it has.
    """
    batches = [(len(work.todo), work.program.steps, costs[kind_of(work)]) for work in works]
    sizes = [cost.bytes for _, _, cost in batches if math.isfinite(cost.bytes)]
    return {
        "experiment": one.experiment.name,
        "settings": str(len(one.plans)),
        "batches to run": str(sum(count for count, _, _ in batches)),
        "programs": str(len(compiling)),
        "running": clock(sum(count * steps * cost.step for count, steps, cost in batches)),
        "compiling": clock(sum(compiling)),
        "MiB planned": f"{max(sizes) / 2**20:.0f}" if sizes else "-",
        "rows with the paper's value only": str(len(one.absent)),
    }


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"

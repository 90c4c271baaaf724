"""What `reproduce --dry-run` prints: runs, programs, and time and memory from a short probe."""

import math
import time
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dsg_jax.solvers.guidance import prior_for
from dsg_jax.types import Problem
from experiments.papers.plan import PlannedExperiment, about_priors, works_of
from experiments.programs import planned_bytes
from experiments.progress import progress_bar
from experiments.restore.batch import Program, compile_batch, signature
from experiments.restore.compute import Work, inputs_of
from experiments.restore.parts import run_batch
from experiments.restore.report import markdown_table

# Steps that the probe takes from the middle of a run, 2 where a solver is not named: every tenth of
# ReSample's has an optimisation.
PROBE_STEPS = {"resample": 20}
# Seconds of the network on a batch above which no step is run: full-size steps take minutes on a
# CPU, and an optimisation of ReSample's hours.
SLOW_NETWORK = 1.0


class Cost(NamedTuple):
    """What a probe of a few steps tells.

    Attributes:
      step: seconds of a step of a batch.
      compiling: seconds.
      bytes: that the program reserves; nan where the backend does not say.
      is_bound: no step was run, and ``step`` is what the network's only call in it takes at least.
    """

    step: float
    compiling: float
    bytes: float
    is_bound: bool


def kind_of(work: Work) -> tuple:
    """What decides the cost of a step of a job: tasks of one solver are taken to cost the same."""
    return work.job.solver, work.job.projection is None, work.job.shape, work.width


def program_signature(work: Work) -> tuple:
    """What two jobs have in common if they share a compiled program."""
    return signature(*inputs_of(work, work.job.items[: work.width]), work.program)


def network_seconds(program: Program, problem: Problem) -> float:
    """Seconds of the network on one state, asked as for a problem, compiled before."""
    network = prior_for(problem, program.prior, 0.0).network
    inputs = network, jnp.zeros(program.shape), jnp.float32(program.prior.betas.size // 2)
    call = jax.jit(lambda network, x, t: network(x, t)).lower(*inputs).compile()
    jax.block_until_ready(call(*inputs))
    started = time.perf_counter()
    jax.block_until_ready(call(*inputs))
    return time.perf_counter() - started


def probe(work: Work, network: float) -> Cost:
    """Compile and run a few steps, from the middle of the run, of a job's first batch.

    ``network`` is `network_seconds`; where a batch of it is slow, nothing is run.
    """
    whole, inputs = work.program, inputs_of(work, work.job.items[: work.width])
    count = min(whole.steps, PROBE_STEPS.get(whole.solver, 2))
    first = (whole.steps - count) // 2
    steps = jax.tree.map(lambda a: a[first : first + count], whole.settings.steps)
    program = replace(whole, settings=replace(whole.settings, steps=steps))
    started = time.perf_counter()
    runner = compile_batch(*inputs, program)
    compiled = time.perf_counter()
    step, is_bound = network * work.width, network * work.width > SLOW_NETWORK
    if not is_bound:
        run_batch(runner, *inputs)
        step = (time.perf_counter() - compiled) / count
    return Cost(step, compiled - started, planned_bytes(runner.compiled), is_bound)


def probes(works: list[Work]) -> dict[tuple, Cost]:
    """A probe for every `kind_of` works, and progress."""
    first = {kind_of(work): work for work in reversed(works)}
    networks: dict[tuple, float] = {}
    costs = {}
    with progress_bar(len(first)) as bar:
        for kind, work in reversed(first.items()):
            bar.set_description(f"probing {work.job.solver}, {work.job.label}")
            place = id(work.program.prior), work.program.shape
            if place not in networks:
                networks[place] = network_seconds(work.program, work.job.items[0].problem)
            costs[kind] = probe(work, networks[place])
            bar.update()
    return costs


def dry_run(planned: list[PlannedExperiment]) -> None:
    """Print what the experiments would run."""
    print(about_priors(planned))
    works = works_of(planned)
    costs = probes([work for place in works.values() for work in place if work.todo])
    compiled: set[tuple] = set()
    lines = []
    for one in planned:
        # Works are taken out: of experiments that share one only the first has it.
        left = [work for place in one.plans for work in works.pop(place, []) if work.todo]
        kinds = {program_signature(work): kind_of(work) for work in left}
        fresh = {program: kind for program, kind in kinds.items() if program not in compiled}
        compiled |= fresh.keys()
        lines.append(line_of(one, left, costs, [costs[kind].compiling for kind in fresh.values()]))
    print(markdown_table(tuple(lines[0]), [tuple(line.values()) for line in lines]))
    print(
        f"\nEstimated from {len(costs)} probes of a few steps of one batch each. What an"
        " experiment shares with one above it costs nothing again."
    )
    if any(cost.is_bound for cost in costs.values()):
        print(
            "\n> is a lower bound, one call of the network a step: a batch of it takes over"
            f" {SLOW_NETWORK:g} s on this machine, so no step was run."
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
    bound = "> " if any(cost.is_bound for _, _, cost in batches) else ""
    return {
        "experiment": one.experiment.name,
        "settings": str(len(one.plans)),
        "batches to run": str(sum(count for count, _, _ in batches)),
        "programs": str(len(compiling)),
        "running": bound + clock(sum(count * steps * cost.step for count, steps, cost in batches)),
        "compiling": clock(sum(compiling)),
        "MiB planned": f"{max(sizes) / 2**20:.0f}" if sizes else "-",
        "rows with the paper's value only": str(len(one.absent)),
    }


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"

"""Fit a run into memory: how many samples at once, and whether blocks are computed twice.

    need(b) = arguments + results + intermediate values of the program for b samples at once

The compiler tells it of a compiled program. It is asked for a full batch first, for that program is
the one that runs where it fits.
"""

import math
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from tqdm import tqdm

from dsg_jax.priors.latent import with_remat
from dsg_jax.types import Prior
from experiments.restore.batch import Program, batch_inputs, compile_batch, program_of
from experiments.restore.jobs import Job, Plan

GB = 1e9
_MEMINFO, _LIMIT = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
_USED = _LIMIT.with_name("memory.current")
_said: set[tuple] = set()


class Fit(NamedTuple):
    """How a job is computed within the memory that there is."""

    program: Program
    at_once: int | None
    """Samples of a batch in memory together, None for all."""


class Budget(NamedTuple):
    """Bytes to stay below, and where the number is from."""

    size: float
    origin: str


def fit(planned: Plan, job: Job, width: int) -> Fit:
    """Choose how a job is computed, in batches of ``width`` samples; prints one line.

    Blocks are recomputed only where otherwise not even one sample fits.

    Raises:
      MemoryError: one sample does not fit; the message has the numbers.
    """
    run, longest = planned.settings.run, planned.settings.devices.save_every
    if run.microbatch is not None:
        return Fit(program_of(job, planned.prior, longest), run.microbatch)
    budget = chosen_budget(run.memory)
    for prior in policies(planned.prior):
        program = program_of(job, prior, longest)
        need = cache(lambda count, program=program: needed_bytes(program, job, width, count))
        if math.isnan(need(width)):
            announce(job, width, "which this backend's compiler does not plan")
            return Fit(program, None)
        at_once = widest(need, width, budget.size)
        if at_once:
            how = "planned" if prior is planned.prior else "planned, blocks recomputed"
            of = f"of {budget.size / GB:.3g} GB ({budget.origin})"
            announce(job, at_once, f"{need(at_once) / GB:.2g} GB {how} {of}")
            return Fit(program, None if at_once == width else at_once)
    raise MemoryError(refusal(job, planned.prior, need(1), budget, prior is not planned.prior))


def widest(need: Callable[[int], float], largest: int, budget: float) -> int:
    """The largest b <= largest with need(b) <= budget, 0 where 1 is too large.

    The need is taken to be affine in b, and what that gives is checked. ``need`` is asked for
    ``largest``, for 1, and for the answer: where all fit, for ``largest`` only.
    """
    if need(largest) <= budget:
        return largest
    if largest == 1 or need(1) > budget:
        return 0
    each = (need(largest) - need(1)) / (largest - 1)
    answer = min(max(1, int(1 + (budget - need(1)) / each)), largest - 1)
    while need(answer) > budget:
        answer -= 1
    return answer


def policies(prior: Prior) -> Iterator[Prior]:
    """The prior as it is, then with its blocks recomputed, where it has such an option."""
    yield prior
    if getattr(prior.network, "remat", True) is False and prior.first_stage is not None:
        yield with_remat(prior)


def needed_bytes(program: Program, job: Job, width: int, at_once: int) -> float:
    """Compile a program for ``at_once`` samples of a batch; `planned_bytes`, or nan for None."""
    first = batch_inputs(job.seed, job.items, program.axes, width)
    told = planned_bytes(compile_batch(*first, program, at_once)[0].compiled)
    return math.nan if told is None else told


def planned_bytes(compiled: jax.stages.Compiled) -> int | None:
    """Bytes that a program reserves for arguments, results and temporaries.

    None where the backend does not say.
    """
    plan = compiled.memory_analysis()
    if plan is None:
        return None
    sizes = (plan.argument_size_in_bytes, plan.output_size_in_bytes, plan.temp_size_in_bytes)
    return sum(sizes) - plan.alias_size_in_bytes


@cache
def chosen_budget(memory: float | None) -> Budget:
    """Asked once, for later the results of one job would count against the next.

    Args:
      memory: what the user gives, in GB; None for what the device has, or a CPU's machine has left.
    """
    if memory is not None:
        return Budget(memory * GB, "--memory")
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return Budget(float(stats["bytes_limit"]), "the device's limit")
    return Budget(free_bytes(), "free memory")


def free_bytes() -> float:
    """Memory that this machine or this container has left; no limit where neither tells."""
    limits = [math.inf]
    if _MEMINFO.is_file():
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        limits.append(1024.0 * int(lines["MemAvailable"].split()[0]))
    if _LIMIT.is_file() and (text := _LIMIT.read_text().strip()) != "max":
        limits.append(float(text) - float(_USED.read_text()))
    return min(limits)


def announce(job: Job, count: int, text: str) -> None:
    """Print the plan, once where several jobs of a solver have the same."""
    if (job.solver, count) not in _said:
        _said.add((job.solver, count))
        tqdm.write(f"memory: {job.solver}, {count} sample{'s' * (count > 1)} at once, {text}")


def refusal(job: Job, prior: Prior, need: float, budget: Budget, recomputed: bool) -> str:
    """What to say where one sample does not fit."""
    weights = sum(jnp.asarray(leaf).nbytes for leaf in jax.tree.leaves(prior))
    also = ", even with its blocks recomputed" if recomputed else ""
    return (
        f"one sample of {job.solver} needs {need / GB:.3g} GB{also}, of which {weights / GB:.3g} GB"
        f" are the prior's weights, and {budget.origin} is {budget.size / GB:.3g} GB: "
        "give a larger --memory, smaller images (--size), or a device with more memory"
    )

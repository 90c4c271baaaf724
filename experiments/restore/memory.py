"""Fit a run into memory: how many samples at once, and whether blocks are computed twice.

    need(b) = arguments + results + intermediate values of the program for b samples at once

The compiler tells it of a compiled program. It is asked for a full batch first, for that program is
the one that runs where it fits.
"""

import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from tqdm import tqdm

from dsg_jax.priors.latent import with_remat
from dsg_jax.types import Prior
from experiments.programs import planned_bytes
from experiments.restore.batch import Runner, batch_inputs, compile_batch, program_of
from experiments.restore.jobs import Job, Plan

GB = 1e9
_MEMINFO, _LIMIT = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
_USED = _LIMIT.with_name("memory.current")
_said: set[tuple] = set()


class Budget(NamedTuple):
    """Bytes to stay below, and where the number is from."""

    size: float
    origin: str


def fitting_runner(planned: Plan, job: Job, width: int) -> Runner:
    """Compile a job's program for batches of ``width`` samples within the memory that there is.

    Prints one line. Blocks are recomputed only where otherwise not even one sample fits.

    Raises:
      MemoryError: one sample does not fit; the message has the numbers.
    """
    run, longest = planned.settings.run, planned.settings.devices.save_every
    budget = chosen_budget(run.memory)
    for prior in policies(planned.prior):
        program = program_of(job, prior, longest)
        first = batch_inputs(job.seed, job.items, program.axes, width)
        runner = cache(partial(compile_batch, *first, program))
        if run.microbatch is not None:
            return runner(run.microbatch)
        need = lambda count, runner=runner: planned_bytes(runner(count).compiled)
        if math.isnan(need(width)):
            announce(job, width, "which this backend's compiler does not plan")
            return runner(width)
        at_once = widest(need, width, budget.size)
        if at_once:
            how = "planned" if prior is planned.prior else "planned, blocks recomputed"
            of = f"of {budget.size / GB:.3g} GB ({budget.origin})"
            announce(job, at_once, f"{need(at_once) / GB:.2g} GB {how} {of}")
            return runner(at_once)
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

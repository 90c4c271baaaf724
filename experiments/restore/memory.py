"""Fit a run into memory: how many samples at once, and whether blocks are computed twice.

    need(b) = arguments + results + intermediate values of the program for b samples at once

The compiler tells it of a program that it has compiled (`batch.planned_bytes`).
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
from experiments.restore.batch import (
    Program,
    common_axes,
    compile_batch,
    item_key,
    padded,
    planned_bytes,
    signature,
    stack,
    state_shape,
)
from experiments.restore.parts import chunk_width
from experiments.restore.plan import Job, Plan

GB = 1e9
_MEMINFO, _LIMIT = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
_USED = _LIMIT.with_name("memory.current")
_said: set[tuple] = set()


class Open(NamedTuple):
    """A job with something left to run, and the width of its batches."""

    job: Job
    width: int


def within_memory(planned: Plan, jobs: list[Open]) -> tuple[Plan, int | None]:
    """The plan, and how many samples of a batch are to be in memory together; None for all.

    Blocks are recomputed only where otherwise not even one sample fits. Prints one line. The first
    program that is asked about is that of whole batches: where it fits, it is the one that runs.

    Raises:
      MemoryError: one sample does not fit; the message has the numbers.
    """
    microbatch = planned.settings.run.microbatch
    if microbatch is not None or not jobs:
        return planned, microbatch
    budget, origin = chosen_budget(planned.settings.run.memory)
    largest = max(width for _, width in jobs)
    for prior in policies(planned.prior):
        tried = planned._replace(prior=prior)
        need = cache(lambda b, tried=tried: most_bytes(tried, jobs, b))
        if math.isnan(need(largest)):
            tqdm.write("memory: the backend does not tell what a program takes; whole batches run")
            return planned, None
        at_once = widest(need, largest, budget)
        if at_once:
            how = "planned" if prior is planned.prior else "planned, blocks recomputed"
            announce(planned, at_once, need(at_once), budget, how, origin)
            return tried, None if at_once == largest else at_once
    raise MemoryError(refusal(planned, need(1), budget, origin, prior is not planned.prior))


def most_bytes(planned: Plan, jobs: list[Open], at_once: int) -> float:
    """What the largest program of several jobs needs; NaN where the backend does not say."""
    return max(compiled_bytes(planned, *one, at_once) for one in jobs)


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


def first_chunk(planned: Plan, job: Job, width: int, at_once: int) -> tuple:
    """(keys, problems, program) of a job's first chunk of samples."""
    chunk = chunk_width(width, min(at_once, width))
    axes = common_axes([item.problem for item in job.items])
    full = padded(job.items[:chunk], chunk)
    keys = [item_key(job.seed, item.picture.image_index, item.sample) for item in full]
    problems = stack([item.problem for item in full], axes)
    shape = state_shape(planned.prior, job.shape)
    program = Program(job.solver, job.solver_settings, job.projection, planned.prior, axes, shape)
    return jnp.stack(keys), problems, program


def compiled_bytes(planned: Plan, job: Job, width: int, at_once: int) -> float:
    """Compile a job's program for ``at_once`` samples of a batch; the compiler's need for it."""
    inputs = first_chunk(planned, job, width, at_once)
    compile_batch(*inputs)
    size = planned_bytes(signature(*inputs))
    return math.nan if size is None else size


def chosen_budget(memory: float | None) -> tuple[float, str]:
    """Bytes to stay below (``memory`` is in GB) and where the number is from."""
    if memory is not None:
        return memory * GB, "--memory"
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return float(stats["bytes_limit"]), "the device's limit"
    return free_bytes(), "free memory"


def free_bytes() -> float:
    """Memory that this machine or this container has left; no limit where neither tells."""
    limits = [math.inf]
    if _MEMINFO.is_file():
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        limits.append(1024.0 * int(lines["MemAvailable"].split()[0]))
    if _LIMIT.is_file() and (text := _LIMIT.read_text().strip()) != "max":
        limits.append(float(text) - float(_USED.read_text()))
    return min(limits)


def announce(planned: Plan, count: int, need: float, budget: float, how: str, origin: str) -> None:
    """Print the plan, once where several runs have the same solvers."""
    at_once = f"{count} sample{'s' if count > 1 else ''} at once"
    of = f"{need / GB:.2g} GB {how} of {budget / GB:.3g} GB ({origin})"
    names = ", ".join(planned.settings.method.solver)
    place = (names, count, how)
    if place not in _said:
        _said.add(place)
        tqdm.write(f"memory: {names}, {at_once}, {of}")


def refusal(planned: Plan, need: float, budget: float, origin: str, recomputed: bool) -> str:
    """What to say where one sample does not fit."""
    weights = sum(jnp.asarray(leaf).nbytes for leaf in jax.tree.leaves(planned.prior))
    also = ", even with its blocks recomputed" if recomputed else ""
    return (
        f"one sample of {', '.join(planned.settings.method.solver)} needs {need / GB:.3g} GB{also},"
        f" of which {weights / GB:.3g} GB are the prior's weights, and {origin} is"
        f" {budget / GB:.3g} GB: give a larger --memory, smaller images (--size), or a device with"
        " more memory"
    )

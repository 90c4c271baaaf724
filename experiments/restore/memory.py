"""Fit a run into memory: how many samples at once, and whether blocks are computed twice.

    need(b) = arguments + results + intermediate values of the program for b samples at once

The compiler tells it of a compiled program (`runner.planned_bytes`). A model of it, from the traced
program alone (`live_bytes`), comes first: where that is far below the budget nothing is compiled in
advance, and where a backend's compiler does not tell, the model stands in for it.
"""

import math
from argparse import Namespace
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
    common_axes,
    compile_batch,
    item_key,
    padded,
    planned_bytes,
    signature,
    stack,
    trace_batch,
)
from experiments.restore.live import live_bytes, size_of
from experiments.restore.methods import state_shape
from experiments.restore.parts import chunk_width
from experiments.restore.plan import Job, Plan

GB = 1e9
MARGIN = 1.5
"""The model is trusted without the compiler where so many times as much would fit."""
_MEMINFO, _LIMIT = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
_USED = _LIMIT.with_name("memory.current")
_modelled: dict[tuple, float] = {}  # signature -> bytes
_said: set[tuple] = set()


class Open(NamedTuple):
    """A job with something left to run, and the width of its batches."""

    job: Job
    width: int


def fitted(works: list) -> list:
    """Works of `compute`, each with its plan's fit: prior, and samples in memory together."""
    groups: dict[int, list] = {}
    for work in works:
        groups.setdefault(id(work.planned), []).append(work)
    result = []
    for group in groups.values():
        left = [Open(work.job, work.width) for work in group if work.todo]
        planned, at_once = within_memory(group[0].planned, left)
        result += [work._replace(planned=planned, at_once=at_once) for work in group]
    return result


def within_memory(planned: Plan, jobs: list[Open]) -> tuple[Plan, int | None]:
    """The plan, and how many samples of a batch are to be in memory together; None for all.

    Blocks are recomputed only where otherwise not even one sample fits. Prints one line.

    Raises:
      MemoryError: one sample does not fit; the message has the numbers.
    """
    given = planned.arguments.microbatch
    if given is not None or not jobs:
        return planned, given
    budget, origin = chosen_budget(planned.arguments)
    largest = max(width for _, width in jobs)
    kinds = {(one.job.projection is None, one.job.shape): one for one in jobs}
    guess = max(modelled_bytes(planned, *one, largest) for one in kinds.values())
    if MARGIN * guess <= budget:
        announce(planned, largest, guess, budget, "modelled", origin)
        return planned, None
    for prior in policies(planned.prior):
        tried = planned._replace(prior=prior)
        need = cache(lambda b, tried=tried: max(compiled_bytes(tried, *one, b) for one in jobs))
        at_once = widest(need, largest, budget)
        if at_once:
            how = "planned" if prior is planned.prior else "planned, blocks recomputed"
            announce(planned, at_once, need(at_once), budget, how, origin)
            return tried, at_once
    raise MemoryError(refusal(planned, need(1), budget, origin, prior is not planned.prior))


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
    """(keys, problems, axes, state's shape) of a job's first chunk of samples."""
    chunk = chunk_width(width, min(at_once, width))
    axes = common_axes([item.problem for item in job.items])
    full = padded(job.items[:chunk], chunk)
    seed = planned.arguments.seed
    keys = jnp.stack([item_key(seed, item.picture.image_index, item.sample) for item in full])
    problems = stack([item.problem for item in full], axes)
    return keys, problems, axes, state_shape(planned.prior, job.shape)


def place_of(planned: Plan, job: Job, keys, problems, axes, shape) -> tuple:
    """The `signature` of a job's program."""
    static = {"axes": axes, "solver": job.method.solver, "static": job.method.static}
    rest = (job.projection, planned.prior, job.method.traced)
    return signature(keys, problems, rest, **static, shape=shape)


def compiled_bytes(planned: Plan, job: Job, width: int, at_once: int) -> float:
    """Compile a job's program for ``at_once`` samples of a batch; the compiler's need for it."""
    keys, problems, axes, shape = first_chunk(planned, job, width, at_once)
    compile_batch(keys, problems, job.projection, planned.prior, job.method, axes, shape)
    told = planned_bytes(place_of(planned, job, keys, problems, axes, shape))
    return modelled_bytes(planned, job, width, at_once) if told is None else told


def modelled_bytes(planned: Plan, job: Job, width: int, at_once: int) -> float:
    """The same by the model, without compiling."""
    keys, problems, axes, shape = first_chunk(planned, job, width, at_once)
    place = place_of(planned, job, keys, problems, axes, shape)
    if place not in _modelled:
        rest = (job.projection, planned.prior, job.method)
        program = trace_batch(keys, problems, *rest, axes, shape).jaxpr.jaxpr
        _modelled[place] = sum(map(size_of, program.invars)) + live_bytes(program)
    return _modelled[place]


def chosen_budget(arguments: Namespace) -> tuple[float, str]:
    """Bytes to stay below and where the number is from."""
    if arguments.memory is not None:
        return arguments.memory * GB, "--memory"
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return float(stats["bytes_limit"]), "the device's limit"
    return free_bytes(), "free memory"


def free_bytes() -> float:
    """Memory that this machine or this container has left; no limit where neither tells."""
    found = [math.inf]
    if _MEMINFO.is_file():
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        found.append(1024.0 * int(lines["MemAvailable"].split()[0]))
    if _LIMIT.is_file() and (text := _LIMIT.read_text().strip()) != "max":
        found.append(float(text) - float(_USED.read_text()))
    return min(found)


def announce(planned: Plan, count: int, need: float, budget: float, how: str, origin: str) -> None:
    """Print the plan, once where several runs have the same solver."""
    at_once = f"{count} sample{'s' if count > 1 else ''} at once"
    of = f"{need / GB:.2g} GB {how} of {budget / GB:.3g} GB ({origin})"
    place = (planned.arguments.solver, count, how)
    if place not in _said:
        _said.add(place)
        tqdm.write(f"memory: {planned.arguments.solver}, {at_once}, {of}")


def refusal(planned: Plan, need: float, budget: float, origin: str, recomputed: bool) -> str:
    """What to say where one sample does not fit."""
    weights = sum(jnp.asarray(leaf).nbytes for leaf in jax.tree.leaves(planned.prior))
    also = ", even with its blocks recomputed" if recomputed else ""
    return (
        f"one sample of {planned.arguments.solver} needs {need / GB:.3g} GB{also}, of which "
        f"{weights / GB:.3g} GB are the prior's weights, and {origin} is {budget / GB:.3g} GB: "
        "give a larger --memory, smaller images (--size), or a device with more memory"
    )

"""Compute what is missing of plans, batch by batch, under one progress bar.

Every batch writes its images and what describes them (`restore.store`). Several processes may work
on one folder: each batch is claimed by one of them.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from dsg_jax.metrics import psnr, ssim
from dsg_jax.types import Info, Prior, Problem
from experiments.images import png
from experiments.restore.batch import (
    Program,
    batches,
    common_axes,
    compile_batch,
    item_key,
    padded,
    run_batch,
    stack,
    state_shape,
)
from experiments.restore.devices import device_count, on_devices
from experiments.restore.memory import Open, within_memory
from experiments.restore.metrics import extra_metrics, lpips_or_none
from experiments.restore.parts import showing
from experiments.restore.plan import Item, Job, Plan
from experiments.restore.resume import batch_checkpoints, forget
from experiments.restore.store import Stored, claimed, look, look_again, store

_psnr, _ssim = jax.jit(psnr), jax.jit(ssim)


class Work(NamedTuple):
    """What is to do of a job, in batches; they are cut alike whatever is there already."""

    planned: Plan
    job: Job
    width: int
    """Items of a full batch."""
    todo: list[Sequence[Item]]
    """Batches of which samples are missing; of a shard only those that are its part."""
    stored: Stored
    """What the folder holds of the plan."""
    at_once: int | None = None
    """Samples in memory together, None for a whole batch."""

    @property
    def program(self) -> Program:
        """Everything but keys and problems."""
        job, prior = self.job, self.planned.prior
        axes = common_axes([item.problem for item in job.items])
        shape = state_shape(prior, job.shape)
        return Program(job.solver, job.solver_settings, job.projection, prior, axes, shape)


def inputs_of(work: Work, items: Sequence[Item]) -> tuple[jax.Array, Problem]:
    """Keys and problems of a batch, its last item repeated until it is full."""
    full = padded(items, work.width)
    axes = common_axes([item.problem for item in work.job.items])
    keys = [item_key(work.job.seed, item.picture.image_index, item.sample) for item in full]
    return jnp.stack(keys), stack([item.problem for item in full], axes)


def compute(plans: list[Plan]) -> tuple[list[Work], dict[str, float]]:
    """Compute what is missing of several plans under one progress bar.

    Returns:
      the work, done, in the order of the plans (`records_of` has its records), and the seconds that
      compiling took by job.
    """
    works = outstanding(plans)
    with progress(works) as bar:
        return works, work_off(works, bar)


def outstanding(plans: list[Plan]) -> list[Work]:
    """What is missing of several plans, or of a shard of them: every n-th batch."""
    works, numbers = [], count()
    placed: dict[tuple, Prior] = {}  # plans that share a prior still do
    for planned in plans:
        run, devices = planned.settings.run, planned.settings.devices
        place = id(planned.prior), devices.devices, devices.parameters
        if place not in placed:
            placed[place] = on_devices(planned.prior, devices)
        planned = planned._replace(prior=placed[place])
        stored = look(planned.out, [i for job in planned.jobs for i in job.items], run.metrics)
        shard, shards = run.part_of_whole() or (1, 1)
        for job in planned.jobs:
            cut = batches(job.items, run.batch_size * device_count(devices))
            part = [batch for batch in cut if next(numbers) % shards == shard - 1]
            todo = [batch for batch in part if not complete(batch, stored)]
            works.append(Work(planned, job, len(cut[0]), todo, stored))
    return works


def complete(batch: Sequence[Item], stored: Stored) -> bool:
    """Whether nothing of a batch is missing."""
    return all(item.identity in stored.records for item in batch)


def records_of(works: list[Work]) -> list[dict]:
    """The records of all samples of works that are done."""
    return [w.stored.records[item.identity] for w in works for item in w.job.items]


def about_shard(shard: str, out: Path, works: list[Work]) -> str:
    """What a shard has done and how to go on, in words."""
    total = sum(len(work.job.items) for work in works)
    stored = {id(work.stored): len(work.stored.records) for work in works}
    return (
        f"Shard {shard}: {sum(stored.values())} of {total} samples are in {out}. Copy the folders"
        " of all shards into one (cp -r, rsync); the same command without --shard, with --out"
        " FOLDER, then makes what is missing and writes the results."
    )


@contextmanager
def progress(works: list[Work]) -> Iterator[tqdm]:
    """One bar over the steps of all works, with the time that is left."""
    total = sum(len(work.todo) * work.program.steps for work in works)
    with tqdm(total=total, unit="step", disable=not total) as bar, showing(bar):
        yield bar


def work_off(works: list[Work], bar: tqdm) -> dict[str, float]:
    """Compute, first what no other process is at; returns the seconds of compiling by job.

    Jobs of any plans that differ in arrays only (images, tau, step sizes) share a program.
    """
    works = fitted_to_memory(works)
    several = len({work.planned.out for work in works}) > 1
    compile_seconds, elsewhere = {}, []
    for work in works:
        if work.todo:
            name = f"{work.job.task}, {work.job.label}, {'x'.join(map(str, work.job.shape))}"
            name = f"{work.planned.out.name}, {name}" if several else name
            bar.set_description(name)
            left, compile_seconds[name] = run_job(work, bar)
            elsewhere.append(work._replace(todo=left))
    for work in elsewhere:
        if work.todo:
            bar.set_description("waiting for another process")
            run_job(work, bar, wait=True)
    return compile_seconds


def fitted_to_memory(works: list[Work]) -> list[Work]:
    """The works, each with its plan's fit: prior, and samples in memory together."""
    groups: dict[int, list[Work]] = {}
    for work in works:
        groups.setdefault(id(work.planned), []).append(work)
    result = []
    for group in groups.values():
        left = [Open(work.job, work.width) for work in group if work.todo]
        planned, at_once = within_memory(group[0].planned, left)
        result += [work._replace(planned=planned, at_once=at_once) for work in group]
    return result


def run_job(work: Work, bar: tqdm, wait: bool = False) -> tuple[list[Sequence[Item]], float]:
    """Run the batches of one compiled program and store what they add.

    Args:
      work: the batches.
      bar: to be told about batches that another process does.
      wait: for batches that another process is at: there is nothing to do unless it dies.

    Returns:
      the batches that other processes are at (none with ``wait``), and compile seconds.
    """
    compiled, compile_seconds, elsewhere = None, 0.0, []
    for batch in work.todo:
        with claimed(work.planned.out, batch, wait) as claim:
            if not claim:
                elsewhere.append(batch)
                continue
            # Another process may have finished the batch between our first look and the claim.
            look_again(work.stored, batch)
            if complete(batch, work.stored):
                bar.total -= work.program.steps
                continue
            inputs = inputs_of(work, batch)
            # Compiled only now: a process that finds all batches taken never compiles.
            if compiled is None:
                longest = work.planned.settings.devices.save_every
                compiled, compile_seconds = compile_batch(
                    *inputs, work.program, work.at_once, longest
                )
            compute_and_store(work, batch, compiled, inputs)
    return elsewhere, round(compile_seconds, 2)


def compute_and_store(work: Work, batch: Sequence[Item], compiled, inputs: tuple) -> None:
    """Run a claimed batch, store its results, and only then let its saved states go."""
    identities = [item.identity for item in padded(batch, work.width)]
    checkpoints = batch_checkpoints(work.planned.settings, identities, work.at_once)
    keys, problems = inputs
    images, info, seconds = run_batch(compiled, keys, problems, checkpoints)
    results = []
    for i, item in enumerate(batch):
        if item.identity not in work.stored.records:
            one = jax.tree.map(lambda leaf, i=i: leaf[i], info)
            results.append(record_of(work, item, images[i], one, seconds))
    store(work.stored, results)
    forget(checkpoints)


def number(value) -> float | None:
    """A float for JSON; None for what is not finite."""
    return float(value) if math.isfinite(value) else None


def record_of(
    work: Work, item: Item, x: np.ndarray, info: Info, seconds: float
) -> tuple[dict, bytes]:
    """Record and file of a restored image (misfit: last step; rank: mean over channels)."""
    job, metrics = work.job, work.planned.settings.run.metrics
    finite = bool(np.all(info.finite) and np.isfinite(x).all())
    truth = item.picture.pixels
    known = finite and truth is not None
    content = png(x)
    return {
        "hash": item.identity,
        "task": job.task,
        "method": job.label,
        "image": item.picture.name,
        "image_index": item.picture.image_index,
        "sample": item.sample,
        "seed": job.seed,
        "psnr": number(_psnr(x, truth)) if known else None,
        "ssim": number(_ssim(x, truth)) if known else None,
        "lpips": lpips_or_none(x, truth) if finite else None,
        **extra_metrics(metrics, x, truth if finite else None),
        "misfit": number(info.misfit[-1]),
        "rank_mean": number(np.mean(info.rank)),
        "rank_last": number(np.mean(info.rank[-1])),
        "kept_mean": number(np.mean(info.kept)),
        "seconds": round(seconds, 4),
        "finite": finite,
        "png": item.png,
        "png_sha256": hashlib.sha256(content).hexdigest(),
        "settings": job.facts,
    }, content

"""Compute what is missing of plans, batch by batch, under one progress bar.

Every batch writes its images, then its lines of ``metrics.jsonl`` (`restore.store`). Several
processes may work on one folder: each batch is claimed by one of them.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from dsg_jax.metrics import psnr, ssim
from dsg_jax.types import Info
from experiments.images import png
from experiments.restore.batch import (
    batches,
    common_axes,
    compile_batch,
    item_key,
    padded,
    run_batch,
    stack,
    step_count,
)
from experiments.restore.devices import device_count, on_devices
from experiments.restore.locks import claimed
from experiments.restore.memory import fitted
from experiments.restore.methods import state_shape
from experiments.restore.metrics import extra_metrics, lpips_or_none
from experiments.restore.parts import showing
from experiments.restore.plan import Item, Job, Plan
from experiments.restore.resume import batch_checkpoints, forget
from experiments.restore.shards import in_shard
from experiments.restore.store import Found, look, look_again, store

_psnr, _ssim = jax.jit(psnr), jax.jit(ssim)


class Work(NamedTuple):
    """What is to do of a job, in batches; they are cut alike whatever is there already."""

    planned: Plan
    job: Job
    width: int
    """Items of a full batch."""
    todo: list[Sequence[Item]]
    """Batches of which samples are missing; of a shard only its own."""
    found: Found
    at_once: int | None = None
    """Samples in memory together, None for a whole batch."""


def compute(plans: list[Plan]) -> tuple[list[Work], dict[str, float]]:
    """Compute what is missing of several plans under one progress bar.

    Returns:
      the work, done, in the order of the plans (`lines_of` has its lines), and the seconds that
      compiling took by job.
    """
    works = outstanding(plans)
    with progress(works) as bar:
        return works, work_off(works, bar)


def outstanding(plans: list[Plan]) -> list[Work]:
    """What is missing of several plans, or of a shard of them: every n-th batch."""
    works, numbers = [], count()
    for planned in on_devices(plans):
        given = planned.arguments
        identities = [item.identity for job in planned.jobs for item in job.items]
        found = look(planned.out, identities, given.metrics)
        for job in planned.jobs:
            cut = batches(job.items, given.batch_size * device_count(given))
            mine = [batch for batch in cut if in_shard(next(numbers), given.shard)]
            todo = [batch for batch in mine if not there(batch, found)]
            works.append(Work(planned, job, len(cut[0]), todo, found))
    return works


def there(batch: Sequence[Item], found: Found) -> bool:
    """Whether nothing of a batch is missing."""
    return all(item.identity in found.lines for item in batch)


def lines_of(works: list[Work]) -> list[dict]:
    """The lines of all samples of works that are done."""
    return [w.found.lines[item.identity] for w in works for item in w.job.items]


@contextmanager
def progress(works: list[Work]) -> Iterator[tqdm]:
    """One bar over the steps of all works, with the time that is left."""
    total = sum(len(work.todo) * step_count(work.job.method) for work in works)
    with tqdm(total=total, unit="step", disable=not total) as bar, showing(bar):
        yield bar


def work_off(works: list[Work], bar: tqdm) -> dict[str, float]:
    """Compute, first what no other process is at; returns the seconds of compiling by job.

    Jobs of any plans that differ in arrays only (images, tau, step sizes) share a program.
    """
    works = fitted(works)
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


def run_job(work: Work, bar: tqdm, wait: bool = False) -> tuple[list[Sequence[Item]], float]:
    """Run the batches of one compiled program and record what they add.

    Args:
      work: the batches.
      bar: to be told about batches that another process does.
      wait: for batches that another process is at: there is nothing to do unless it dies.

    Returns:
      the batches that other processes are at (none with ``wait``), and compile seconds.
    """
    planned, job, found = work.planned, work.job, work.found
    axes = common_axes([item.problem for item in job.items])
    shape = state_shape(planned.prior, job.shape)
    compiled, compile_seconds, elsewhere = None, 0.0, []
    for batch in work.todo:
        with claimed(planned.out, [item.identity for item in batch], wait) as mine:
            if not mine:
                elsewhere.append(batch)
                continue
            look_again(found)
            if there(batch, found):
                bar.total -= step_count(job.method)
                continue
            full, own = padded(batch, work.width), planned.arguments
            keys = [item_key(own.seed, item.picture.image_index, item.sample) for item in full]
            given = jnp.stack(keys), stack([item.problem for item in full], axes)
            if compiled is None:
                rest: tuple = job.projection, planned.prior, job.method, axes, shape
                rest += work.at_once, own.save_every
                compiled, compile_seconds = compile_batch(*given, *rest)
            kept = batch_checkpoints(own, [item.identity for item in full], work.at_once)
            store(found, made(work, batch, *run_batch(compiled, *given, kept)))
            forget(kept)
    return elsewhere, round(compile_seconds, 2)


def made(
    work: Work, batch: Sequence[Item], images: np.ndarray, info: Info, seconds: float
) -> list[tuple[dict, bytes]]:
    """The lines and image files of the samples of a batch that were missing."""
    results = []
    for i, item in enumerate(batch):
        if item.identity not in work.found.lines:
            one = jax.tree.map(lambda leaf, i=i: leaf[i], info)
            metrics = work.planned.arguments.metrics
            results.append(record_of(work.job, item, images[i], one, seconds, metrics))
    return results


def number(value) -> float | None:
    """A float for JSON; None for what is not finite."""
    return float(value) if math.isfinite(value) else None


def record_of(
    job: Job, item: Item, x: np.ndarray, info: Info, seconds: float, metrics: list[str]
) -> tuple[dict, bytes]:
    """Line and file of a restored image (misfit: last step; rank: mean over channels)."""
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
        "seed": job.settings["seed"],
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
        "settings": job.settings,
    }, content

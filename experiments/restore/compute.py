"""Compute what is missing of plans, batch by batch, under one progress bar.

Every batch writes its images and what describes them (`restore.store`). Several processes may work
on one folder: each batch is claimed by one of them.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import jax
from jax import Array
from tqdm import tqdm

from dsg_jax.types import Prior, Problem
from experiments.progress import progress_bar
from experiments.restore.batch import (
    Program,
    Runner,
    batch_inputs,
    batches,
    program_of,
)
from experiments.restore.devices import device_count, on_devices
from experiments.restore.jobs import Item, Job, Plan
from experiments.restore.memory import fitting_runner
from experiments.restore.metrics import record_of
from experiments.restore.parts import run_batch
from experiments.restore.resume import begun_batches, forget, saving_of
from experiments.restore.stacking import Axes
from experiments.restore.store import (
    Stored,
    claimed,
    look,
    look_again,
    read_record,
    store,
    sweep,
)


class Work(NamedTuple):
    """What is to do of a job, in batches; they are cut alike whatever is there already.

    Attributes:
      width: items of a full batch.
      todo: batches of which samples are missing; of a shard only those that are its part.
      stored: what the folder holds of the plan.
    """

    planned: Plan
    job: Job
    width: int
    todo: list[Sequence[Item]]
    stored: Stored

    @property
    def program(self) -> Program:
        """Everything but keys and problems, as if there were memory enough."""
        longest = self.planned.settings.devices.save_every
        return program_of(self.job, self.planned.prior, longest)


def inputs_of(work: Work, items: Sequence[Item], axes: Axes | None = None) -> tuple[Array, Problem]:
    """Keys and problems of a batch, its last item repeated until it is full.

    ``axes`` are those of the job's program, where they are known already.
    """
    return batch_inputs(work.job.seed, items, axes or work.program.axes, work.width)


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
            for batch in cut:
                if complete(batch, stored):  # by a run that was killed before it did so
                    forget(planned.out, batch)
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
    with progress_bar(sum(len(work.todo) * steps_of(work) for work in works)) as bar:
        yield bar


def work_off(works: list[Work], bar: tqdm) -> dict[str, float]:
    """Compute, first what no other process is at; returns the seconds of compiling by job.

    Jobs of any plans that differ in arrays only (images, tau, step sizes) share a program.

    Raises:
      MemoryError: a job does not fit into memory; the results before it stay.
    """
    folders = {work.planned.out for work in works}
    for out in folders:
        sweep(out)
        sweep_states(out)
    compile_seconds, elsewhere = {}, []
    for work in works:
        if work.todo:
            name = f"{work.job.task}, {work.job.label}, {'x'.join(map(str, work.job.shape))}"
            name = f"{work.planned.out.name}, {name}" if len(folders) > 1 else name
            left, compile_seconds[name] = run_job(work, bar, name)
            elsewhere.append(work._replace(todo=left))
    for work in elsewhere:
        if work.todo:
            run_job(work, bar, "waiting for another process", wait=True)
    for out in folders:
        sweep_states(out)  # of batches that a killed run had cut in another way
    return compile_seconds


def sweep_states(out: Path) -> None:
    """Remove the states of batches that are done, however they were cut, unless one is at it."""
    for items in begun_batches(out):
        if all(read_record(out / item.png, item.identity) for item in items):
            with claimed(out, items, wait=False) as claim:
                if claim:
                    forget(out, items)


def steps_of(work: Work) -> int:
    """Outer steps of each of its batches."""
    return len(jax.tree.leaves(work.job.solver_settings.steps)[0])


def run_job(
    work: Work, bar: tqdm, name: str, wait: bool = False
) -> tuple[list[Sequence[Item]], float]:
    """Claim, compute and store the batches of a job, one after the other.

    Args:
      work: the batches.
      bar: told about steps that end, and about batches that another process has done.
      name: of the job, for the bar.
      wait: for batches that another process is at: there is nothing to do unless it dies.

    Returns:
      the batches that other processes are at (none with ``wait``), and compile seconds.
    """
    out, stored = work.planned.out, work.stored
    runner, compile_seconds, elsewhere = None, 0.0, []
    bar.set_description(name)
    for batch in work.todo:
        with claimed(out, batch, wait) as claim:
            if not claim:
                elsewhere.append(batch)
                continue
            # Look again, now that nobody else can be at it: another process may have finished the
            # batch after our first look, and ended its claim before ours began.
            look_again(stored, batch)
            if complete(batch, stored):
                bar.total -= steps_of(work)
                continue
            if runner is None:  # only now: a process that finds all batches taken never compiles
                bar.set_description(f"{name}: compiling")
                started = time.perf_counter()
                runner = fitting_runner(work.planned, work.job, work.width)
                compile_seconds = time.perf_counter() - started
                bar.set_description(name)
            store(stored, compute_batch(work, runner, batch, bar))
            # Last: a run that is killed before its results are stored goes on from its states.
            forget(out, batch)
    return elsewhere, round(compile_seconds, 2)


def compute_batch(
    work: Work, runner: Runner, batch: Sequence[Item], bar: tqdm
) -> list[tuple[Item, dict, dict[str, bytes]]]:
    """The samples of a batch that were missing, with their records and their files by suffix.

    All of the batch is computed: a sample's last bits may depend on its company.
    """
    devices, metrics = work.planned.settings.devices, work.planned.settings.run.metrics
    saving = saving_of(work.planned.out, devices, batch, runner.chunk)
    inputs = inputs_of(work, batch, runner.program.axes)
    images, info, seconds = run_batch(runner, *inputs, saving, bar.update)
    results = []
    for i, item in enumerate(batch):
        if item.identity not in work.stored.records:
            one = jax.tree.map(lambda leaf, i=i: leaf[i], info)
            described = item, images[i], one, seconds, metrics, work.planned.units
            results.append((item, *record_of(work.job, *described)))
    return results

"""Degrade and restore images, or restore measured ones; resumable after a kill.

    python -m experiments restore --task box_inpainting --solver daps --out results/box

Every batch writes its images, then its lines of ``metrics.jsonl``. A sample counts as done when a
line carries the hash of all its settings and its image is the one that line describes.
"""

import hashlib
import json
import math
from argparse import Namespace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from dsg_jax.metrics import psnr, ssim
from dsg_jax.types import Info, Prior
from experiments.gallery import write_gallery
from experiments.images import save_png
from experiments.methods import state_shape
from experiments.perceptual import lpips_or_none
from experiments.plan import Item, Job, Plan, plan
from experiments.records import append_records, versions_and_hardware, write_atomically
from experiments.report import summary
from experiments.runner import (
    batches,
    common_axes,
    compile_batch,
    item_key,
    padded,
    run_batch,
    showing,
    stack,
)

_psnr, _ssim = jax.jit(psnr), jax.jit(ssim)


def restore(arguments: Namespace, prior: tuple[Prior, dict] | None = None) -> list[dict]:
    """Plan and run; returns the lines of this plan's samples (see `plan` for the arguments)."""
    return run(plan(arguments, prior))


def run(planned: Plan) -> list[dict]:
    """Compute what is missing, then write tables, grids and ``run.json`` for the whole plan."""
    (records,), compile_seconds = compute([planned])
    write_results(planned, records, compile_seconds)
    return records


def compute(plans: list[Plan]) -> tuple[list[list[dict]], dict[str, float]]:
    """Compute what is missing of several plans under one progress bar.

    Jobs of any plans that differ in arrays only (images, tau, step sizes) share a program.

    Returns:
      the lines of every plan's samples, and the seconds that compiling took by job.
    """
    done = [finished(planned) for planned in plans]
    work = [
        (planned, job, cut, known)
        for planned, known in zip(plans, done, strict=True)
        for job in planned.jobs
        for cut in [batches(job.items, planned.arguments.batch_size)]
    ]
    open_ = lambda batch, known: any(item.identity not in known for item in batch)
    pending = [[batch for batch in cut if open_(batch, known)] for _, _, cut, known in work]
    steps = [len(jax.tree.leaves(job.method.traced["steps"])[0]) for _, job, _, _ in work]
    total = sum(n * len(todo) for n, todo in zip(steps, pending, strict=True))
    compile_seconds: dict[str, float] = {}
    with tqdm(total=total, unit="step", disable=not total) as bar, showing(bar):
        for (planned, job, cut, known), todo in zip(work, pending, strict=True):
            if todo:
                name = f"{job.task}, {job.label}, {'x'.join(map(str, job.shape))}"
                name = name if len(plans) == 1 else f"{planned.out.name}, {name}"
                bar.set_description(name)
                compile_seconds[name] = run_job(planned, job, todo, len(cut[0]), known)
    lines = [
        [known[item.identity] for job in planned.jobs for item in job.items]
        for planned, known in zip(plans, done, strict=True)
    ]
    return lines, compile_seconds


def finished(planned: Plan) -> dict[str, dict]:
    """Lines of an earlier run, by hash, whose image is on the disk as they describe it."""
    done = {}
    for record in planned.records:
        image = planned.out / record["png"]
        if image.is_file():
            if hashlib.sha256(image.read_bytes()).hexdigest() == record["png_sha256"]:
                done[record["hash"]] = record
    return done


def run_job(planned: Plan, job: Job, todo: list, width: int, done: dict[str, dict]) -> float:
    """Run the batches of one compiled program and record what they add; returns compile seconds."""
    axes = common_axes([item.problem for item in job.items])
    shape = state_shape(planned.prior, job.shape)
    compiled, compile_seconds = None, 0.0
    for batch in todo:
        full = padded(batch, width)
        seed = planned.arguments.seed
        keys = jnp.stack([item_key(seed, item.picture.image_index, item.sample) for item in full])
        problems = stack([item.problem for item in full], axes)
        if compiled is None:
            compiled, compile_seconds = compile_batch(
                keys, problems, job.projection, planned.prior, job.method, axes, shape
            )
        images, info, seconds = run_batch(compiled, keys, problems)
        lines = []
        for i, item in enumerate(batch):
            if item.identity not in done:
                one = jax.tree.map(lambda leaf, i=i: leaf[i], info)
                lines.append(record_of(planned.out, job, item, images[i], one, seconds))
        append_records(planned.out / "metrics.jsonl", lines)
        done |= {line["hash"]: line for line in lines}
    return round(compile_seconds, 2)


def number(value) -> float | None:
    """A float for JSON; None for what is not finite."""
    return float(value) if math.isfinite(value) else None


def record_of(out: Path, job: Job, item: Item, x: np.ndarray, info: Info, seconds: float) -> dict:
    """Write a restored image and describe it (misfit: last step; rank: mean over channels)."""
    finite = bool(np.all(info.finite) and np.isfinite(x).all())
    known = finite and item.picture.pixels is not None
    truth = item.picture.pixels
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
        "misfit": number(info.misfit[-1]),
        "rank_mean": number(np.mean(info.rank)),
        "rank_last": number(np.mean(info.rank[-1])),
        "kept_mean": number(np.mean(info.kept)),
        "seconds": round(seconds, 4),
        "finite": finite,
        "png": item.png,
        "png_sha256": save_png(out / item.png, x),
        "settings": job.settings,
    }


def write_results(planned: Plan, records: list[dict], compile_seconds: dict[str, float]) -> None:
    """Tables, pictures and ``run.json`` from the lines and images of the whole plan."""
    out, arguments = planned.out, planned.arguments
    table = summary(records, arguments.failure_psnr)
    write_atomically(out / "summary.md", table.encode())
    write_gallery(planned, records)
    facts = versions_and_hardware() | {
        "arguments": {n: jsonable(v) for n, v in vars(arguments).items() if n != "plan"},
        "compile_seconds": compile_seconds,
        "samples": len(records),
    }
    write_atomically(out / "run.json", (json.dumps(facts, indent=1) + "\n").encode())
    print(table)


def jsonable(value):
    """An argument for JSON: paths as text, lists entry by entry."""
    if isinstance(value, list):
        return [jsonable(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value

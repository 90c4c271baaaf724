"""Degrade and restore images, or restore measured ones; resumable after a kill.

    python -m experiments restore --task box_inpainting --solver daps --out results/box

A sample counts as done when a line of ``metrics.jsonl`` carries the hash of all its settings and
its image is the one that line describes.
"""

import json
from argparse import Namespace
from pathlib import Path

from dsg_jax.types import Prior
from experiments.files import versions_and_hardware, write_atomically
from experiments.restore.compute import compute, lines_of
from experiments.restore.gallery import write_gallery
from experiments.restore.plan import Plan, plan
from experiments.restore.processes import is_first
from experiments.restore.report import summary
from experiments.restore.shards import finish_shard


def restore(arguments: Namespace, prior: tuple[Prior, dict] | None = None) -> list[dict]:
    """Plan and run; returns the lines of this plan's samples (see `plan` for the arguments)."""
    return run(plan(arguments, prior))


def run(planned: Plan) -> list[dict]:
    """Compute what is missing, then write tables, grids and ``run.json`` for the whole plan.

    A shard writes neither, and returns the lines that are there. Of several processes the first
    writes.
    """
    works, compile_seconds = compute([planned])
    found = works[0].found
    if planned.arguments.shard:
        finish_shard(planned.out, planned.arguments.shard, [(planned, found)])
        return list(found.lines.values())
    records = lines_of(works)
    if is_first():
        write_results(planned, records, compile_seconds)
    return records


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

"""Degrade and restore images, or restore measured ones; resumable after a kill.

    dsg-jax restore --task box_inpainting --solver daps --out results/box

A sample is done when the JSON file beside its image carries the hash of all its settings and the
image is the one that the file describes.
"""

import json
from collections.abc import Callable

import jax

from dsg_jax.types import Prior
from experiments.files import versions_and_hardware, write_atomically
from experiments.restore.compute import about_shard, compute, records_of
from experiments.restore.earlier import check_earlier, folders_of_tasks
from experiments.restore.effects import check_effects
from experiments.restore.fid import RealImages, check_fid, fid_scores, real_images, set_sizes
from experiments.restore.gallery import write_gallery
from experiments.restore.plan import Plan, plan
from experiments.restore.report import summary
from experiments.settings import RestoreSettings, as_table


def plan_restore(settings: RestoreSettings) -> Callable[[], list[dict]]:
    """Check the settings of `restore`; the result computes and reports."""
    check_effects(settings)
    planned = plan(settings)
    check_fid(settings.run, set_sizes(planned.jobs))
    check_earlier(planned, planned.names, folders_of_tasks(planned.out))  # it replaces all tables
    real = real_images(settings.run)  # last, for it takes minutes where it is not in the cache
    return lambda: carry_out(planned, real)


def restore(settings: RestoreSettings, prior: tuple[Prior, dict] | None = None) -> list[dict]:
    """Plan and run; returns the records of this plan's samples (see `plan` for the arguments)."""
    return carry_out(plan(settings, prior))


def carry_out(planned: Plan, real: RealImages | None = None) -> list[dict]:
    """Compute what is missing, then write tables, grids and ``run.json`` for the whole plan.

    A shard writes none of these, and returns the records that are there. Of several processes the
    first writes. FID is against the ``real`` images.
    """
    works, compile_seconds = compute([planned])
    shard = planned.settings.run.shard
    if shard:
        print(about_shard(shard, planned.out, works))
        return list(works[0].stored.records.values())
    records = records_of(works)
    if jax.process_index() == 0:
        write_results(planned, records, compile_seconds, real)
    return records


def write_results(
    planned: Plan,
    records: list[dict],
    compile_seconds: dict[str, float],
    real: RealImages | None = None,
) -> None:
    """Lines, tables, pictures and ``run.json`` from the records and images of the whole plan."""
    fid = fid_scores(real, [(planned.out, records)])
    table = summary(records, planned.settings.run.failure_psnr, planned.units, fid)
    lines = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
    facts = versions_and_hardware() | {
        "settings": as_table(planned.settings),
        "compile_seconds": compile_seconds,
        "samples": len(records),
    }
    write_atomically(planned.out / "metrics.jsonl", lines.encode())
    write_atomically(planned.out / "summary.md", table.encode())
    write_gallery(planned, records)
    write_atomically(planned.out / "run.json", (json.dumps(facts, indent=1) + "\n").encode())
    print(table)

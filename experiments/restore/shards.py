"""A run split over machines: ``--shard I/N`` computes every N-th batch and writes no report.

Batches are cut as without it, so that a sample has the same company and the same bits.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from experiments.files import write_atomically
from experiments.restore.plan import Plan
from experiments.restore.store import Found

SHARD_FILES = "shard_*_of_*.json"
Shard = tuple[int, int]
"""(I, N), I from 1 to N."""


def in_shard(number: int, shard: Shard | None) -> bool:
    """Whether a shard has the batch of this number, from 0; a whole run has all."""
    return shard is None or number % shard[1] == shard[0] - 1


def finish_shard(out: Path, shard: Shard, plans: Sequence[tuple[Plan, Found]]) -> None:
    """Write which samples the whole run has, for `merge`, and say how to go on.

    Args:
      out: folder of the command.
      shard: this one.
      plans: all of the whole run, in folders at or below ``out``, and what is there of each.
    """
    samples = {
        item.identity: str((planned.out / item.png).relative_to(out))
        for planned, _ in plans
        for job in planned.jobs
        for item in job.items
    }
    there = {identity for _, found in plans for identity in found.lines}
    name = f"{shard[0]}/{shard[1]}"
    content = json.dumps({"shard": name, "samples": samples}, indent=0) + "\n"
    write_atomically(out / f"shard_{shard[0]}_of_{shard[1]}.json", content.encode())
    print(
        f"Shard {name}: {len(there)} of {len(samples)} samples are in {out}. Join the folders of"
        " all shards by `python -m experiments merge OUT FOLDER...`; the same command without"
        " --shard, with --out OUT, then makes what is missing and writes the results."
    )

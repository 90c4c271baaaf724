"""`python tests/support/tiny_command.py HANG_AT COMMAND...`: a command with a small exact prior.

The batch of number HANG_AT, from 0, never ends; -1 is none. "hanging" is printed when it begins.
"""

import json
import sys
import time
from functools import partial
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from experiments.__main__ import main  # noqa: E402
from experiments.restore import compute, plan  # noqa: E402
from experiments.restore import metrics as perceptual  # noqa: E402
from experiments.restore.store import image_hash  # noqa: E402
from support.gaussian_prior import gaussian_prior  # noqa: E402

CARD = {"name": "tiny", "samples": "emoji", "size": 16, "size_multiple": 4, "channels": 3}
RUN = "restore --task box_inpainting --solver dps --steps 5 --size 20 --projection none"
RUN += " --batch-size 2 --metrics ssim_skimage7"
FIVE = f"{RUN} --count 5"
"""Five samples in three batches."""


def tiny_prior(name, channels=3, **_):
    """Stands in for `load_prior`."""
    return gaussian_prior(), CARD | {"channels": channels}


def stand_in(replace, channels: int = 3) -> None:
    """Have the commands use this prior and, for speed, no LPIPS; ``replace`` is like `setattr`."""
    replace(plan, "load_prior", partial(tiny_prior, channels=channels))
    replace(perceptual, "installed_weights", lambda: (None, "left out"))


def command(text, out, *more):
    return [*text.split(), "--out", str(out), *map(str, more)]


def record_files(out):
    """The files that describe samples, of whole and of unfinished runs."""
    return [path for path in sorted(out.rglob("*.json")) if path.with_suffix(".png").exists()]


def records_by_hash(out):
    """The records of all samples without seconds; every image is the one described."""
    records = [json.loads(path.read_bytes()) for path in record_files(out)]
    for record in records:
        assert image_hash(out / record["png"]) == record["png_sha256"]
        del record["seconds"]
    by_hash = {record["hash"]: record for record in records}
    assert len(by_hash) == len(records)
    return by_hash


def hang_at(number: int) -> None:
    """Make one of the batches endless."""
    run_batch, begun = compute.run_batch, []

    def run(*given):
        begun.append(1)
        if len(begun) == number + 1:
            print("hanging", flush=True)
            time.sleep(3600)
        return run_batch(*given)

    compute.run_batch = run


if __name__ == "__main__":
    stand_in(setattr)
    hang_at(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))

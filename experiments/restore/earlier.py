"""What earlier commands left in an output folder: a command may add to it, and overwrites nothing.

Records beside the images say what made them. The same samples, and more of the same (images,
samples, seeds, tasks, methods), share a folder; anything else is refused before it is computed.
"""

import json
import os
from collections.abc import Collection
from pathlib import Path

from dsg_jax.priors.samples import sample_images
from dsg_jax.user_code import file_name
from experiments.files import longest_name
from experiments.images import image_files
from experiments.restore.jobs import Job, Plan
from experiments.restore.store import parsed_record
from experiments.settings import Images

_ABOUT = 60  # characters of a value in a message


def input_names(images: Images, samples: str) -> set[str]:
    """Names of all images that the settings stand for, also beyond ``--count``.

    Args:
      images: of the settings.
      samples: the set of bundled samples, where no file is named.
    """
    files = images.measured or images.images
    if not files:
        return set(sample_images(samples)[0])
    return {file.stem for file in image_files(list(files), also=(".npy",))}


def check_names(planned: Plan) -> None:
    """Raise ValueError where the name of a file to be written is longer than the disk allows."""
    most = longest_name(planned.out)
    for job in planned.jobs:
        for item in job.items:
            name = item.picture.name
            # The longest endings that a file of it gets.
            length = len(os.fsencode(name)) + max(len(f"_{item.sample}.json"), len("_mean.png"))
            if length > most:
                raise ValueError(
                    f"the image {name[:40]}... would be written as a file whose name has {length}"
                    f" bytes, and {planned.out} allows {most}: rename it"
                )


def check_earlier(planned: Plan, names: Collection[str], tasks: Collection[str]) -> None:
    """Raise ValueError where a folder has results that this command would replace or leave out.

    Args:
      planned: the command.
      names: of the images that its settings stand for.
      tasks: whose folders are looked at.
    """
    ours = {item.identity for job in planned.jobs for item in job.items}
    inputs = {(i.picture.name, json.dumps(i.inputs)) for job in planned.jobs for i in job.items}
    known = {name for name, _ in inputs}
    jobs = [(job, json.loads(json.dumps(job.facts))) for job in planned.jobs]
    for path in sorted(
        p for task in tasks for p in (planned.out / file_name(task)).glob("*/*.json")
    ):
        record = parsed_record(path)
        if record is None or record["hash"] in ours:
            continue
        job, facts = min(jobs, key=lambda one: distance(record, *one))
        image, differing = record["image"], differences(record["settings"], facts)
        same_inputs = (image, json.dumps(record.get("inputs"))) in inputs
        if differing:
            why = "; ".join(differing)
        elif image not in names:
            why = f"image {image} there, and not in this command"
        elif image in known and not same_inputs:
            why = f"image {image} has other pixels, or other task options or class, there than here"
        else:
            continue  # more of the same: an earlier run had more images or samples
        raise ValueError(
            f"--out {planned.out} has results of another command ({path.relative_to(planned.out)}:"
            f" {why}): give another --out, or what was there and more"
        )


def distance(record: dict, job: Job, facts: dict) -> tuple[bool, bool, int]:
    """How far a job is from a record: another label and task count most."""
    return (
        record["task"] != job.task,
        record["method"] != job.label,
        len(differences(record["settings"], facts)),
    )


def differences(there: dict, here: dict) -> list[str]:
    """What two methods' facts differ in, in words."""
    words = []
    for name in dict.fromkeys((*here, *there)):
        old, new = there.get(name), here.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            words += differences(old, new)
        elif old != new:
            words.append(f"{name} {_short(old)} there, {_short(new)} here")
    return words


def _short(value: object) -> str:
    text = "none" if value is None else json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= _ABOUT else f"{text[:_ABOUT]}..."


def folders_of_tasks(out: Path) -> list[str]:
    """The folders that may hold results of a task."""
    return [path.name for path in sorted(out.iterdir()) if path.is_dir()] if out.is_dir() else []

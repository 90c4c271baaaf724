"""What the numbers of a reproduced experiment depend on: its card, and the same in words."""

import argparse
import resource
import sys

import jax

from dsg_jax.solvers.resample import PRESETS
from experiments.files import array_hash, versions_and_hardware
from experiments.grid_arguments import add_reproduce_arguments
from experiments.papers.entry import SOLVER_TITLES
from experiments.papers.plan import REDUCED, Planned, default_step
from experiments.restore.metrics import installed_weights
from experiments.restore.plan import Plan
from experiments.restore.run import jsonable

METRIC_PROTOCOL = {
    "psnr": "dB, peak 1, image clipped to [-1, 1] and mapped to [0, 1], not rounded to 8 bits",
    "ssim": "dm-pix: Gaussian window of 11, sigma 1.5, mean over channels, on [0, 1]",
    "lpips": "version 0.1, VGG16, image clipped to [-1, 1]",
    "ssim_skimage7": "uniform window of 7, sample covariance, mean over channels, on [0, 1]",
    "lpips_vgg_unscaled": "LPIPS fed with [0, 1] instead of [-1, 1]",
    "lpips_piq_avgpool": "LPIPS with average instead of maximum pooling",
    "several samples": "best by PSNR, lowest misfit, and all single runs, as rows of their own",
}


def card_of(planned: Planned, rows: list[dict], run: dict, given: argparse.Namespace) -> dict:
    """Everything needed to run an experiment again, as JSON values."""
    plans = [p for cell in planned.cells for p in cell.plans]
    experiment = planned.experiment
    return {
        "experiment": experiment.name,
        "command": command_of(experiment.name, given),
        "source": experiment.source,
        "preset": given.preset or experiment.preset,
        "full": given.full,
        "failure_psnr": given.failure_psnr,
        "psld_steps": {step: default_step(given, step) for step in ("default", "large")},
        "seeds": given.seeds,
        "seed_rules": "image i: operator by (seed, i); noise and samples by keys folded from seed,"
        " i and the number of the sample",
        "images": manifest(plans),
        "metrics": METRIC_PROTOCOL | {"lpips weights": installed_weights()[1] or "installed"},
        "priors": sorted({p.out.parent.name for p in plans}),
        "rows": [row_card(cell) for cell in planned.cells],
        "seconds_per_image": [
            {name: row[name] for name in ("task", "row", "x", "seconds")} for row in rows
        ],
        "run": run,
        "paper_values_only": [
            {"task": task, "row": row.label, "why": why} for task, row, why in planned.absent
        ],
    } | versions_and_hardware()


def row_card(cell) -> dict:
    """What one cell set and what the solver made of it."""
    place = {"task": cell.task, "row": cell.row.label, "x": cell.x}
    made = cell.plans[0].jobs[0].settings
    shown = {name: value for name, value in made.items() if name not in ("task", "seed", "shape")}
    given = {name: jsonable(value) for name, value in cell.settings.items()}
    return place | {"given": given, "settings": shown}


def manifest(plans: list[Plan]) -> list[dict]:
    """Name, number, shape and hash of the pixels of every image, once."""
    found = {}
    for planned in plans:
        for job in planned.jobs:
            for item in job.items:
                pixels = item.picture.pixels
                place = (item.picture.name, job.shape)
                if pixels is not None and place not in found:
                    found[place] = {
                        "name": item.picture.name,
                        "index": item.picture.image_index,
                        "shape": list(job.shape),
                        "pixels_sha256_16": array_hash(pixels),
                    }
    return list(found.values())


def peak_memory() -> dict:
    """MiB: of this process so far, and of the first device where the backend counts it."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    stats = jax.local_devices()[0].memory_stats() or {}
    device = stats.get("peak_bytes_in_use")
    return {"process": round(process), "device": device and round(device / 2**20)}


def command_of(name: str, given: argparse.Namespace) -> str:
    """The command that runs one experiment again, with the arguments that are not the defaults."""
    parser = argparse.ArgumentParser()
    add_reproduce_arguments(parser)
    words = [f"python -m experiments reproduce {name}"]
    for argument, default in vars(parser.parse_args([])).items():
        value = getattr(given, argument)
        if value == default or argument in ("name", "list", "dry_run", "out", "report"):
            continue
        texts = "" if value is True else jsonable(value)
        texts = " ".join(map(str, texts)) if isinstance(texts, list) else texts
        words.append(f"--{argument.replace('_', '-')} {texts}".strip())
    return " ".join(words)


def differences(planned: Planned, card: dict) -> str:
    """Prior, images and sizes beside the paper's, in words."""
    names = [image["name"] for image in card["images"]]
    sizes = sorted({f"{i['shape'][0]} x {i['shape'][1]}" for i in card["images"]})
    solvers = list(dict.fromkeys(cell.row.solver for cell in planned.cells))
    text = f"Paper: {planned.experiment.setting}."
    if not names:
        return f"{text} Here: nothing was run."
    several = f", {len(card['seeds'])} seeds" if len(card["seeds"]) > 1 else ""
    sigmas = sorted({cell.settings["sigma"] for cell in planned.cells})
    text += (
        f" Here: prior {', '.join(card['priors'])}; {len(names)} image{'s' * (len(names) > 1)} of"
        f" {', '.join(sizes)} px"
        f"{several}; noise {', '.join(f'{sigma:g}' for sigma in sigmas)}; preset {card['preset']}"
        f" (rank rule {PRESETS[card['preset']]['rule']} where a row names none)."
    )
    short = [shortened(planned, solver) for solver in solvers]
    if any(short):
        text += f" Shortened runs: {'; '.join(filter(None, short))}."
    if "psld" in solvers:
        default, large = (f"{card['psld_steps'][step]:g}" for step in ("default", "large"))
        text += f" PSLD's default step is {default} times the published one"
        text += f" and its large one {large} times (our choice)."
    return text


def shortened(planned: Planned, solver: str) -> str:
    """How a solver's runs differ in length from the reference's, "" if they do not."""
    own = next(cell.settings for cell in planned.cells if cell.row.solver == solver)
    set_ = [f"{n.replace('_', ' ')} {own[n]}" for n in REDUCED[solver] if n in own]
    return f"{SOLVER_TITLES[solver]}: {', '.join(set_)}" if set_ else ""

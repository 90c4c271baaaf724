"""What the numbers of a reproduced experiment depend on: its card, and the same in words."""

import resource
import sys
from collections.abc import Mapping
from typing import Any

import jax

from dsg_jax.solvers import SOLVERS
from experiments.checks import flag
from experiments.files import array_hash, versions_and_hardware
from experiments.papers.plan import REDUCED, PlannedExperiment, Point, psld_step
from experiments.papers.settings import ReproduceSettings, changed, words_of
from experiments.restore.fid import FIDScores
from experiments.restore.metrics import installed_weights
from experiments.restore.plan import Plan

METRIC_PROTOCOL = {
    "psnr": "dB, peak 1, image clipped to [-1, 1] and mapped to [0, 1], not rounded to 8 bits",
    "ssim": "dm-pix: Gaussian window of 11, sigma 1.5, mean over channels, on [0, 1]",
    "lpips": "version 0.1, VGG16, image clipped to [-1, 1]",
    "ssim_skimage7": "uniform window of 7, sample covariance, mean over channels, on [0, 1]",
    "lpips_vgg_unscaled": "LPIPS fed with [0, 1] instead of [-1, 1]",
    "lpips_piq_avgpool": "LPIPS with average instead of maximum pooling",
    "several samples": "best by PSNR, lowest misfit, and all single runs, as rows of their own",
}


def experiment_card(
    planned: PlannedExperiment,
    rows: list[dict],
    run: dict,
    settings: ReproduceSettings,
    fid: FIDScores | None = None,
) -> dict:
    """Everything needed to run an experiment again, as JSON values."""
    plans = list(planned.plans.values())
    experiment = planned.experiment
    return {
        "experiment": experiment.name,
        "command": command_of(experiment.name, settings),
        "source": experiment.source,
        "preset": settings.preset or experiment.preset,
        "full": settings.full,
        "failure_psnr": settings.failure_psnr,
        "psld_steps": {step: psld_step(settings, step) for step in ("default", "large")},
        "seeds": list(settings.seeds),
        "seed_rules": "image i: operator by (seed, i); noise and samples by keys folded from seed,"
        " i and the number of the sample",
        "images": manifest(plans),
        "images_from": [str(path) for path in settings.images],
        "metrics": METRIC_PROTOCOL
        | {"lpips weights": installed_weights()[1] or "installed"}
        | ({"fid": fid.about} if fid else {}),
        "priors": planned.priors,
        "left_out": list(experiment.left_out),
        "rows": [row_card(point) for point in planned.points],
        "seconds_per_image": [
            {name: row[name] for name in ("task", "row", "x", "seconds")} for row in rows
        ],
        "run": run,
        "paper_values_only": [
            {"task": task, "row": row.label, "why": why} for task, row, why in planned.absent
        ],
    } | versions_and_hardware()


def row_card(point: Point) -> dict:
    """What one point sets, and the settings that the solver has in the end."""
    return {
        "task": point.task,
        "row": point.row.label,
        "x": point.x,
        "given": changed(point.settings.method) | dict(point.settings.solver_options),
        "settings": {
            name: value
            for name, value in point.plans[0].jobs[0].facts.items()
            if name not in ("task", "seed", "shape")
        },
    }


def manifest(plans: list[Plan]) -> list[dict]:
    """Name, number, shape and hash of the pixels of every image, once."""
    pictures = {
        (item.picture.name, job.shape): item.picture
        for plan in plans
        for job in plan.jobs
        for item in job.items
    }
    return [
        {
            "name": picture.name,
            "index": picture.image_index,
            "shape": list(shape),
            "pixels_sha256_16": array_hash(picture.pixels),
        }
        for (_, shape), picture in pictures.items()
        if picture.pixels is not None
    ]


def peak_memory() -> dict[str, int | None]:
    """MiB: of this process so far, and of the first device where the backend counts it."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    device = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return {
        "process": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit),
        "device": device and round(device / 2**20),
    }


def command_of(name: str, settings: ReproduceSettings) -> str:
    """The command that runs one experiment again, with the options that are not the defaults."""
    options = {
        option: value
        for option, value in changed(settings).items()
        if option not in ("name", "list", "dry_run", "out", "report")
    }
    words = [f"{flag(option)} {words_of(value)}".strip() for option, value in options.items()]
    return " ".join([f"dsg-jax reproduce {name}", *words])


def differences(planned: PlannedExperiment, card: dict) -> str:
    """Prior, images and sizes beside the paper's, in words."""
    paper, images, points = planned.experiment.setting, card["images"], planned.points
    if not images:
        return f"Paper: {paper}. Here: nothing was run."
    sizes = sorted({f"{i['shape'][0]} x {i['shape'][1]}" for i in images})
    origin = "" if card["images_from"] else " (bundled samples)"
    seeds = f", {len(card['seeds'])} seeds" if len(card["seeds"]) > 1 else ""
    sigmas = sorted({point.settings.measurement.level for point in points})
    rule = SOLVERS["resample"].projection_defaults(preset=card["preset"])["rule"]
    lengths = {shortened(p.row.solver, p.settings.solver_options): None for p in points}
    default, large = (f"{card['psld_steps'][step]:g}" for step in ("default", "large"))
    sentences = [
        f"Paper: {paper}. Here: {'; '.join(card['priors'].values())}. {len(images)}"
        f" image{'s' * (len(images) > 1)} of {', '.join(sizes)} px{origin}"
        f"{seeds}; noise {', '.join(f'{sigma:g}' for sigma in sigmas)}; preset {card['preset']}"
        f" (rank rule {rule} where a row names none).",
        f"Shortened runs: {'; '.join(filter(None, lengths))}." if any(lengths) else "",
        f"PSLD's default step is {default} times the published one and its large one {large} times"
        " (our choice)."
        if any(point.row.solver == "psld" for point in points)
        else "",
    ]
    return " ".join(filter(None, sentences))


def shortened(solver: str, options: Mapping[str, Any]) -> str:
    """How a solver's runs differ in length from the reference's, "" if they do not."""
    names = [name for name in REDUCED.get(solver, {}) if name in options]
    lengths = [f"{name.replace('_', ' ')} {options[name]}" for name in names]
    return f"{SOLVERS[solver].title}: {', '.join(lengths)}" if lengths else ""

"""Is a bundled prior any good? Its restorations of held-out images against classical methods.

    dsg-jax quality --prior emoji --count 12

Each task has a bar: how many dB the better of DAPS and DiffStateGrad-DAPS must gain over bicubic
enlargement, biharmonic inpainting or Wiener deconvolution (scikit-image) on the same measurements.
Each method is scored twice: one posterior sample, and the mean of several. The classical methods
estimate a mean, and a sample of an exact posterior has twice the squared error of its mean.
Wiener's periodic border rings on motion kernels, so those also meet least squares with the exact
border. The deconvolutions get the balance that is best on these very images.
"""

import json
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from dsg_jax.operators.tasks import TASKS
from dsg_jax.user_code import file_name
from experiments.decode import read_image
from experiments.files import versions_and_hardware, write_atomically
from experiments.quality.bars import BARS, Bar, mask_of, truth_of
from experiments.quality.settings import QualitySettings
from experiments.restore.command import carry_out
from experiments.restore.metrics import lpips_or_none
from experiments.restore.plan import Item, Plan, plan
from experiments.restore.report import markdown_table
from experiments.statistics import grouped


def psnr_where(x: np.ndarray, truth: np.ndarray, where: np.ndarray | None = None) -> float:
    """PSNR of images in [-1, 1] in dB, over all pixels or those of a mask (h, w)."""
    square = ((np.clip(x, -1, 1) - truth) / 2) ** 2
    return float(-10 * np.log10(np.mean(square if where is None else square[where])))


# Method -> (n, h, w, c) posterior samples of every item.
Samples = dict[str, list[np.ndarray]]


def compare(bar: Bar, items: list[Item], samples: Samples) -> dict:
    """One row of the table: means over the images, inside the hole of a box.

    Args:
      bar: the task and its opponent.
      items: one sample of every image.
      samples: what the methods make of it.
    """
    boxed, rival = "box" in TASKS[bar.task].options, bar.restore(items)
    holes = [mask_of(item) == 0 if boxed else None for item in items]
    truths = [truth_of(item) for item in items]
    score = lambda xs: np.array([psnr_where(*a) for a in zip(xs, truths, holes, strict=True)])
    opponent = score(rival)
    row: dict = {
        "task": bar.task,
        "opponent": bar.opponent,
        "images": len(items),
        "bar": bar.gain,
        "opponent_psnr": float(opponent.mean()),
    }
    gains: dict[str, list[float]] = {"one": [], "mean": []}
    for label, drawn in samples.items():
        alone = np.mean([score(xs) for xs in zip(*drawn, strict=True)], axis=0)
        for name, ours in {"one": alone, "mean": score([np.mean(x, 0) for x in drawn])}.items():
            row |= {
                f"{label} {name}": float(ours.mean()),
                f"{label} {name} gain std": float(np.std(ours - opponent)),
            }
            gains[name].append(float(np.mean(ours - opponent)))
    for name, values in gains.items():
        row |= {f"gain {name}": max(values), f"met {name}": max(values) >= bar.gain}
    return row | {"lpips": perceptual({bar.opponent: [x[None] for x in rival]} | samples, truths)}


def perceptual(samples: Samples, truths: list[np.ndarray]) -> dict[str, float]:
    """Mean LPIPS of whole images by method; those without any are left out."""
    known = {
        name: [
            distance
            for xs, truth in zip(drawn, truths, strict=True)
            for x in xs
            if (distance := lpips_or_none(x, truth)) is not None
        ]
        for name, drawn in samples.items()
    }
    return {name: float(np.mean(distances)) for name, distances in known.items() if distances}


def phase_rows(records: list[dict], threshold: float) -> list[dict]:
    """Best of the samples of each image, and how often it succeeds (PSNR >= threshold in dB)."""
    tables = {  # method -> PSNR by image and sample
        method: np.array(
            [[r["psnr"] or 0.0 for r in samples] for samples in grouped(members, "image").values()]
        )
        for (method,), members in grouped(records, "method").items()
    }
    return [
        {
            "method": method,
            "best_of": psnrs.shape[1],
            "psnr_best": float(psnrs.max(axis=1).mean()),
            "psnr_single": float(psnrs.mean()),
            "success_best": float((psnrs.max(axis=1) >= threshold).mean()),
            "success_single": float((psnrs >= threshold).mean()),
        }
        for method, psnrs in tables.items()
    ]


def markdown(title: str, rows: list[dict], phase: list[dict], facts: str) -> str:
    """The two tables of a prior.

    Args:
      title: its heading.
      rows: those of `compare`.
      phase: those of `phase_rows`.
      facts: what was run, in words.
    """
    methods = [row["method"] for row in phase]
    scores = lambda row, name: (
        *(f"{row[f'{method} {name}']:.2f}" for method in methods),
        f"{row[f'gain {name}']:+.2f}",
        "yes" if row[f"met {name}"] else "**no**",
    )
    lines = [
        (
            row["task"],
            f"{row['bar']:+.1f}",
            f"{row['opponent']} {row['opponent_psnr']:.2f}",
            *scores(row, "one"),
            *scores(row, "mean"),
        )
        for row in rows
    ]
    columns = (
        *("task", "bar", "opponent", *methods, "gain", "met"),
        *(f"{method}, mean of samples" for method in methods),
        *("gain", "met"),
    )
    lpips = [
        f"LPIPS of one sample, {row['task']}: "
        + ", ".join(f"{name} {value:.3f}" for name, value in row["lpips"].items())
        for row in rows
        if row["lpips"]
    ]
    sections = facts, markdown_table(columns, lines), *lpips, phase_table(phase)
    return "\n\n".join([f"## {title}", *sections]) + "\n"


def phase_table(rows: list[dict]) -> str:
    """The table of `phase_rows`."""
    return markdown_table(
        ("phase retrieval", "best of", "PSNR best", "PSNR each", "success best", "success each"),
        [
            (
                row["method"],
                str(row["best_of"]),
                f"{row['psnr_best']:.2f}",
                f"{row['psnr_single']:.2f}",
                f"{row['success_best']:.0%}",
                f"{row['success_single']:.0%}",
            )
            for row in rows
        ],
    )


def plan_quality(settings: QualitySettings) -> Callable[[], None]:
    """Check the settings of `quality`; the result restores and compares.

    Raises:
      ValueError: without scikit-image, which has the classical methods; and as `plan`.
    """
    if find_spec("skimage") is None:
        raise ValueError("the classical methods are scikit-image's: pip install scikit-image")
    magnitudes = [name for name, task in TASKS.items() if task.magnitude]
    bars = dict.fromkeys(bar.task for bar in BARS)
    linear = plan(settings.for_restore(bars, settings.samples, "tasks"))
    phase = plan(settings.for_restore(magnitudes, 4, "phase"))
    return lambda: quality(settings, linear, phase)


def samples_of(planned: Plan, items: list[Item], records: list[dict]) -> Samples:
    """The posterior samples of every item by every method, from the images of one task."""
    images = grouped(records, "method", "image")
    read = lambda files: np.stack([read_image(planned.out / record["png"]) for record in files])
    return {
        method: [read(images[method, item.picture.name]) for item in items]
        for (method,) in grouped(records, "method")
    }


def quality(settings: QualitySettings, linear: Plan, phase: Plan) -> None:
    """Run both plans, compare, and write ``quality.md`` and ``quality.json``."""
    items = {j.task: [item for item in j.items if item.sample == 0] for j in linear.jobs}
    records = grouped(carry_out(linear), "task")
    phases = phase_rows(carry_out(phase), settings.failure_psnr)
    rows = [
        compare(bar, items[bar.task], samples_of(linear, items[bar.task], records[(bar.task,)]))
        for bar in BARS
    ]
    facts = (
        f"{settings.count} held-out images at {settings.size} px, sigma 0.05, seed"
        f" {settings.seed}, {settings.levels} levels, {settings.samples} samples; PSNR in dB,"
        f" inside the hole for the box; gain: of the better method over the opponent;"
        f" success: PSNR of at least {settings.failure_psnr:g} dB (our threshold)."
    )
    folder = settings.out / file_name(settings.prior)
    text = markdown(settings.prior, rows, phases, facts)
    write_atomically(folder / "quality.md", text.encode())
    report = {"rows": rows, "phase": phases, "facts": facts} | versions_and_hardware()
    write_atomically(folder / "quality.json", (json.dumps(report, indent=1) + "\n").encode())
    print(text)

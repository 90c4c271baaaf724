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

from experiments.files import versions_and_hardware, write_atomically
from experiments.images import read_image
from experiments.quality.bars import BARS, Bar, mask_of, truth_of
from experiments.quality.settings import QualitySettings
from experiments.restore.metrics import lpips_or_none
from experiments.restore.plan import Item, Plan, plan
from experiments.restore.report import markdown_table
from experiments.restore.run import run
from experiments.statistics import grouped


def psnr_where(x: np.ndarray, truth: np.ndarray, where: np.ndarray | None = None) -> float:
    """PSNR of images in [-1, 1] in dB, over all pixels or those of a mask (h, w)."""
    square = ((np.clip(x, -1, 1) - truth) / 2) ** 2
    square = square if where is None else square[where]
    return float(-10 * np.log10(np.mean(square)))


Samples = dict[str, list[np.ndarray]]
"""Method -> (n, h, w, c) posterior samples of every item."""


def compare(bar: Bar, items: list[Item], rival: list[np.ndarray], samples: Samples) -> dict:
    """One row of the table: means over the images, inside the hole for box inpainting.

    Args:
      bar: the task and its opponent.
      items: one sample of every image.
      rival: what the opponent makes of every item.
      samples: what the methods make of it.
    """
    holes = [mask_of(i) == 0 if bar.task == "box_inpainting" else None for i in items]
    truths = [truth_of(item) for item in items]
    score = lambda xs: np.array([psnr_where(*a) for a in zip(xs, truths, holes, strict=True)])
    opponent = score(rival)
    row: dict = {"task": bar.task, "opponent": bar.opponent, "images": len(items), "bar": bar.gain}
    row["opponent_psnr"] = float(opponent.mean())
    gains: dict[str, list[float]] = {"one": [], "mean": []}
    for label, drawn in samples.items():
        alone = np.mean([score(xs) for xs in zip(*drawn, strict=True)], axis=0)
        for name, ours in {"one": alone, "mean": score([np.mean(x, 0) for x in drawn])}.items():
            row[f"{label} {name}"] = float(ours.mean())
            row[f"{label} {name} gain std"] = float(np.std(ours - opponent))
            gains[name].append(float(np.mean(ours - opponent)))
    for name, values in gains.items():
        row |= {f"gain {name}": max(values), f"met {name}": max(values) >= bar.gain}
    return row


def perceptual(bar: Bar, items: list[Item], rival: list[np.ndarray], samples: Samples) -> dict:
    """Mean LPIPS of whole images, of the opponent and of one sample by each method; {} without."""
    truths = [truth_of(item) for item in items]
    shown = {bar.opponent: [x[None] for x in rival]} | samples
    means: dict[str, float] = {}
    for name, drawn in shown.items():
        pairs = [(x, truth) for xs, truth in zip(drawn, truths, strict=True) for x in xs]
        known = [d for d in (lpips_or_none(*pair) for pair in pairs) if d is not None]
        means |= {name: float(np.mean(known))} if known else {}
    return means


def phase_rows(records: list[dict], threshold: float) -> list[dict]:
    """Best of the samples of each image, and how often it succeeds (PSNR >= threshold in dB)."""
    rows = []
    for (label,), members in grouped(records, "method").items():
        images = grouped(members, "image").values()
        psnrs = np.array([[r["psnr"] or 0.0 for r in samples] for samples in images])
        best = psnrs.max(axis=1)
        rows.append(
            {
                "method": label,
                "best_of": psnrs.shape[1],
                "psnr_best": float(best.mean()),
                "psnr_single": float(psnrs.mean()),
                "success_best": float((best >= threshold).mean()),
                "success_single": float((psnrs >= threshold).mean()),
            }
        )
    return rows


PHASE_COLUMNS = (
    "phase retrieval",
    "best of",
    "PSNR best",
    "PSNR each",
    "success best",
    "success each",
)


def markdown(title: str, rows: list[dict], phase: list[dict], facts: str) -> str:
    """The two tables of a prior."""
    methods = [row["method"] for row in phase]
    means = [f"{method}, mean of samples" for method in methods]
    columns = ("task", "bar", "opponent", *methods, "gain", "met", *means, "gain", "met")
    lines = []
    for row in rows:
        line = [row["task"], f"{row['bar']:+.1f}", f"{row['opponent']} {row['opponent_psnr']:.2f}"]
        for name in ("one", "mean"):
            line += [f"{row[f'{method} {name}']:.2f}" for method in methods]
            line += [f"{row[f'gain {name}']:+.2f}", "yes" if row[f"met {name}"] else "**no**"]
        lines.append(tuple(line))
    parts = [f"## {title}", facts, markdown_table(columns, lines)]
    for row in rows:
        if row["lpips"]:
            values = ", ".join(f"{name} {value:.3f}" for name, value in row["lpips"].items())
            parts.append(f"LPIPS of one sample, {row['task']}: {values}")
    lines = [
        (
            row["method"],
            str(row["best_of"]),
            f"{row['psnr_best']:.2f}",
            f"{row['psnr_single']:.2f}",
            f"{row['success_best']:.0%}",
            f"{row['success_single']:.0%}",
        )
        for row in phase
    ]
    return "\n\n".join([*parts, markdown_table(PHASE_COLUMNS, lines)]) + "\n"


def plan_quality(settings: QualitySettings) -> Callable[[], None]:
    """Check the settings of `quality`; the result restores and compares.

    Raises:
      ValueError: without scikit-image, which has the classical methods; and as `plan`.
    """
    if find_spec("skimage") is None:
        raise ValueError("the classical methods are scikit-image's: pip install scikit-image")
    tasks = tuple(dict.fromkeys(bar.task for bar in BARS))
    linear = plan(settings.for_restore(tasks, settings.samples, "tasks"))
    phase = plan(settings.for_restore(("phase_retrieval",), 4, "phase"))
    return lambda: quality(settings, linear, phase)


def drawn(planned: Plan, items: list[Item], records: list[dict]) -> Samples:
    """The posterior samples of every item by every method, from the images of one task."""
    samples: Samples = {}
    for (method,), members in grouped(records, "method").items():
        files = grouped(members, "image")
        read = lambda item, files=files: [
            read_image(planned.out / record["png"]) for record in files[(item.picture.name,)]
        ]
        samples[method] = [np.stack(read(item)) for item in items]
    return samples


def compared(bar: Bar, planned: Plan, records: list[dict]) -> dict:
    """The row of a bar: `compare` and `perceptual`."""
    job = next(job for job in planned.jobs if job.task == bar.task)
    items = [item for item in job.items if item.sample == 0]
    samples = drawn(planned, items, [r for r in records if r["task"] == bar.task])
    shown = bar, items, bar.restore(items), samples
    return compare(*shown) | {"lpips": perceptual(*shown)}


def quality(settings: QualitySettings, linear: Plan, phase: Plan) -> None:
    """Run both plans, compare, and write ``quality.md`` and ``quality.json``."""
    records, phase_records = run(linear), run(phase)
    rows = [compared(bar, linear, records) for bar in BARS]
    phases = phase_rows(phase_records, settings.failure_psnr)
    facts = (
        f"{settings.count} held-out images at {settings.size} px, sigma 0.05, seed"
        f" {settings.seed}, {settings.levels} levels, {settings.samples} samples; PSNR in dB,"
        f" inside the hole for the box; gain: of the better method over the opponent;"
        f" success: PSNR of at least {settings.failure_psnr:g} dB (our threshold)."
    )
    text = markdown(settings.prior, rows, phases, facts)
    write_atomically(settings.folder / "quality.md", text.encode())
    report = {"rows": rows, "phase": phases, "facts": facts} | versions_and_hardware()
    whole = json.dumps(report, indent=1) + "\n"
    write_atomically(settings.folder / "quality.json", whole.encode())
    print(text)

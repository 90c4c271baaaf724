"""Is a bundled prior any good? Its restorations of held-out images against classical methods.

    python -m experiments quality --prior emoji --count 12

Each task has a bar: how many dB the better of DAPS and DiffStateGrad-DAPS must gain over bicubic
enlargement, biharmonic inpainting or Wiener deconvolution (scikit-image) on the same measurements.
Each method is scored twice: one posterior sample, and the mean of several. The classical methods
estimate a mean, and a sample of an exact posterior has twice the squared error of its mean.
Wiener's periodic border rings on motion kernels, so those also meet least squares with the exact
border. The deconvolutions get the balance that is best on these very images.
"""

import json
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from experiments.files import versions_and_hardware, write_atomically
from experiments.images import read_image
from experiments.quality.classical import best_balance, bicubic, biharmonic, tikhonov, wiener
from experiments.restore.metrics import lpips_or_none
from experiments.restore.plan import Item, Plan, plan
from experiments.restore.run import run


class Bar(NamedTuple):
    """A task's classical opponent and the gain in dB that is asked for."""

    task: str
    opponent: str
    restore: Callable[[list[Item]], list[np.ndarray]]
    gain: float


def _y(item: Item) -> np.ndarray:
    return np.asarray(item.problem.y)


def _truth(item: Item) -> np.ndarray:
    if item.picture.pixels is None:
        raise ValueError(f"{item.picture.name} has no truth to compare with")
    return item.picture.pixels


def _mask(item: Item) -> np.ndarray:
    ones = jnp.ones(_truth(item).shape)
    return np.asarray(item.problem.operator.forward(ones))[..., 0]


def blur_kernel(item: Item) -> np.ndarray:
    """The kernel of a blur operator, read off its response to an impulse."""
    h, w, c = _truth(item).shape
    impulse = np.zeros((h, w, c), np.float32)
    impulse[h // 2, w // 2] = 1
    response = np.asarray(item.problem.operator.forward(jnp.asarray(impulse)))[..., 0]
    radius = (min(h, w) - 1) // 2
    rows = slice(h // 2 - radius, h // 2 + radius + 1)
    columns = slice(w // 2 - radius, w // 2 + radius + 1)
    return response[rows, columns][::-1, ::-1]


def _enlarge(items: list[Item]) -> list[np.ndarray]:
    factor = _truth(items[0]).shape[0] // _y(items[0]).shape[0]
    return [bicubic(_y(item), factor) for item in items]


def _fill(items: list[Item]) -> list[np.ndarray]:
    return [biharmonic(_y(item), _mask(item)) for item in items]


def _deconvolve(deblur: Callable, items: list[Item]) -> list[np.ndarray]:
    kernels = [blur_kernel(item) for item in items]
    truths = [_truth(item) for item in items]
    balance = best_balance(truths, [_y(item) for item in items], np.stack(kernels), restore=deblur)
    return [deblur(_y(item), kernel, balance) for item, kernel in zip(items, kernels, strict=True)]


BARS = (
    Bar("super_resolution", "bicubic", _enlarge, 1.5),
    Bar("random_inpainting", "biharmonic", _fill, 3.0),
    Bar("gaussian_deblur", "Wiener", partial(_deconvolve, wiener), 1.5),
    Bar("motion_deblur", "Wiener", partial(_deconvolve, wiener), 1.5),
    Bar("motion_deblur", "least squares", partial(_deconvolve, tikhonov), 1.5),
    Bar("box_inpainting", "biharmonic", _fill, 0.0),
)


def decibels(x: np.ndarray, truth: np.ndarray, where: np.ndarray | None = None) -> float:
    """PSNR of images in [-1, 1], over all pixels or those of a mask."""
    square = ((np.clip(x, -1, 1) - truth) / 2) ** 2
    square = square if where is None else square[where]
    return float(-10 * np.log10(np.mean(square)))


Samples = dict[str, list[np.ndarray]]
"""Method -> (n, h, w, c) posterior samples of every item."""


def compare(bar: Bar, items: list[Item], rival: list[np.ndarray], samples: Samples) -> dict:
    """One row of the table: means over the images, inside the hole for box inpainting.

    ``rival`` is what the opponent made of every item.
    """
    holes = [_mask(i) == 0 if bar.task == "box_inpainting" else None for i in items]
    truths = [_truth(item) for item in items]
    score = lambda xs: np.array([decibels(*a) for a in zip(xs, truths, holes, strict=True)])
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
    truths = [_truth(item) for item in items]
    shown = {bar.opponent: [x[None] for x in rival]} | samples
    means: dict[str, float] = {}
    for name, drawn in shown.items():
        pairs = [(x, truth) for xs, truth in zip(drawn, truths, strict=True) for x in xs]
        known = [d for d in (lpips_or_none(*pair) for pair in pairs) if d is not None]
        means |= {name: float(np.mean(known))} if known else {}
    return means


def phase_rows(records: list[dict], threshold: float) -> list[dict]:
    """Best of the samples of each image, and how often it succeeds."""
    rows = []
    for label in dict.fromkeys(r["method"] for r in records):
        mine = [r for r in records if r["method"] == label]
        names = dict.fromkeys(r["image"] for r in mine)
        psnrs = [[r["psnr"] or 0.0 for r in mine if r["image"] == name] for name in names]
        best = np.array([max(p) for p in psnrs])
        single = np.concatenate([np.array(p) for p in psnrs])
        rows.append(
            {
                "method": label,
                "best_of": len(psnrs[0]),
                "psnr_best": float(best.mean()),
                "psnr_single": float(single.mean()),
                "success_best": float((best >= threshold).mean()),
                "success_single": float((single >= threshold).mean()),
            }
        )
    return rows


def markdown(title: str, rows: list[dict], phase: list[dict], facts: str) -> str:
    """The two tables of a prior."""
    methods = [row["method"] for row in phase]
    head = ["task", "bar", "opponent", *methods, "gain", "met"]
    head += [f"{method}, mean of samples" for method in methods] + ["gain", "met"]
    lines = [f"## {title}", "", facts, "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [row["task"], f"{row['bar']:+.1f}", f"{row['opponent']} {row['opponent_psnr']:.2f}"]
        for name in ("one", "mean"):
            cells += [f"{row[f'{method} {name}']:.2f}" for method in methods]
            cells += [f"{row[f'gain {name}']:+.2f}", "yes" if row[f"met {name}"] else "**no**"]
        lines.append("| " + " | ".join(cells) + " |")
    for row in rows:
        if row["lpips"]:
            values = ", ".join(f"{name} {value:.3f}" for name, value in row["lpips"].items())
            lines += ["", f"LPIPS of one sample, {row['task']}: {values}"]
    head = ["phase retrieval", "best of", "PSNR best", "PSNR each", "success best", "success each"]
    lines += ["", "| " + " | ".join(head) + " |"]
    lines.append("|---" * 6 + "|")
    for row in phase:
        share = f"{row['success_best']:.0%} | {row['success_single']:.0%}"
        lines.append(
            f"| {row['method']} | {row['best_of']} | {row['psnr_best']:.2f}"
            f" | {row['psnr_single']:.2f} | {share} |"
        )
    return "\n".join(lines) + "\n"


def plan_quality(arguments: Namespace, parse: Callable[[list[str]], Namespace]) -> Callable:
    """Plan both runs; ``parse`` reads the arguments of `restore`.

    Raises:
      ValueError: without scikit-image, which has the classical methods; and as `plan`.
    """
    if find_spec("skimage") is None:
        raise ValueError("the classical methods are scikit-image's: pip install scikit-image")
    common = ["--prior", arguments.prior, "--size", str(arguments.size), "--sigma", "0.05"]
    common += ["--count", str(arguments.count), "--levels", str(arguments.levels)]
    common += ["--seed", str(arguments.seed), "--batch-size", str(arguments.batch_size)]
    folder = arguments.out / arguments.prior
    tasks = dict.fromkeys(bar.task for bar in BARS)
    several = ["--samples", str(arguments.samples)]
    given = [*common, *several, "--task", *tasks, "--out", str(folder / "tasks")]
    linear = plan(parse(["restore", *given]))
    four = ["--samples", "4", "--task", "phase_retrieval", "--out", str(folder / "phase")]
    phase = plan(parse(["restore", *common, *four]))
    return lambda: quality(arguments, linear, phase)


def drawn(out: Path, items: list[Item], records: list[dict]) -> list[np.ndarray]:
    """The posterior samples (n, h, w, c) of every item, from the images of one task and method."""
    files: dict[str, list[str]] = {}
    for record in records:
        files.setdefault(record["image"], []).append(record["png"])
    return [np.stack([read_image(out / png) for png in files[i.picture.name]]) for i in items]


def quality(arguments: Namespace, linear: Plan, phase: Plan) -> None:
    """Run both plans, compare, and write ``quality.md`` and ``quality.json``."""
    records, phase_records = run(linear), run(phase)
    rows = []
    for bar in BARS:
        job = next(job for job in linear.jobs if job.task == bar.task)
        items = [item for item in job.items if item.sample == 0]
        mine = [r for r in records if r["task"] == bar.task]
        methods = dict.fromkeys(r["method"] for r in mine)
        of = lambda method, mine=mine: [r for r in mine if r["method"] == method]
        samples = {method: drawn(linear.out, items, of(method)) for method in methods}
        shown = bar, items, bar.restore(items), samples
        rows.append(compare(*shown) | {"lpips": perceptual(*shown)})
    found = phase_rows(phase_records, arguments.failure_psnr)
    facts = (
        f"{arguments.count} held-out images at {arguments.size} px, sigma 0.05, seed"
        f" {arguments.seed}, {arguments.levels} levels, {arguments.samples} samples; PSNR in dB,"
        f" inside the hole for the box; gain: of the better method over the opponent;"
        f" success: PSNR of at least {arguments.failure_psnr:g} dB (our threshold)."
    )
    text = markdown(arguments.prior, rows, found, facts)
    folder = arguments.out / arguments.prior
    write_atomically(folder / "quality.md", text.encode())
    report = {"rows": rows, "phase": found, "facts": facts} | versions_and_hardware()
    write_atomically(folder / "quality.json", (json.dumps(report, indent=1) + "\n").encode())
    print(text)

"""Pictures of a finished run, made from its PNG files: a resumed run gives the same ones."""

import io
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from dsg_jax.operators.blur import point_spread
from dsg_jax.operators.tasks import TASKS
from dsg_jax.user_code import file_name
from experiments.decode import read_image
from experiments.files import write_atomically
from experiments.images import Picture, from_bytes, save_png
from experiments.pictures import (
    ERROR_WHITE,
    Panel,
    colour,
    error_map,
    grid,
    show_measurement,
    std_map,
)
from experiments.restore.plan import Job, Plan
from experiments.statistics import grouped, lowest_misfit

_ROWS = 12  # per page of a grid
_SCALE = f"white = {ERROR_WHITE}"


def write_gallery(planned: Plan, records: list[dict]) -> None:
    """Truths, measurements, posterior maps and comparison grids of every task and seed."""
    seeds = len(planned.settings.run.seed) > 1
    for (task, seed), members in grouped(records, "task", "seed").items():
        jobs = [job for job in planned.jobs if (job.task, job.seed) == (task, seed)]
        folder, suffix = planned.out / file_name(task), f"-seed{seed}" if seeds else ""
        measurements = write_problems(folder, f"measurement{suffix}", jobs)
        write_camera(folder, suffix, jobs)
        images = grouped(members, "image", "method")
        titles = {job.label: job.title for job in jobs}
        several = planned.settings.run.samples > 1
        rows = []
        for name, (picture, y) in measurements.items():
            maps = [posterior_maps(planned.out, folder, images[name, m]) for m in titles]
            chosen = [lowest_misfit(images[name, label]) for label in titles]
            measured = show_measurement(task, y)
            std = maps[-1] if several else None
            rows.append(grid_row(name, picture, measured, chosen, planned.out, std))
        with_truth = any(picture.pixels is not None for picture, _ in measurements.values())
        columns = columns_of(list(titles.values()), with_truth, several)
        for page, start in enumerate(range(0, len(rows), _ROWS)):
            name = f"grid{suffix}.png" if page == 0 else f"grid{suffix}_{page + 1}.png"
            save_png(folder / name, from_bytes(grid(columns, rows[start : start + _ROWS])))


def write_problems(
    folder: Path, name: str, jobs: list[Job]
) -> dict[str, tuple[Picture, np.ndarray]]:
    """Save truths, and measurements in the folder ``name``; returns both by the image's name."""
    problems = {i.picture.name: (i.picture, np.asarray(i.problem.y)) for j in jobs for i in j.items}
    for image, (picture, y) in problems.items():
        if picture.pixels is not None:
            save_png(folder / "truth" / f"{image}.png", picture.pixels)
        save_png(folder / name / f"{image}.png", show_measurement(jobs[0].task, y))
        save_npy(folder / name / f"{image}.npy", y)
    return problems


def write_camera(folder: Path, suffix: str, jobs: list[Job]) -> None:
    """Save every image's mask or kernel, of the task's, as ``--mask`` and ``--kernel`` read them.

    A mask is a PNG, 1 where the image is known; a kernel a point-spread function as .npy.
    """
    need = TASKS[jobs[0].task].needs
    problems = {i.picture.name: (i.problem.operator, j.shape) for j in jobs for i in j.items}
    for name, (operator, shape) in problems.items():
        if need == "mask":
            known = operator.forward(jnp.ones((*shape[:2], 1)))
            save_png(folder / f"mask{suffix}" / f"{name}.png", 2 * np.asarray(known) - 1)
        elif need == "kernel":
            spread = point_spread(operator, shape)
            save_npy(folder / f"kernel{suffix}" / f"{name}.npy", spread)


def save_npy(path: Path, array: np.ndarray) -> None:
    """Write an array in one piece."""
    stream = io.BytesIO()
    np.save(stream, array)
    write_atomically(path, stream.getvalue())


def restored_image(out: Path, record: dict) -> np.ndarray:
    """A restored image as its PNG holds it."""
    return read_image(out / record["png"], record["settings"]["shape"][2])


def posterior_maps(out: Path, folder: Path, samples: list[dict]) -> np.ndarray | None:
    """Save mean and standard deviation over the finite samples; returns the latter (h, w, c)."""
    finite = [record for record in samples if record["finite"]]
    if len(samples) < 2 or not finite:
        return None
    stack = np.stack([restored_image(out, record) for record in finite])
    mean, std = stack.mean(axis=0), stack.std(axis=0)
    place = folder / samples[0]["method"]
    save_png(place / f"{samples[0]['image']}_mean.png", mean)
    save_png(place / f"{samples[0]['image']}_std.png", from_bytes(std_map(std)))
    return std


def caption(record: dict, several: bool) -> str:
    """PSNR in dB where a truth exists, otherwise the misfit."""
    if not record["finite"]:
        return "not finite"
    psnr, misfit = record["psnr"], record["misfit"]
    text = f"misfit {misfit:.3f}" if psnr is None else f"{psnr:.2f} dB"
    return f"{text}, lowest misfit" if several else text


def columns_of(titles: list[str], with_truth: bool, several: bool) -> list[str]:
    """Headings: truth | measurement | one per method | error | posterior standard deviation."""
    last = titles[-1].split(" + ")[-1]
    columns = ["truth"] * with_truth + ["measurement", *titles]
    return columns + [f"error, {last}"] * with_truth + [f"std, {last}"] * several


def grid_row(name: str, picture: Picture, measured: np.ndarray, chosen: list[dict], out: Path, std):
    """The panels of one image, in the order of `columns_of`."""
    shown, several = [restored_image(out, record) for record in chosen], std is not None
    cells = [Panel(colour(measured), name)]
    cells += [Panel(colour(x), caption(r, several)) for x, r in zip(shown, chosen, strict=True)]
    if picture.pixels is not None:
        cells[0] = Panel(colour(measured))
        error = error_map(shown[-1], picture.pixels)
        cells = [Panel(colour(picture.pixels), name), *cells, Panel(error, _SCALE)]
    return [*cells, Panel(std_map(std), _SCALE)] if several else cells

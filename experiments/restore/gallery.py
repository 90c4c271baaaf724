"""Pictures of a finished run, made from its files of images: a resumed run gives the same ones."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from dsg_jax.operators.blur import point_spread
from dsg_jax.operators.tasks import TASKS
from dsg_jax.user_code import file_name
from experiments.decode import read_image
from experiments.fields import Units
from experiments.images import Picture, from_bytes, save_npy, save_png
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


def write_gallery(planned: Plan, records: list[dict]) -> None:
    """Truths, measurements, posterior maps and comparison grids of every task and seed."""
    seeds = len(planned.settings.run.seed) > 1
    for (task, seed), members in grouped(records, "task", "seed").items():
        jobs = [job for job in planned.jobs if (job.task, job.seed) == (task, seed)]
        folder = planned.out / file_name(task)
        suffix = f"-seed{seed}" if seeds else ""
        measurements = write_problems(folder, f"measurement{suffix}", jobs, planned.units)
        write_camera(folder, suffix, jobs)
        images = grouped(members, "image", "method")
        titles = {job.label: job.title for job in jobs}
        units = planned.units
        several = planned.settings.run.samples > 1
        rows = []
        for name, (picture, y) in measurements.items():
            maps = [posterior_maps(planned, folder, images[name, m]) for m in titles]
            chosen = [lowest_misfit(images[name, label]) for label in titles]
            measured = units.picture(show_measurement(task, y, units.channels))
            std = maps[-1] if several else None
            rows.append(grid_row(picture, measured, chosen, planned, std))
        with_truth = any(picture.pixels is not None for picture, _ in measurements.values())
        columns = columns_of(list(titles.values()), with_truth, several)
        for page, start in enumerate(range(0, len(rows), _ROWS)):
            name = f"grid{suffix}.png" if page == 0 else f"grid{suffix}_{page + 1}.png"
            save_png(folder / name, from_bytes(grid(columns, rows[start : start + _ROWS])))


def write_problems(
    folder: Path, name: str, jobs: list[Job], units: Units
) -> dict[str, tuple[Picture, np.ndarray]]:
    """Save truths, and measurements in the folder ``name``; returns both by the image's name.

    Of fields, also truths are arrays, and measurements are so in the prior's units, as
    ``--measured`` reads them; what is in Fourier space is of states.
    """
    task = jobs[0].task
    problems = {i.picture.name: (i.picture, np.asarray(i.problem.y)) for j in jobs for i in j.items}
    for image, (picture, y) in problems.items():
        if picture.pixels is not None:
            save_state(folder / "truth" / f"{image}.png", picture.pixels, units)
        shown = units.picture(show_measurement(task, y, units.channels))
        save_png(folder / name / f"{image}.png", shown)
        is_field = units.is_field and not TASKS[task].fourier and y.shape[-1:] == (units.channels,)
        save_npy(folder / name / f"{image}.npy", units.values(y) if is_field else y)
    return problems


def write_camera(folder: Path, suffix: str, jobs: list[Job]) -> None:
    """Save every image's mask or kernel, of the task's, as ``--mask`` and ``--kernel`` read them.

    A mask is a PNG, 1 where the image is known; a kernel a point-spread function as .npy.
    """
    task = TASKS[jobs[0].task]
    problems = {i.picture.name: (i.problem.operator, j.shape) for j in jobs for i in j.items}
    for name, (operator, shape) in problems.items():
        if task.needs == "mask":
            # Its transform has no zero: that of one point in Fourier space.
            point = jnp.zeros(shape).at[0, 0, 0].set(1)
            probe = point if task.fourier else jnp.ones(shape)
            known = np.any(np.asarray(operator.forward(probe)) != 0, axis=-1, keepdims=True)
            save_png(folder / f"mask{suffix}" / f"{name}.png", 2.0 * known - 1)
        elif task.needs == "kernel":
            spread = point_spread(operator, shape)
            save_npy(folder / f"kernel{suffix}" / f"{name}.npy", spread)


def save_state(path: Path, state: np.ndarray, units: Units) -> None:
    """Write the picture of a state, and of a field its values beside it."""
    save_png(path, units.picture(state))
    if units.is_field:
        save_npy(path.with_suffix(".npy"), units.values(state))


def restored_image(planned: Plan, record: dict) -> np.ndarray:
    """A restored image as its PNG holds it; a field as its .npy does."""
    path = planned.out / record["png"]
    if planned.units.is_field:
        return planned.units.state(np.load(path.with_suffix(".npy")))
    return read_image(path, record["settings"]["shape"][2])


def posterior_maps(planned: Plan, folder: Path, samples: list[dict]) -> np.ndarray | None:
    """Save mean and standard deviation over the finite samples; returns the latter (h, w, c)."""
    finite = [record for record in samples if record["finite"]]
    if len(samples) < 2 or not finite:
        return None
    units = planned.units
    stack = np.stack([restored_image(planned, record) for record in finite])
    mean, std = stack.mean(axis=0), stack.std(axis=0)
    place = folder / samples[0]["method"]
    save_state(place / f"{samples[0]['image']}_mean.png", mean, units)
    save_png(place / f"{samples[0]['image']}_std.png", from_bytes(std_map(units.beside(std))))
    if units.is_field:
        save_npy(place / f"{samples[0]['image']}_std.npy", np.float32(2 * units.std) * std)
    return units.beside(std)


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


def grid_row(
    picture: Picture,
    measured: np.ndarray,
    chosen: list[dict],
    planned: Plan,
    std: np.ndarray | None,
) -> list[Panel]:
    """The panels of one image, in the order of `columns_of`."""
    units, several = planned.units, std is not None
    shown = [restored_image(planned, r) for r in chosen]
    pictures = [colour(units.picture(x)) for x in shown]
    scale = f"white = {2 * units.std * ERROR_WHITE:g}"
    cells = [Panel(colour(measured), picture.name)]
    cells += [Panel(x, caption(r, several)) for x, r in zip(pictures, chosen, strict=True)]
    if picture.pixels is not None:
        cells[0] = Panel(colour(measured))
        error = error_map(units.beside(shown[-1]), units.beside(picture.pixels))
        truth = Panel(colour(units.picture(picture.pixels)), picture.name)
        cells = [truth, *cells, Panel(error, scale)]
    return [*cells, Panel(std_map(std), scale)] if std is not None else cells

"""The report of `calibrate`: what was measured in words, tables, and a card to run it again."""

import json
from argparse import Namespace
from pathlib import Path

import jax

from experiments.calibrate.cells import EXACT, Cell
from experiments.calibrate.methods import PUBLISHED
from experiments.calibrate.plots import save_plots, write_maps
from experiments.calibrate.rows import read_cell, row_of
from experiments.calibrate.scores import FUNCTIONALS, levels_of
from experiments.files import array_hash, versions_and_hardware, write_atomically
from experiments.restore.report import grouped, markdown_table
from experiments.restore.run import jsonable
from experiments.statistics import PLAIN

SIGNIFICANT = 0.01
"""p value below which ranks are called not uniform; one in a hundred of a calibrated sampler's."""
COLUMNS = (
    ("solver", "rule", "std ratio", "hidden", "seen", "to plain", "bias", "coverage")
    + ("rank spread", *(f"p {name}" for name in FUNCTIONALS))
    + ("not finite",)
)
NOTE = (
    "Std ratio: standard deviation of the samples over the exact posterior's, geometric mean over "
    "the pixels (1 is right, below 1 too narrow), of all, of the hidden and of the seen pixels. "
    "To plain: standard deviation over the plain solver's. Bias: distance of the sampler's mean "
    "from the exact one in exact standard deviations, root mean square. Coverage: percentage of "
    "pixels whose truth lies in the samples' central intervals of {levels}. Rank spread: squared "
    "distance of the pixels' ranks from the middle, over that of uniform ranks (1 is right, above "
    "1 the truths lie outside too often). p: chi-square test of uniform ranks of the mean of the "
    "image, of the pixel and of the direction that the measurement knows least, and of the "
    "log-likelihood. Brackets are 95 % bootstrap intervals over truths. Not finite: truths with a "
    "sample that is not."
)


def estimate_text(values: list[float] | None) -> str:
    """A value with its interval."""
    return "" if values is None else f"{values[0]:.2f} [{values[1]:.2f}, {values[2]:.2f}]"


def table_row(row: dict) -> tuple[str, ...]:
    """A row in the order of `COLUMNS`."""
    coverage, p = row["coverage"] or {}, row["p"] or {}
    return (
        row["solver"],
        "" if row["solver"] == EXACT else "plain" if row["rule"] == PLAIN else row["rule"],
        *(estimate_text(row[n]) for n in ("std", "std_hidden", "std_seen", "to_plain")),
        "" if row["bias"] is None else f"{row['bias'][0]:.2f}",
        ", ".join(f"{100 * value[0]:.0f}" for value in coverage.values()),
        "" if row["rank_spread"] is None else f"{row['rank_spread'][0]:.2f}",
        *(p_text(p[name]) if p else "" for name in FUNCTIONALS),
        str(row["not_finite"]),
    )


def p_text(p: float) -> str:
    """A p value, bold where it says that the ranks are not uniform."""
    text = "<0.001" if p < 0.001 else f"{p:.3f}"
    return f"**{text}**" if p < SIGNIFICANT else text


def sides(rows: list[dict], name: str) -> tuple[int, int, int]:
    """How many estimates lie below 1, above 1, or have an interval that holds it."""
    known = [row[name] for row in rows if row[name] is not None]
    below, above = sum(v[2] < 1 for v in known), sum(v[1] > 1 for v in known)
    return below, above, len(known) - below - above


def extent(rows: list[dict], name: str) -> str:
    """Smallest and largest value of an estimate."""
    values = [row[name][0] for row in rows if row[name] is not None]
    return f"{min(values):.2f} to {max(values):.2f}" if values else "unknown"


def sentences(rows: list[dict]) -> str:
    """What was measured, in words that follow from the rows alone."""
    control = [row for row in rows if row["solver"] == EXACT]
    p = [value for row in control for value in row["p"].values()]
    text = (
        f"Control: the exact sampler's std ratio is {extent(control, 'std')}, and "
        f"{sum(v < SIGNIFICANT for v in p)} of its {len(p)} rank tests have p < {SIGNIFICANT:g}.\n"
    )
    solvers = [row for row in rows if row["solver"] != EXACT]
    for (name,), members in grouped(solvers, "solver").items():
        plain = [row for row in members if row["rule"] == PLAIN]
        below, above, unsure = sides(plain, "std")
        text += (
            f"- {name}, plain: std ratio {extent(plain, 'std')}; too narrow in {below}, too wide "
            f"in {above}, undecided in {unsure} of {len(plain)} settings; bias "
            f"{extent(plain, 'bias')}."
        )
        for (rule,), mine in grouped((r for r in members if r["rule"] != PLAIN), "rule").items():
            below, above, unsure = sides(mine, "to_plain")
            text += (
                f" Projected ({rule}): {extent(mine, 'to_plain')} times as wide; narrower in "
                f"{below}, wider in {above}, undecided in {unsure}."
            )
        text += "\n"
    return text


def card_of(cells: list[Cell], rows: list[dict], given: Namespace) -> dict:
    """Everything that the numbers depend on, as JSON values."""
    unset = ("plan", "out", "report", "batch_size")
    methods = {}
    for cell in cells:
        if cell.method is not None and cell.rule == PLAIN:
            arrays = {n: v for n, v in cell.method.traced.items() if n != "steps"}
            numbers = {n: v._asdict() if hasattr(v, "_asdict") else v for n, v in arrays.items()}
            leaves = jax.tree.leaves(cell.method.traced["steps"])
            own = numbers | {n: jsonable(v) for n, v in cell.method.static}
            methods[", ".join((*place_of(cell), cell.solver))] = own | {"steps": len(leaves[0])}
    settings = {", ".join(place_of(cell)): cell.setting for cell in cells}
    return {
        "arguments": {n: jsonable(v) for n, v in vars(given).items() if n not in unset},
        "problems": {n: array_hash(s.truths, s.y, s.matrix) for n, s in settings.items()},
        "methods": methods,
        "published lengths": {name: PUBLISHED[name] for name in given.solver},
        "seconds": round(sum(row["seconds"] for row in rows), 1),
    } | versions_and_hardware()


def place_of(cell: Cell) -> tuple[str, str]:
    """Prior and task."""
    return cell.setting.prior, cell.setting.task


def write_report(report: Path, cells: list[Cell], given: Namespace) -> list[dict]:
    """Write tables, figures and card of finished cells; returns the rows."""
    kept = {(place_of(cell), cell.solver, cell.rule): read_cell(cell) for cell in cells}
    rows = []
    for cell in cells:
        plain = kept[place_of(cell), cell.solver, PLAIN]
        rows.append(
            row_of(cell, kept[place_of(cell), cell.solver, cell.rule], plain, given.samples)
        )
    maps = write_maps(report, cells, kept)
    missing = save_plots(report, rows, given)
    text = f"## Calibration\n\n{facts(given)}\n\n{sentences(rows)}\n"
    if missing:
        text += f"No plots: {missing}.\n\n"
    else:
        text += "![Widths](widths.png)\n\n![Coverage](coverage.png)\n\n![Ranks](ranks.png)\n\n"
    levels = ", ".join(f"{level:.0%}" for level in levels_of(given.samples))
    text += f"{NOTE.format(levels=levels)}\n"
    for (prior, task), members in grouped(rows, "prior", "task").items():
        table = markdown_table(COLUMNS, [table_row(row) for row in members])
        text += f"\n### {prior}, {task}\n\n{table}\n\n![Maps]({maps[prior, task].name})\n"
    write_atomically(report / "report.md", text.encode())
    write_atomically(report / "rows.json", (json.dumps(rows, indent=1) + "\n").encode())
    card = json.dumps(card_of(cells, rows, given), indent=1, default=float)
    write_atomically(report / "card.json", (card + "\n").encode())
    print(text)
    return rows


def facts(given: Namespace) -> str:
    """Counts and lengths, in words."""
    return (
        f"{given.truths} truths per setting, {given.samples} samples each; images of 8 x 8, noise "
        f"{given.sigma:g}, tau {given.tau:g}, seed {given.seed}. Lengths: dps, psld and latent-dps "
        f"{given.steps} steps (published: 1000), daps {given.levels} levels (200), latent-daps 50 "
        f"levels (50), resample {given.resample_steps} steps (500) and at most {given.limit} "
        "updates (2000 and 500). daps-sigma is daps with the true noise in its likelihood; the "
        "published constant is 0.01."
    )

"""The report of `calibrate`: what was measured in words, tables, and a card to run it again."""

import io
import json
from dataclasses import replace

import numpy as np

from dsg_jax.solvers import settings_for
from dsg_jax.user_code import file_name
from experiments.calibrate.cases import EXACT, Sampler
from experiments.calibrate.plots import save_plots, write_maps
from experiments.calibrate.scores import FUNCTIONALS, scores_of
from experiments.calibrate.settings import TRUE_NOISE, CalibrateSettings, levels_of
from experiments.files import array_hash, versions_and_hardware, write_atomically
from experiments.restore.plan import settings_facts
from experiments.restore.report import markdown_table
from experiments.settings import as_table
from experiments.statistics import PLAIN, grouped

# p value below which ranks are called not uniform; one in a hundred of a calibrated sampler's.
SIGNIFICANT = 0.01
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
PLOTS = "![Widths](widths.png)\n\n![Coverage](coverage.png)\n\n![Ranks](ranks.png)"


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
        f"{sum(v < SIGNIFICANT for v in p)} of its {len(p)} rank tests have p < {SIGNIFICANT:g}."
    )
    solvers = [row for row in rows if row["solver"] != EXACT]
    for (name,), members in grouped(solvers, "solver").items():
        plain = [row for row in members if row["rule"] == PLAIN]
        text += (
            f"\n- {name}, plain: std ratio {extent(plain, 'std')}; "
            + "too narrow in {}, too wide in {}, undecided in {}".format(*sides(plain, "std"))
            + f" of {len(plain)} settings; bias {extent(plain, 'bias')}."
        )
        projected = [row for row in members if row["rule"] != PLAIN]
        for (rule,), same_rule in grouped(projected, "rule").items():
            counts = sides(same_rule, "to_plain")
            text += (
                f" Projected ({rule}): {extent(same_rule, 'to_plain')} times as wide; "
                + "narrower in {}, wider in {}, undecided in {}.".format(*counts)
            )
    return f"{text}\n"


def run_lengths(samplers: list[Sampler]) -> dict[str, str]:
    """Steps or levels of every solver's runs, and how many are published."""
    published = lambda program, task: replace(
        program, settings=settings_for(program.solver, task, program.prior)
    )
    return {
        s.name: f"{s.program.steps} of {published(s.program, s.case.task).steps}"
        for s in samplers
        if s.program is not None
    }


def calibration_card(
    samplers: list[Sampler], rows: list[dict], settings: CalibrateSettings
) -> dict:
    """Everything that the numbers depend on, as JSON values."""
    return {
        "settings": {
            name: value
            for name, value in as_table(settings).items()
            if name not in ("out", "report", "batch_size")  # without effect on the numbers
        },
        "problems": {
            ", ".join(place_of(s)): array_hash(s.case.truths, s.case.y, s.case.matrix)
            for s in samplers
            if s.name == EXACT  # one of every case
        },
        "methods": {
            ", ".join((*place_of(s), s.name)): settings_facts(s.program.settings)
            for s in samplers
            if s.program is not None and s.rule == PLAIN
        },
        "seconds": round(sum(row["seconds"] for row in rows), 1),
    } | versions_and_hardware()


def place_of(sampler: Sampler) -> tuple[str, str]:
    """Prior and task."""
    return sampler.case.prior, sampler.case.task


def write_report(samplers: list[Sampler], settings: CalibrateSettings) -> list[dict]:
    """Write tables, figures and card of samplers that are done; returns the rows."""
    report = settings.report or settings.out
    arrays = {
        (place_of(s), s.name, s.rule): dict(np.load(io.BytesIO(s.path.read_bytes())))
        for s in samplers
    }
    rows = [
        scores_of(
            s,
            arrays[place_of(s), s.name, s.rule],
            plain=arrays[place_of(s), s.name, PLAIN],
            count=settings.samples,
        )
        for s in samplers
    ]
    write_maps(report, samplers, arrays)
    missing = save_plots(report, rows, settings)
    plots = f"No plots: {missing}." if missing else PLOTS
    note = NOTE.format(levels=", ".join(f"{level:.0%}" for level in levels_of(settings.samples)))
    text = (
        f"## Calibration\n\n{facts(samplers, settings)}\n\n{sentences(rows)}\n{plots}\n\n{note}\n"
    )
    for (prior, task), members in grouped(rows, "prior", "task").items():
        table = markdown_table(COLUMNS, [table_row(row) for row in members])
        text += f"\n### {prior}, {task}\n\n{table}\n\n![Maps](maps-{prior}-{file_name(task)}.png)\n"
    write_atomically(report / "report.md", text.encode())
    for name, values in {"rows": rows, "card": calibration_card(samplers, rows, settings)}.items():
        content = json.dumps(values, indent=1, default=float) + "\n"
        write_atomically(report / f"{name}.json", content.encode())
    print(text)
    return rows


def facts(samplers: list[Sampler], settings: CalibrateSettings) -> str:
    """Counts and lengths, in words."""
    lengths = ", ".join(f"{name} {count}" for name, count in run_lengths(samplers).items())
    return (
        f"{settings.truths} truths per setting, {settings.samples} samples each; images of 8 x 8, "
        f"noise {settings.sigma:g}, tau {settings.tau:g}, seed {settings.seed}. Steps or levels of "
        f"the published ones: {lengths}; optimisations end after {settings.limit} updates."
    ) + (
        f" SOLVER{TRUE_NOISE} has the true noise in its likelihood, not its own constant."
        if any(name.endswith(TRUE_NOISE) for name in settings.solver)
        else ""
    )

"""The map: which sampler, plain or projected, for how many calls of the prior's network.

What a run calls is counted while it runs (`papers.counts`); `LENGTHS` only chooses how long it is.
"""

from collections.abc import Mapping
from typing import Any

from dsg_jax.solvers import SOLVERS
from experiments.papers.entry import (
    INPAINTING,
    LINEAR,
    NONLINEAR,
    NOT_IN_THE_PAPERS,
    Experiment,
    Row,
    Sweep,
    plain_row,
    projected_row,
)
from experiments.settings import Method

# Solver -> options with which a run calls the network about 50, 200 and 1000 times, VJPs included.
# PSLD's step grows as its steps become fewer, as in the shortened runs of the tables.
LENGTHS: Mapping[str, Mapping[float, Mapping[str, Any]]] = {
    "dps": {50: {"steps": 25}, 200: {"steps": 100}, 1000: {"steps": 500}},
    "daps": {50: {"levels": 10}, 200: {"levels": 40}, 1000: {"levels": 200}},
    "sitcom": {
        50: {"steps": 5, "inner_steps": 5},
        200: {"steps": 10, "inner_steps": 10},
        1000: {"steps": 20, "inner_steps": 25},
    },
    "pnpdm": {
        50: {"levels": 10, "reverse_steps": 30},
        200: {"levels": 30, "reverse_steps": 30},
        1000: {"levels": 60, "reverse_steps": 80},
    },
    "fast-dips": {50: {"levels": 50}, 200: {"levels": 200}, 1000: {"levels": 1000}},
    "diffpir": {50: {"steps": 50}, 200: {"steps": 200}, 1000: {"steps": 1000}},
    "red-diff": {50: {"steps": 50}, 200: {"steps": 200}, 1000: {"steps": 1000}},
    "pigdm": {50: {"steps": 25}, 200: {"steps": 100}, 1000: {"steps": 500}},
    "spgd": {50: {"levels": 5}, 200: {"levels": 20}, 1000: {"levels": 100}},
    "psld": {
        50: {"steps": 25, "step_factor": 16.0},
        200: {"steps": 100, "step_factor": 4.0},
        1000: {"steps": 500, "step_factor": 1.0},
    },
    "resample": {50: {"steps": 50}, 200: {"steps": 200}, 1000: {"steps": 1000}},
    "latent-dps": {50: {"steps": 25}, 200: {"steps": 100}, 1000: {"steps": 500}},
    "latent-daps": {50: {"levels": 25}, 200: {"levels": 100}, 1000: {"levels": 500}},
    "latent-fast-dips": {50: {"levels": 50}, 200: {"levels": 200}, 1000: {"levels": 1000}},
    "flowdps": {50: {"steps": 50}, 200: {"steps": 200}, 1000: {"steps": 1000}},
    "flowchef": {50: {"steps": 50}, 200: {"steps": 200}, 1000: {"steps": 1000}},
}
# What the rows of a solver have beside: PnP-DM's exact step has no gradient to project.
OPTIONS: Mapping[str, Mapping[str, Any]] = {"pnpdm": {"likelihood": "langevin"}}
BUDGETS = (50.0, 200.0, 1000.0)
# Of the full rank: the best of the rank study on other images.
FRACTION = 0.7


def rows_of(solver: str) -> list[Row]:
    """A solver plain, projected by two rank rules, and where it can be, smoothed."""
    title, options = SOLVERS[solver].title, OPTIONS.get(solver, {})
    rule = {"rank_rule": ("fraction",), "tau": (FRACTION,)}
    rows = [
        plain_row(solver)._replace(options=options),
        projected_row(solver, f"DiffStateGrad-{title}", options, rank_rule=("official",)),
        projected_row(solver, f"DiffStateGrad-{title}, {FRACTION:g} of the rank", options, **rule),
    ]
    if SOLVERS[solver].inner_loop:
        smoothed = Method(solver=(solver,), projection="none", smoothing=(0.9,))
        rows.append(Row(f"smoothed {title}", smoothed, options, against=(title,)))
    return [row._replace(printed=None) for row in rows]


def network_map(name: str, kind: str) -> Experiment:
    """Every solver of one kind of prior, by `rows_of`, at every budget."""
    solvers = [solver for solver in LENGTHS if SOLVERS[solver].prior == kind]
    return Experiment(
        name,
        "our study",
        f"Which sampler on {kind} priors, plain, projected or smoothed, for how many calls of the"
        " network? Each has the settings of its paper and is as long as the calls allow.",
        NOT_IN_THE_PAPERS,
        INPAINTING + LINEAR + NONLINEAR,
        tuple(row for solver in solvers for row in rows_of(solver)),
        sweep=Sweep("calls", BUDGETS, "network calls", LENGTHS),
        figure="calls",
    )


MAPS = network_map("map", "pixel"), network_map("map-latent", "latent")

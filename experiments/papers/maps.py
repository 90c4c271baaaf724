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
    pair,
    projected_row,
)

# Solver -> options with which a run calls the network about 50, 200 and 1000 times, VJPs included.
# PSLD's step grows as its steps become fewer, as in the shortened runs of the tables.
LENGTHS: Mapping[str, Mapping[float, Mapping[str, Any]]] = {
    "dps": {50: {"steps": 25}, 200: {"steps": 100}, 1000: {"steps": 500}},
    "daps": {50: {"levels": 10}, 200: {"levels": 40}, 1000: {"levels": 200}},
    "psld": {
        50: {"steps": 25, "step_factor": 16.0},
        200: {"steps": 100, "step_factor": 4.0},
        1000: {"steps": 500, "step_factor": 1.0},
    },
    "resample": {50: {"steps": 50}, 200: {"steps": 200}, 1000: {"steps": 1000}},
    "latent-dps": {50: {"steps": 25}, 200: {"steps": 100}, 1000: {"steps": 500}},
    "latent-daps": {50: {"levels": 25}, 200: {"levels": 100}, 1000: {"levels": 500}},
}
BUDGETS = (50.0, 200.0, 1000.0)
# Of the full rank: the best of the rank study on other images.
FRACTION = 0.7


def network_map(name: str, kind: str) -> Experiment:
    """Every solver of one kind of prior, plain and with two rank rules, at every budget."""
    rows: list[Row] = []
    for solver in (one for one in LENGTHS if SOLVERS[one].prior == kind):
        fraction = f"DiffStateGrad-{SOLVERS[solver].title}, {FRACTION:g} of the rank"
        rows += pair(solver, rank_rule=("official",))
        rows.append(projected_row(solver, fraction, rank_rule=("fraction",), tau=(FRACTION,)))
    return Experiment(
        name,
        "our study",
        f"Which sampler on {kind} priors, with or without the projection, for how many calls of the"
        " network? Each has the settings of its paper and is as long as the calls allow.",
        NOT_IN_THE_PAPERS,
        INPAINTING + LINEAR + NONLINEAR,
        tuple(row._replace(printed=None) for row in rows),
        sweep=Sweep("calls", BUDGETS, "network calls", LENGTHS),
        figure="calls",
    )


MAPS = network_map("map", "pixel"), network_map("map-latent", "latent")

"""What `calibrate` samples: priors, tasks, truths with their posteriors, and the table's cells."""

from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from dsg_jax.operators.linear import inpainting
from dsg_jax.operators.tasks import operator_for
from dsg_jax.types import Operator, Prior, Projection
from experiments.calibrate.methods import method_for, prior_for, projection_for
from experiments.calibrate.posterior import (
    Posterior,
    exact_posterior,
    least_known,
    matrix_of,
    moments,
    one_form,
)
from experiments.calibrate.priors import PRIORS, SHAPE, Mixture, draw_images
from experiments.calibration_arguments import PRIOR_NAMES, TASK_NAMES
from experiments.files import array_hash, content_hash, installed
from experiments.restore.batch import Method
from experiments.statistics import PLAIN

EXACT = "exact"
"""Name of the control among the solvers."""


class Setting(NamedTuple):
    """A prior and a task with truths, measurements and the posteriors; images are (n, h, w, c)."""

    prior: str
    task: str
    mixture: Mixture
    operator: Operator
    matrix: np.ndarray
    """Of the operator, (p, p) with p = h w c."""
    sigma: float
    truths: np.ndarray
    y: np.ndarray
    posterior: Posterior
    mean: np.ndarray
    """(n, p) of the exact posterior."""
    variance: np.ndarray
    direction: np.ndarray
    pixel: int
    hidden: np.ndarray
    """(p,) whether the measurement leaves the entry out."""


class Cell(NamedTuple):
    """One sampler of one setting's posteriors, and the file of its scores."""

    setting: Setting
    solver: str
    rule: str
    prior: Prior | None
    method: Method | None
    projection: Projection | None
    path: Path


def operator_of(task: str, seed: int) -> Operator:
    """The operator of a task; all truths share it. The hole of the box is in the middle."""
    if task != "box_inpainting":
        return operator_for(task, SHAPE, seed)
    mask = np.ones(SHAPE[:2], np.float32)
    quarter = SHAPE[0] // 4
    mask[quarter:-quarter, quarter:-quarter] = 0
    return inpainting(mask)


def make_setting(prior: str, task: str, given: Namespace) -> Setting:
    """Draw truths, measure them, and solve for their posteriors."""
    place = (PRIOR_NAMES.index(prior), TASK_NAMES.index(task))
    random = np.random.default_rng([given.seed, *place, 1])
    mixture, operator = PRIORS[prior](), one_form(operator_of(task, given.seed), SHAPE)
    matrix = matrix_of(operator, SHAPE)
    truths = draw_images(random, mixture, given.truths)
    flat = truths.reshape(given.truths, -1)
    y = flat @ matrix.T + given.sigma * random.standard_normal(flat.shape)
    posterior = exact_posterior(mixture, matrix, y, given.sigma)
    mean, variance = moments(posterior)
    return Setting(
        prior,
        task,
        mixture,
        operator,
        matrix,
        given.sigma,
        truths,
        y.reshape(truths.shape),
        posterior,
        mean,
        variance,
        least_known(posterior),
        int(variance.mean(axis=0).argmax()),
        np.all(matrix == 0, axis=1),
    )


def cells_of(setting: Setting, given: Namespace) -> list[Cell]:
    """The control and every solver with every rule; their files are named by all they depend on."""
    common = {"prior": setting.prior, "task": setting.task, "version": installed("dsg_jax")}
    common |= {name: getattr(given, name) for name in ("sigma", "truths", "samples", "seed")}
    common["problem"] = array_hash(setting.truths, setting.y, setting.matrix, *setting.mixture)

    def cell(solver: str, rule: str, prior=None, method=None, projection=None) -> Cell:
        own = {"solver": solver, "rule": rule, "tau": None if rule == PLAIN else given.tau}
        if method is not None:
            leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(method.traced)]
            own |= {"traced": array_hash(*leaves), "static": list(map(list, method.static))}
        name = f"{setting.prior}-{setting.task}-{solver}-{rule}-{content_hash(common | own)}.npz"
        return Cell(setting, solver, rule, prior, method, projection, given.out / "cells" / name)

    cells = [cell(EXACT, PLAIN)]
    for solver in given.solver:
        prior = prior_for(solver, setting.mixture)
        method = method_for(solver, setting.task, prior, given)
        for rule in given.rules:
            cells.append(cell(solver, rule, prior, method, projection_for(solver, rule, given.tau)))
    return cells


def cells_by_setting(cells: list[Cell]) -> dict[tuple[str, str], list[Cell]]:
    """Cells by prior and task, in order of appearance."""
    found: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        found.setdefault((cell.setting.prior, cell.setting.task), []).append(cell)
    return found

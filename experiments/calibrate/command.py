"""Are the solvers posterior samplers, and does the projection narrow what they sample?

    python -m experiments calibrate

Truths are drawn from a prior that is a mixture of Gaussians and measured by a linear operator, so
that the posterior of each is known. Every solver gets the exact noise prediction and draws samples
of each truth's posterior; ranks, coverage, spread and bias tell how far they are from exact ones.
A sampler of the exact posterior goes through the same scores, as a control.
"""

import io
import time
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from tqdm import tqdm

from dsg_jax.sample import sample
from dsg_jax.solvers import SOLVERS
from dsg_jax.types import Operator, Prior, Problem, Projection
from experiments.calibrate.cells import EXACT, Cell, Setting, cells_of, make_setting
from experiments.calibrate.posterior import draw_posterior
from experiments.calibrate.priors import SHAPE
from experiments.calibrate.report import write_report
from experiments.calibrate.scores import BINS, functionals, levels_of, ranks
from experiments.calibration_arguments import PRIOR_NAMES, RULES, SOLVER_NAMES, TASK_NAMES
from experiments.files import write_atomically
from experiments.restore.batch import Static, batches, item_key, padded
from experiments.restore.choices import check_once
from experiments.statistics import PLAIN


def score(setting: Setting, samples: np.ndarray, seconds: float) -> dict[str, Any]:
    """What is kept of the samples (n, L, p) of every truth, as arrays.

    ``mean`` and ``variance`` (n, p), divided by L - 1; ``pixel_ranks`` (n, p) of every entry and
    ``ranks`` (n, 4) of the functionals; ``finite`` (n,), whether all samples of a truth are;
    ``seconds``.
    """
    truth = setting.truths.reshape(len(samples), -1)
    y = setting.y.reshape(len(samples), -1)
    of = lambda images, y: functionals(
        images, y, setting.matrix, setting.direction, setting.pixel, setting.sigma
    )
    return {
        "mean": samples.mean(axis=1),
        "variance": samples.var(axis=1, ddof=1),
        "pixel_ranks": ranks(truth, samples),
        "ranks": ranks(of(truth, y), of(samples, y[:, None])),
        "finite": np.isfinite(samples).all(axis=(1, 2)),
        "seconds": np.array(seconds),
    }


@partial(jax.jit, static_argnames=("solver", "static"))
def draw_batch(
    keys: Array,
    y: Array,
    operator: Operator,
    sigma: Array,
    projection: Projection | None,
    prior: Prior,
    traced: dict,
    *,
    solver: str,
    static: Static,
) -> Array:
    """One sample per key and measurement y (b, h, w, c), images of the same shape."""

    def one(key: Array, y: Array) -> Array:
        problem = Problem(operator, y, sigma)
        made = SOLVERS[solver](prior, problem, projection, **traced, **dict(static))
        return sample(key, made, SHAPE)[0]

    return jax.vmap(one)(keys, y)


def draw_samples(cell: Cell, given: Namespace, advance: Callable[[int], object]) -> np.ndarray:
    """The samples (n, L, p) of a solver, in batches; keys depend on truth and sample alone."""
    assert cell.prior is not None and cell.method is not None  # the control is drawn elsewhere
    count, method = given.samples, cell.method
    places = np.array([(n, i) for n in range(given.truths) for i in range(count)])
    keys = jax.vmap(lambda n, i: item_key(given.seed, n, i))(*places.T)
    operator, sigma = cell.setting.operator, jnp.float32(given.sigma)
    y = jnp.asarray(cell.setting.y, jnp.float32)
    images = []
    parts = batches(range(len(places)), given.batch_size)
    for part in parts:
        rows = np.array(padded(part, len(parts[0])))
        found = draw_batch(
            keys[rows],
            y[rows // count],
            operator,
            sigma,
            cell.projection,
            cell.prior,
            method.traced,
            solver=method.solver,
            static=method.static,
        )
        images.append(np.asarray(found[: len(part)], np.float64))
        advance(len(part))
    return np.concatenate(images).reshape(given.truths, count, -1)


def check(given: Namespace) -> None:
    """Raise ValueError for names, counts or values that make no experiment."""
    settings = [f"{prior}:{task}" for prior in PRIOR_NAMES for task in TASK_NAMES]
    for name, known in (("setting", settings), ("solver", SOLVER_NAMES), ("rules", RULES)):
        for value in getattr(given, name):
            if value not in known:
                raise ValueError(f"--{name} {value}: choose from {', '.join(known)}")
    for name in ("setting", "solver", "rules"):
        check_once(name, getattr(given, name))
    if PLAIN not in given.rules:
        raise ValueError(f"--rules: add {PLAIN}, the plain solver that the others are compared to")
    if given.truths < BINS:
        raise ValueError(f"--truths {given.truths}: give at least {BINS}, one per bin of ranks")
    levels_of(given.samples)
    if given.seed < 0:
        raise ValueError(f"--seed {given.seed}: give a whole number >= 0")
    if not given.sigma > 0:
        raise ValueError(f"--sigma {given.sigma}: the posterior wants a positive noise level")
    for name in ("steps", "levels", "resample_steps", "limit", "batch_size"):
        if getattr(given, name) < 1:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} {getattr(given, name)}: give a positive number")


def plan_calibrate(arguments: Namespace) -> Callable[[], list[dict]]:
    """Check the arguments of ``calibrate``; the result samples, scores and writes the report.

    Raises:
      ValueError: something the user gave is wrong; the message names it.
    """
    check(arguments)
    names = [name.split(":") for name in arguments.setting]
    settings = [make_setting(prior, task, arguments) for prior, task in names]
    cells = [cell for setting in settings for cell in cells_of(setting, arguments)]
    return lambda: calibrate(cells, arguments)


def calibrate(cells: list[Cell], given: Namespace) -> list[dict]:
    """Sample and score what is missing, then write the report; returns a row per cell."""
    missing = [cell for cell in cells if not cell.path.exists()]
    total = sum(cell.solver != EXACT for cell in missing) * given.truths * given.samples
    with tqdm(total=total, unit="sample", disable=not total) as bar:
        for cell in missing:
            bar.set_description(f"{cell.setting.prior}, {cell.setting.task}, {cell.solver}")
            started = time.perf_counter()
            if cell.solver == EXACT:
                places = PRIOR_NAMES.index(cell.setting.prior), TASK_NAMES.index(cell.setting.task)
                random = np.random.default_rng([given.seed, *places, 2])
                samples = draw_posterior(random, cell.setting.posterior, given.samples)
            else:
                samples = draw_samples(cell, given, bar.update)
            stream = io.BytesIO()
            seconds = time.perf_counter() - started
            np.savez_compressed(stream, **score(cell.setting, samples, seconds))
            write_atomically(cell.path, stream.getvalue())
    return write_report(given.report or given.out, cells, given)

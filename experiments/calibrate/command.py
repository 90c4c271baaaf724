"""Are the solvers posterior samplers, and does the projection narrow what they sample?

    python -m experiments calibrate

Truths are drawn from a prior that is a mixture of Gaussians and measured by a linear operator, so
that the posterior of each is known. Every solver gets the exact noise prediction and draws samples
of each truth's posterior; ranks, coverage, spread and bias tell how far they are from exact ones.
A sampler of the exact posterior goes through the same scores, as a control.
"""

import io
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from tqdm import tqdm

from dsg_jax.plug_ins import Guidance
from dsg_jax.priors.mixture_posterior import draw_posterior
from dsg_jax.sample import sample
from dsg_jax.types import Operator, Prior, Problem
from experiments.calibrate.cases import EXACT, Sampler, case_of, samplers_of
from experiments.calibrate.problems import SHAPE
from experiments.calibrate.report import write_report
from experiments.calibrate.scores import is_stored, stored
from experiments.calibrate.settings import CalibrateSettings
from experiments.files import write_atomically
from experiments.programs import solver_of
from experiments.progress import progress_bar
from experiments.restore.batch import batches, item_key, padded


@partial(jax.jit, static_argnames=("solver",))
def draw_batch(
    keys: Array,
    y: Array,
    operator: Operator,
    sigma: Array,
    arrays: tuple[Guidance, Prior, Any],
    *,
    solver: str,
) -> Array:
    """One sample per key and measurement y (b, h, w, c), images of the same shape."""
    solver_for = lambda y: solver_of(solver, arrays, Problem(operator, y, sigma))
    return jax.vmap(lambda key, y: sample(key, solver_for(y), SHAPE)[0])(keys, y)


def solver_samples(
    sampler: Sampler, settings: CalibrateSettings, progress: Callable[[int], object]
) -> np.ndarray:
    """The samples (n, L, p) of a solver, in batches; keys depend on truth and sample alone."""
    case, program, count = sampler.case, sampler.program, settings.samples
    assert program is not None  # the control is drawn elsewhere
    places = np.array([(n, i) for n in range(settings.truths) for i in range(count)])
    keys = jax.vmap(lambda n, i: item_key(settings.seed, n, i))(*places.T)
    y = jnp.asarray(case.y, jnp.float32)
    images = []
    parts = batches(range(len(places)), settings.batch_size)
    for part in parts:
        rows = np.array(padded(part, len(parts[0])))  # one width, so that one program serves all
        drawn = draw_batch(
            keys[rows],
            y[rows // count],
            case.operator,
            jnp.float32(settings.sigma),
            program.arrays,
            solver=program.solver,
        )
        images.append(np.asarray(drawn[: len(part)], np.float64))
        progress(len(part))
    return np.concatenate(images).reshape(settings.truths, count, -1)


def plan_calibrate(settings: CalibrateSettings) -> Callable[[], list[dict]]:
    """Check ``calibrate``; the result samples, scores and writes the report.

    Raises:
      ValueError: something the user gave is wrong; the message names it.
    """
    cases = [case_of(name, settings) for name in settings.setting]
    samplers = [sampler for case in cases for sampler in samplers_of(case, settings)]
    folders = [sampler.path for sampler in samplers if sampler.path.is_dir()]
    if folders:
        raise ValueError(f"{folders[0]} is a folder, and samples are to be written there: move it")
    return lambda: calibrate(samplers, settings)


def advanced(bar: tqdm, name: str, samples: int) -> None:
    """Tell the bar of samples that are drawn; what was compiling is compiled then."""
    bar.set_description(name)
    bar.update(samples)


def calibrate(samplers: list[Sampler], settings: CalibrateSettings) -> list[dict]:
    """Sample and score what is missing, then write the report; returns a row per sampler."""
    missing = [sampler for sampler in samplers if not is_stored(sampler, settings.samples)]
    total = sum(s.name != EXACT for s in missing) * settings.truths * settings.samples
    with progress_bar(total, "sample") as bar:
        for sampler in missing:
            case = sampler.case
            name = f"{case.prior}, {case.task}, {sampler.name}"
            bar.set_description(f"{name}: compiling")
            started, stream = time.perf_counter(), io.BytesIO()
            if sampler.name == EXACT:
                random = np.random.default_rng([settings.seed, *case.numbers, 2])
                samples = draw_posterior(random, case.posterior, settings.samples)
            else:
                samples = solver_samples(sampler, settings, partial(advanced, bar, name))
            arrays = stored(case, samples, seconds=time.perf_counter() - started)
            np.savez_compressed(stream, **arrays)
            write_atomically(sampler.path, stream.getvalue())
    return write_report(samplers, settings)

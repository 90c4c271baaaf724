"""What `calibrate` samples, and with what: cases with known posteriors, samplers with settings.

The solvers have their published settings, in shorter runs and for images of 8 x 8 pixels. Some step
along the gradient of a norm, whose length does not grow with the image: of a 256 x 256 image every
entry gets less of it than here. Their steps are multiplied so that an entry moves as at 256 x 256,
where latents are 64 x 64 x 3, and by 1000 / steps where there are fewer steps, so that the whole
run guides as far. Other steps do not depend on the size and are as published.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dsg_jax.priors.mixture import Mixture, draw_images, mixture_latent_prior, mixture_prior
from dsg_jax.priors.mixture_posterior import (
    Posterior,
    exact_posterior,
    least_known,
    operator_matrix,
    posterior_moments,
)
from dsg_jax.solvers import SolverEntry
from dsg_jax.types import Operator, Prior, Projection
from experiments.calibrate.problems import PRIORS, SHAPE, known_tasks, one_form, operator_of
from experiments.calibrate.settings import TRUE_NOISE, CalibrateSettings, samplers
from experiments.files import array_hash, content_hash, installed
from experiments.restore.batch import Program
from experiments.restore.plan import described
from experiments.statistics import PLAIN

EXACT = "exact"
"""Name of the control among the samplers."""

_ENTRIES = float(np.prod(SHAPE))
_IMAGE, _LATENT = 256 * 256 * 3, 64 * 64 * 3
PIXEL_FACTOR = (_ENTRIES / _IMAGE) ** 0.5
"""1/32: a norm over 256 x 256 x 3 entries is so much larger than one over 8 x 8 x 3."""
LATENT_FACTOR = PIXEL_FACTOR * _IMAGE / _LATENT
"""1/2: there a latent's entry stands for 16 of the image's, here for one."""
GLUE_FACTOR = (_ENTRIES / _LATENT) ** 0.5
"""1/8: gluing is a norm over the latent."""
NORM_STEPS = {
    "scale": PIXEL_FACTOR,
    "zeta": LATENT_FACTOR,
    "omega": LATENT_FACTOR,
    "gamma": GLUE_FACTOR,
}
"""Options of solvers that are steps along the gradient of a norm -> what they are multiplied by."""


class Case(NamedTuple):
    """A prior and a task with n truths, measurements and posteriors; images have p entries."""

    prior: str
    task: str
    numbers: tuple[int, int]
    """Of prior and task; they seed what is drawn."""
    mixture: Mixture
    operator: Operator
    matrix: np.ndarray
    """(p, p) of the operator."""
    sigma: float
    """Standard deviation of the noise in y."""
    truths: np.ndarray
    """(n, h, w, c)."""
    y: np.ndarray
    """(n, h, w, c)."""
    posterior: Posterior
    mean: np.ndarray
    """(n, p) of the exact posterior."""
    variance: np.ndarray
    """(n, p) of the exact posterior."""
    direction: np.ndarray
    """(p,) that the measurement knows least."""
    pixel: int
    """The entry that the measurement knows least."""
    hidden: np.ndarray
    """(p,) whether the measurement leaves the entry out."""


class Sampler(NamedTuple):
    """A solver with its settings, or the control, on a case; and the file of its scores."""

    case: Case
    name: str
    """`EXACT`, or of `settings.samplers`."""
    rule: str
    path: Path
    program: Program | None = None
    """None for the control."""


def case_of(name: str, settings: CalibrateSettings) -> Case:
    """Draw truths, measure them, and solve for their posteriors.

    Args:
      name: "PRIOR:TASK".
      settings: how many truths, how much noise, and the seed.

    Raises:
      ValueError: there is no such prior or task.
    """
    cases = {
        f"{prior}:{task}": (prior, task, (i, j))
        for i, prior in enumerate(PRIORS)
        for j, task in enumerate(known_tasks())
    }
    if name not in cases:
        raise ValueError(f"--setting {name}: choose from {', '.join(cases)}")
    prior, task, numbers = cases[name]
    random = np.random.default_rng([settings.seed, *numbers, 1])
    mixture, operator = PRIORS[prior](), one_form(operator_of(task, settings.seed), SHAPE)
    matrix = operator_matrix(operator, SHAPE)
    truths = draw_images(random, mixture, settings.truths)
    flat = truths.reshape(settings.truths, -1)
    y = flat @ matrix.T + settings.sigma * random.standard_normal(flat.shape)
    posterior = exact_posterior(mixture, matrix, y, settings.sigma)
    mean, variance = posterior_moments(posterior)
    return Case(
        prior,
        task,
        numbers,
        mixture,
        operator,
        matrix,
        settings.sigma,
        truths,
        y.reshape(truths.shape),
        posterior,
        mean,
        variance,
        direction=least_known(posterior),
        pixel=int(variance.mean(axis=0).argmax()),
        hidden=np.all(matrix == 0, axis=1),
    )


def prior_for(entry: SolverEntry, mixture: Mixture) -> Prior:
    """The mixture as a solver takes it: in pixels or latents, with the solver's clock.

    Solvers that anneal over noise levels ask for the time of a level in closed form.
    """
    if entry.prior == "latent":
        return mixture_latent_prior(mixture)
    return mixture_prior(mixture, "closed form" if "levels" in entry.options else "table")


def lengths(entry: SolverEntry, settings: CalibrateSettings) -> dict[str, int]:
    """The options of a solver that shorten its runs; of those here it takes what it has."""
    limits = {"pixel_limit": settings.limit, "latent_limit": settings.limit}
    optimises = not limits.keys().isdisjoint(entry.options)
    shorter = limits | {"steps": settings.resample_steps if optimises else settings.steps}
    if entry.prior == "pixel":
        shorter["levels"] = settings.levels
    return {name: value for name, value in shorter.items() if name in entry.options}


def solver_settings(name: str, task: str, prior: Prior, settings: CalibrateSettings) -> Any:
    """The settings of a sampler's solver for a task.

    Raises:
      ValueError: the prior's schedule does not allow so many steps.
    """
    entry, betas = samplers()[name], np.asarray(prior.betas, np.float64)
    options: dict[str, Any] = lengths(entry, settings)
    longer = len(betas) / options["steps"] if "steps" in options else 1.0
    options |= {"tau_y": settings.sigma} if name.endswith(TRUE_NOISE) else {}
    published = entry.settings_for(task, betas, **options)
    steps = {
        option: longer * factor * getattr(published, option)
        for option, factor in NORM_STEPS.items()
        if option in entry.options and hasattr(published, option)
    }
    return replace(published, **steps)


def projection_for(entry: SolverEntry, rule: str, tau: float) -> Projection | None:
    """The projection of a rule, with the solver's own period; None for the plain solver.

    Raises:
      ValueError: there is no such rule, or no such tau.
    """
    if rule == PLAIN:
        return None
    return Projection(tau, rule=rule, period=entry.projection_defaults()["period"])  # type: ignore[arg-type]


def samplers_of(case: Case, settings: CalibrateSettings) -> list[Sampler]:
    """The control, then every sampler with every rule; files are named by all they depend on."""
    common = {"prior": case.prior, "task": case.task, "version": installed("dsg_jax")}
    common |= {name: getattr(settings, name) for name in ("sigma", "truths", "samples", "seed")}
    common["problem"] = array_hash(case.truths, case.y, case.matrix, *case.mixture)

    def path(name: str, rule: str, facts: dict) -> Path:
        facts = common | facts | {"solver": name, "rule": rule}
        facts["tau"] = None if rule == PLAIN else settings.tau
        file = f"{case.prior}-{case.task}-{name}-{rule}-{content_hash(facts)}.npz"
        return settings.out / "cells" / file

    members = [Sampler(case, EXACT, PLAIN, path(EXACT, PLAIN, {}))]
    for name in settings.solver:
        entry = samplers()[name]
        prior = prior_for(entry, case.mixture)
        chosen = solver_settings(name, case.task, prior, settings)
        for rule in settings.rules:
            projection = projection_for(entry, rule, settings.tau)
            program = Program(entry.name, chosen, projection, prior, axes=(), shape=SHAPE)
            file = path(name, rule, described(chosen))
            members.append(Sampler(case, name, rule, file, program))
    return members

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

import jax.numpy as jnp
import numpy as np

from dsg_jax.priors.mixture import Mixture, draw_images, mixture_latent_prior, mixture_prior
from dsg_jax.priors.mixture_posterior import (
    Posterior,
    exact_posterior,
    operator_matrix,
    posterior_moments,
)
from dsg_jax.solvers import SolverEntry
from dsg_jax.types import Operator, Prior, Problem, Projection
from dsg_jax.user_code import code_facts, file_name
from dsg_jax.user_entries import rank_rule
from experiments.calibrate.problems import PRIORS, SHAPE, case_operator, known_tasks
from experiments.calibrate.settings import TRUE_NOISE, CalibrateSettings, samplers
from experiments.files import array_hash, content_hash, installed
from experiments.programs import check_user_code
from experiments.restore.batch import Program
from experiments.restore.plan import settings_facts
from experiments.statistics import PLAIN

# Name of the control among the samplers.
EXACT = "exact"

# Options of solvers that are steps along the gradient of a norm -> what they are multiplied by.
NORM_STEPS = {
    "scale": 1 / 32,  # a norm over 256 x 256 entries is so much larger than one over 8 x 8
    "zeta": 1 / 2,  # 16 / 32: there a latent's entry stands for 16 of the image's, here for one
    "omega": 1 / 2,
    "gamma": 1 / 8,  # gluing is a norm over the latent, there of 64 x 64 entries
}


class Case(NamedTuple):
    """A prior and a task with n truths, measurements and posteriors; images have p entries.

    Attributes:
      numbers: of prior and task; they seed what is drawn.
      matrix: (p, p) of the operator.
      sigma: standard deviation of the noise in y.
      truths: (n, h, w, c).
      y: (n, h, w, c).
      mean: (n, p) of the exact posterior.
      variance: (n, p) of the exact posterior.
    """

    prior: str
    task: str
    numbers: tuple[int, int]
    mixture: Mixture
    operator: Operator
    matrix: np.ndarray
    sigma: float
    truths: np.ndarray
    y: np.ndarray
    posterior: Posterior
    mean: np.ndarray
    variance: np.ndarray


class Sampler(NamedTuple):
    """A solver with its settings, or the control, on a case; and the file of its scores.

    Attributes:
      name: `EXACT`, or of `settings.samplers`.
      program: None for the control.
    """

    case: Case
    name: str
    rule: str
    path: Path
    program: Program | None = None


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
    mixture, operator = PRIORS[prior], case_operator(task, settings.seed)
    matrix = operator_matrix(operator, SHAPE)
    truths = draw_images(random, mixture, settings.truths)
    flat = truths.reshape(settings.truths, -1)
    y = flat @ matrix.T + settings.sigma * random.standard_normal(flat.shape)
    posterior = exact_posterior(mixture, matrix, y, settings.sigma)
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
        *posterior_moments(posterior),
    )


def prior_for(entry: SolverEntry, mixture: Mixture) -> Prior:
    """The mixture as a solver takes it: in pixels or latents, with the solver's clock.

    Solvers that anneal over noise levels ask for the time of a level in closed form.
    """
    return (
        mixture_latent_prior(mixture)
        if entry.prior == "latent"
        else mixture_prior(mixture, "closed form" if "levels" in entry.options else "table")
    )


def solver_settings(name: str, task: str, prior: Prior, settings: CalibrateSettings) -> Any:
    """The published settings of a sampler's solver for a task, in shorter runs with longer steps.

    Raises:
      ValueError: the prior's schedule does not allow so many steps.
    """
    entry, total = samplers()[name], len(prior.clock.betas)
    optimises = {"pixel_limit", "latent_limit"} & entry.options.keys()
    shorter = {
        "pixel_limit": settings.limit,
        "latent_limit": settings.limit,
        "steps": settings.resample_steps if optimises else settings.steps,
        **({"levels": settings.levels} if entry.prior == "pixel" else {}),
    }
    options: dict[str, Any] = {n: value for n, value in shorter.items() if n in entry.options}
    longer = total / options.get("steps", total)
    published = entry.settings_for(task, prior.clock, **options)
    if name.endswith(TRUE_NOISE):  # the constant alone, with the published inner step
        published = replace(published, tau_y=settings.sigma)
    return replace(
        published,
        **{
            option: longer * factor * getattr(published, option)
            for option, factor in NORM_STEPS.items()
            if option in entry.options and hasattr(published, option)
        },
    )


def samplers_of(case: Case, settings: CalibrateSettings) -> list[Sampler]:
    """The control, then every sampler with every rule; files are named by all they depend on.

    Raises:
      ValueError: there is no such rule, no such tau, or the schedule does not allow the steps.
    """
    common = {
        "prior": case.prior,
        "task": case.task,
        "version": installed("dsg_jax"),
        "problem": array_hash(case.truths, case.y, case.matrix, *case.mixture),
        **{name: getattr(settings, name) for name in ("sigma", "truths", "samples", "seed")},
    }

    def path(name: str, rule: str, facts: dict) -> Path:
        method = {"solver": name, "rule": rule, "tau": None if rule == PLAIN else settings.tau}
        identity = content_hash(common | facts | method)
        words = map(file_name, (case.prior, case.task, name, rule, identity))
        return settings.out / "cells" / f"{'-'.join(words)}.npz"

    members = [Sampler(case, EXACT, PLAIN, path(EXACT, PLAIN, code_facts(case.task)))]
    for name in settings.solver:
        entry = samplers()[name]
        prior = prior_for(entry, case.mixture)
        chosen = solver_settings(name, case.task, prior, settings)
        for rule in settings.rules:
            choices = entry.projection_defaults() | {"tau": settings.tau}
            projection = (
                None if rule == PLAIN else Projection(**(choices | {"rule": rank_rule(rule)}))
            )
            program = Program(entry.name, chosen, projection, prior, axes=(), shape=SHAPE)
            first = Problem(case.operator, jnp.float32(case.y[0]), settings.sigma)
            check_user_code(entry.name, program.arrays, first, SHAPE)
            facts = settings_facts(chosen) | code_facts(case.task, entry.name, rule)
            members.append(Sampler(case, name, rule, path(name, rule, facts), program))
    return members

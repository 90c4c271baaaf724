"""The settings that `calibrate` gives the solvers: the published ones, for images of 8 x 8 pixels.

DPS, PSLD and Latent-DPS step along the gradient of a norm, whose length does not grow with the
image: of a 256 x 256 image every entry gets less of it than here. Their steps are multiplied so
that an entry moves as at 256 x 256, where latents are 64 x 64 x 3, and by 1000 / steps where there
are fewer steps, so that the whole run guides as far. The other solvers' steps do not depend on the
size and are as published.
"""

from argparse import Namespace

import numpy as np

from dsg_jax.latent_settings import PSLD_LDM
from dsg_jax.projection import state_projection
from dsg_jax.solvers.resample import PRESETS
from dsg_jax.types import Prior, Projection
from experiments.calibrate.priors import SHAPE, Mixture, latent_prior, pixel_prior
from experiments.restore.batch import Method
from experiments.restore.methods import LATENT_SOLVERS, METHODS
from experiments.statistics import PLAIN

_ENTRIES = float(np.prod(SHAPE))
_IMAGE, _LATENT = 256 * 256 * 3, 64 * 64 * 3
PIXEL_FACTOR = (_ENTRIES / _IMAGE) ** 0.5
"""1/32: a norm over 256 x 256 x 3 entries is so much larger than one over 8 x 8 x 3."""
LATENT_FACTOR = PIXEL_FACTOR * _IMAGE / _LATENT
"""1/2: there a latent's entry stands for 16 of the image's, here for one."""
GLUE_FACTOR = (_ENTRIES / _LATENT) ** 0.5
"""1/8: gluing is a norm over the latent."""
PUBLISHED = {
    "dps": "1000 steps",
    "daps": "200 levels",
    "daps-sigma": "200 levels",
    "psld": "1000 steps",
    "latent-dps": "1000 steps",
    "latent-daps": "50 levels",
    "resample": "500 steps, at most 2000 and 500 updates",
}


def solver_of(name: str) -> str:
    """The solver behind an entry of the table: daps-sigma is DAPS."""
    return "daps" if name == "daps-sigma" else name


def prior_for(name: str, mixture: Mixture) -> Prior:
    """The mixture as the solver takes it: in pixels or latents, with the solver's clock."""
    if name in LATENT_SOLVERS:
        return latent_prior(mixture)
    return pixel_prior(mixture, "closed form" if solver_of(name) == "daps" else "table")


def method_for(name: str, task: str, prior: Prior, given: Namespace) -> Method:
    """The solver with its settings for a task; ValueError where the steps asked for do not exist.

    Args:
      name: of `calibration_arguments.SOLVER_NAMES`.
      task: a linear task.
      prior: `prior_for` of the same name.
      given: ``steps``, ``levels``, ``resample_steps``, ``limit`` and ``sigma`` of `calibrate`.
    """
    steps = {"steps": given.steps}
    longer = 1000 / given.steps if given.steps else 1.0
    weights = PSLD_LDM[task]
    options = {
        "dps": steps | {"step_factor": longer * PIXEL_FACTOR},
        "daps": {"levels": given.levels},
        "daps-sigma": {"levels": given.levels, "tau_y": given.sigma},
        "psld": steps
        | {
            "gamma": longer * GLUE_FACTOR * weights.gamma,
            "omega": longer * LATENT_FACTOR * weights.omega,
        },
        "latent-dps": steps | {"step_factor": longer * LATENT_FACTOR},
        "latent-daps": {},
        "resample": {
            "steps": given.resample_steps,
            "pixel_limit": given.limit,
            "latent_limit": given.limit,
        },
    }
    solver = solver_of(name)
    betas = np.asarray(prior.betas, np.float64)
    traced, static = METHODS[solver](task, betas, **options[name])
    return Method(solver, traced, tuple(static.items()))


def projection_for(name: str, rule: str, tau: float) -> Projection | None:
    """The projection of a rule, None for the plain solver; ReSample has its preset's period."""
    if rule == PLAIN:
        return None
    period = PRESETS["paper"]["period"] if name == "resample" else 1
    return state_projection(tau, rule=rule, period=period)

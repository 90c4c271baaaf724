"""Per-task hyper-parameters of the solvers on latent priors, as a reader would check them.

PSLD: `stable-diffusion/run/*.sh` of its repository. LatentDAPS: `config/task/*.yaml` of DAPS, whose
inner prior is Gaussian for all of them. ReSample: the arguments of its `sample_condition.py`, the
same in DiffStateGrad's. DiffStateGrad's and PLoRG's papers print no step size.
"""

from typing import NamedTuple

import numpy as np

from dsg_jax.operators.tasks import check_task
from dsg_jax.settings import DAPS_TAU_Y, Inner
from dsg_jax.solvers.daps import DAPSSteps
from dsg_jax.solvers.ddim import DDIMSteps, ddim_steps
from dsg_jax.solvers.latent_daps import latent_daps_steps
from dsg_jax.solvers.resample import LATENT, PIXEL
from dsg_jax.solvers.resample.steps import ReSampleSteps, resample_steps


class PSLDWeights(NamedTuple):
    """Weights of PSLD's two losses, which are also its step sizes."""

    gamma: float
    """Gluing."""
    omega: float
    """Measurement."""


PSLD_LDM = {
    "identity": PSLDWeights(0.1, 0.1),  # ours: not a task of the papers
    "box_inpainting": PSLDWeights(0.1, 0.1),  # inverse_bip_ldm.sh
    "random_inpainting": PSLDWeights(0.1, 0.1),  # inverse_rip_ldm.sh
    "gaussian_deblur": PSLDWeights(0.1, 0.1),  # inverse_gb_ldm.sh
    "motion_deblur": PSLDWeights(0.1, 0.1),  # inverse_mb_ldm.sh
    "super_resolution": PSLDWeights(0.1, 0.9),  # inverse_sr_ldm.sh
}
"""The FFHQ latent model at 256 x 256."""

PSLD_SD = {
    "identity": PSLDWeights(0.1, 1.0),  # ours
    "box_inpainting": PSLDWeights(0.01, 0.1),  # inverse_bip.sh
    "random_inpainting": PSLDWeights(0.1, 1.0),  # inverse_rip.sh
    "gaussian_deblur": PSLDWeights(0.1, 1.0),  # inverse_gb.sh
    "motion_deblur": PSLDWeights(0.1, 1.0),  # inverse_mb.sh
    "super_resolution": PSLDWeights(0.1, 1.0),  # inverse.sh
}
"""Stable Diffusion v1.5 at 512 x 512."""

PSLD_GROUPS = {"ldm": PSLD_LDM, "sd": PSLD_SD}

LATENT_DPS_ZETA = {task: weights.omega for task, weights in PSLD_LDM.items()} | {
    "phase_retrieval": 0.3,
    "nonlinear_deblur": 0.1,
    "hdr": 0.1,
}
"""Ours throughout, for no code and no number of Latent-DPS was published. Linear tasks have PSLD's
omega, because the method is PSLD's loop without gluing; the others keep the ratios of
`settings.DPS_SCALE`, which gives phase retrieval three times the blurs' step."""

LATENT_DAPS_LDM = {
    "identity": Inner(24, 1.35e-4, 0.023, 0.86),  # ours: that of super-resolution
    "super_resolution": Inner(24, 1.35e-4, 0.023, 0.86),
    "gaussian_deblur": Inner(35, 2.70e-6, 0.95, 0.95),
    "motion_deblur": Inner(49, 2.4e-5, 0.041, 0.45),
    "box_inpainting": Inner(15, 9.02e-6, 0.13, 0.74),
    "random_inpainting": Inner(38, 8.40e-6, 0.013, 0.92),
    "phase_retrieval": Inner(65, 2.1e-5, 0.12, 0.41),
    "nonlinear_deblur": Inner(80, 3.71e-6, 0.024, 0.91),
    "hdr": Inner(38, 4.52e-6, 0.015, 0.58),
}
"""Group ldm, HMC: the FFHQ and ImageNet latent models at 256 x 256."""

LATENT_DAPS_SD = {
    "identity": Inner(30, 1e-4, 1.0, 0.45),  # ours: that of super-resolution
    "super_resolution": Inner(30, 1e-4, 1.0, 0.45),
    "gaussian_deblur": Inner(40, 1e-5, 1.0, 0.9),
    "motion_deblur": Inner(30, 2e-5, 1.0, 0.85),
    "box_inpainting": Inner(58, 1.11e-6, 0.43, 0.92),
    "random_inpainting": Inner(15, 3e-5, 1.0, 0.60),
    "phase_retrieval": Inner(95, 1.10e-4, 0.027, 0.47),
    "nonlinear_deblur": Inner(60, 1e-5, 1.0, 0.80),
    "hdr": Inner(45, 1e-5, 1.0, 0.7),
}
"""Group sd, HMC: Stable Diffusion v1.5."""

LATENT_DAPS_GROUPS = {"ldm": LATENT_DAPS_LDM, "sd": LATENT_DAPS_SD}


def psld_settings(
    task: str, betas: np.ndarray, *, group: str = "ldm", count: int = 1000, eta: float = 0.0
) -> tuple[DDIMSteps, dict]:
    """The reference's constants for a linear task: ``(steps, keyword arguments of psld)``.

    Args:
      task: a linear task.
      betas: (T,) of the prior.
      group: "ldm" or "sd", the model whose scripts are followed.
      count: DDIM steps, see `ddim_steps`; the reference takes 1000.
      eta: noise of the DDIM steps, 0 in the reference.

    Raises:
      ValueError: an unknown task, a nonlinear one, an unknown group, or a count that the schedule
        does not allow.
    """
    check_task(task)
    table = _group(PSLD_GROUPS, group)
    if task not in table:
        raise ValueError(
            f"psld needs the transpose of a linear operator and {task} is not one of "
            f"{', '.join(table)}: use resample or latent-daps for it"
        )
    return ddim_steps(betas, count, eta=eta), table[task]._asdict()


def latent_dps_settings(
    task: str, betas: np.ndarray, *, count: int = 1000, eta: float = 0.0
) -> tuple[DDIMSteps, dict]:
    """Our constants for a task: ``(steps, keyword arguments of latent_dps)``.

    ``betas``, ``count`` and ``eta`` as in `psld_settings`.

    Raises:
      ValueError: an unknown task, or a count that the schedule does not allow.
    """
    check_task(task)
    return ddim_steps(betas, count, eta=eta), {"zeta": LATENT_DPS_ZETA[task]}


def latent_daps_settings(
    task: str,
    *,
    group: str = "ldm",
    levels: int = 50,
    ode_steps: int = 2,
    inner_steps: int | None = None,
) -> tuple[DAPSSteps, dict]:
    """The reference's constants for a task: ``(steps, keyword arguments of latent_daps)``.

    ``levels``, ``ode_steps`` and ``inner_steps`` shorten the run; the grids keep their end points.
    The inner sampler is HMC, the only one that the reference tunes for latents.

    Raises:
      ValueError: an unknown task, or a group other than "ldm" and "sd".
    """
    check_task(task)
    chosen = _group(LATENT_DAPS_GROUPS, group)[task]
    steps = latent_daps_steps(
        levels=levels, ode_steps=ode_steps, lr=chosen.lr, lr_min_ratio=chosen.lr_min_ratio
    )
    inner = {"inner": "hmc", "inner_steps": inner_steps or chosen.steps}
    return steps, inner | {"momentum": chosen.momentum, "tau_y": DAPS_TAU_Y}


def resample_settings(
    task: str,
    betas: np.ndarray,
    *,
    count: int = 500,
    every: int = 10,
    pixel_limit: int = 2000,
    latent_limit: int = 500,
) -> tuple[ReSampleSteps, dict]:
    """The reference's constants: ``(steps, keyword arguments of resample)``.

    They are the same for all eight tasks: the guidance scales in its task files are read and then
    ignored, and gamma, step sizes and limits are fixed. What code and papers do differently is in
    `solvers.resample.resample_preset`.

    Args:
      task: a key of `tasks.TASKS`.
      betas: (T,) of the prior.
      count: DDIM steps, see `resample_steps`.
      every: an optimisation follows every so many of them.
      pixel_limit: most updates of an image.
      latent_limit: most updates of a latent.

    Raises:
      ValueError: an unknown task, a ``count`` or ``every`` that `resample_steps` refuses, or steps
        too few for any optimisation.
    """
    check_task(task)
    steps = resample_steps(betas, count, every=every)
    if not steps.stage.any():
        raise ValueError(
            f"{count} steps leave none to optimise at every {every}: give more steps, or a smaller "
            "distance between the optimisations"
        )
    limits = {"pixel": (PIXEL, pixel_limit), "latent": (LATENT, latent_limit)}
    return steps, {name: descent._replace(limit=most) for name, (descent, most) in limits.items()}


def _group(groups: dict[str, dict], group: str) -> dict:
    if group not in groups:
        raise ValueError(f"group={group!r}: choose from {', '.join(groups)}")
    return groups[group]

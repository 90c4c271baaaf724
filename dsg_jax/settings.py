"""Per-task hyper-parameters of the reference code, as a reader would check them.

DPS: `configs/*_config.yaml` of the DPS repository. DAPS: `config/task/*.yaml` of its two versions;
the inner prior is Gaussian for all of them. Solvers on latent priors: `dsg_jax.latent_settings`.
"""

from typing import NamedTuple

from dsg_jax.operators.tasks import check_task
from dsg_jax.solvers.daps import DAPSSteps, daps_steps

DPS_SCALE = {
    "identity": 0.3,  # ours: not a task of the papers
    "box_inpainting": 0.5,  # ours: no configuration was released; that of random inpainting
    "random_inpainting": 0.5,
    "gaussian_deblur": 0.3,
    "motion_deblur": 0.3,
    "super_resolution": 0.3,
    "phase_retrieval": 1.0,
    "nonlinear_deblur": 0.3,
    "hdr": 0.3,  # ours: DPS has no such task
}


DAPS_TAU_Y = 0.01
"""Standard deviation of DAPS' likelihood for every task, whatever the noise."""


class Inner(NamedTuple):
    """Inner sampler of DAPS: steps per level, step size, its final ratio, HMC momentum."""

    steps: int
    lr: float
    lr_min_ratio: float = 0.01
    momentum: float | None = None


DAPS_LANGEVIN = {
    "identity": Inner(100, 1e-4),  # ours
    "super_resolution": Inner(100, 1e-4),
    "gaussian_deblur": Inner(100, 1e-4),
    "motion_deblur": Inner(100, 5e-5),
    "box_inpainting": Inner(100, 5e-5),
    "random_inpainting": Inner(100, 1e-4),
    "phase_retrieval": Inner(100, 5e-5),
    "nonlinear_deblur": Inner(100, 5e-5),
    "hdr": Inner(100, 2e-5),
}
"""Variant "legacy", which the papers ran."""

DAPS_LANGEVIN_MAIN = DAPS_LANGEVIN | {"nonlinear_deblur": Inner(200, 1e-5)}

DAPS_HMC = {
    "identity": Inner(12, 1.04e-4, 0.012, 0.90),  # ours: that of super-resolution
    "super_resolution": Inner(12, 1.04e-4, 0.012, 0.90),
    "gaussian_deblur": Inner(82, 4.04e-5, 0.011, 0.10),
    "motion_deblur": Inner(96, 3.69e-5, 0.01, 0.11),
    "box_inpainting": Inner(84, 1.15e-5, 0.014, 0.003),
    "random_inpainting": Inner(11, 3.56e-5, 0.015, 0.80),
    "phase_retrieval": Inner(62, 9.75e-6, 0.019, 0.73),
    "nonlinear_deblur": Inner(85, 1.20e-5, 0.012, 0.46),
    "hdr": Inner(100, 2.18e-5, 0.013, 0.23),
}
"""Variant "main", group pixel_hmc."""


def daps_settings(
    task: str,
    *,
    variant: str = "legacy",
    inner: str = "langevin",
    levels: int = 200,
    ode_steps: int = 5,
    inner_steps: int | None = None,
) -> tuple[DAPSSteps, dict]:
    """The reference's constants for a task: ``(steps, keyword arguments of daps)``.

    ``levels``, ``ode_steps`` and ``inner_steps`` shorten the run; the grids keep their end points.

    Raises:
      ValueError: an unknown task, or a variant other than "legacy" and "main".
    """
    check_task(task)
    table = DAPS_HMC if inner == "hmc" else DAPS_LANGEVIN
    if inner != "hmc" and variant == "main":
        table = DAPS_LANGEVIN_MAIN
    chosen = table[task]
    steps = daps_steps(
        variant=variant,
        levels=levels,
        ode_steps=ode_steps,
        lr=chosen.lr,
        lr_min_ratio=chosen.lr_min_ratio,
    )
    keywords = {"variant": variant, "inner": inner, "inner_steps": inner_steps or chosen.steps}
    return steps, keywords | ({"momentum": chosen.momentum} if inner == "hmc" else {})

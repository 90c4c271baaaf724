"""DiffStateGrad in JAX: diffusion priors restore images, guidance stays on the state's subspace.

Start with `types` (the vocabulary), then `projection` (the paper), then one file of `solvers`.
"""

from dsg_jax.measurement import measure
from dsg_jax.metrics import psnr, ssim
from dsg_jax.operators import (
    blur,
    gaussian_blur,
    hdr,
    identity,
    inpainting,
    phase_retrieval,
    super_resolution,
)
from dsg_jax.priors import load_prior
from dsg_jax.projection import project, state_projection, subspace
from dsg_jax.sample import sample
from dsg_jax.samples import sample_images
from dsg_jax.settings import daps_settings
from dsg_jax.solvers import SOLVERS, daps, dps
from dsg_jax.tasks import TASKS, operator_for
from dsg_jax.types import Info, Operator, Prior, Problem, Projection, Solver

__all__ = [
    "SOLVERS",
    "TASKS",
    "Info",
    "Operator",
    "Prior",
    "Problem",
    "Projection",
    "Solver",
    "blur",
    "daps",
    "daps_settings",
    "dps",
    "gaussian_blur",
    "hdr",
    "identity",
    "inpainting",
    "load_prior",
    "measure",
    "operator_for",
    "phase_retrieval",
    "project",
    "psnr",
    "sample",
    "sample_images",
    "ssim",
    "state_projection",
    "subspace",
    "super_resolution",
]

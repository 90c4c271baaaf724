"""DiffStateGrad in JAX: diffusion priors restore images, guidance stays on the state's subspace.

Start with `types` (the vocabulary), then `projection` (the paper), then one file of `solvers`.
"""

from dsg_jax.latent_settings import (
    latent_daps_settings,
    latent_dps_settings,
    psld_settings,
    resample_settings,
)
from dsg_jax.metrics import psnr, ssim
from dsg_jax.operators.blur_network import load_blur_network, nonlinear_blur
from dsg_jax.operators.linear import (
    blur,
    gaussian_blur,
    hdr,
    identity,
    inpainting,
    phase_retrieval,
    super_resolution,
)
from dsg_jax.operators.noise import measure
from dsg_jax.operators.tasks import TASKS, operator_for
from dsg_jax.priors import load_prior
from dsg_jax.priors.first_stage import kl_first_stage, vq_first_stage
from dsg_jax.priors.latent import LDMNetwork, latent_prior, with_guidance, with_remat
from dsg_jax.priors.samples import sample_images
from dsg_jax.projection import project, state_projection, subspace
from dsg_jax.sample import sample
from dsg_jax.settings import daps_settings
from dsg_jax.solvers import SOLVERS, daps, dps, latent_daps, latent_dps, psld, resample
from dsg_jax.solvers.resample import resample_preset
from dsg_jax.types import FirstStage, Info, Operator, Prior, Problem, Projection, Solver

__all__ = [
    "SOLVERS",
    "TASKS",
    "FirstStage",
    "Info",
    "LDMNetwork",
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
    "kl_first_stage",
    "latent_daps",
    "latent_daps_settings",
    "latent_dps",
    "latent_dps_settings",
    "latent_prior",
    "load_blur_network",
    "load_prior",
    "measure",
    "nonlinear_blur",
    "operator_for",
    "phase_retrieval",
    "project",
    "psld",
    "psld_settings",
    "psnr",
    "resample",
    "resample_preset",
    "resample_settings",
    "sample",
    "sample_images",
    "ssim",
    "state_projection",
    "subspace",
    "super_resolution",
    "vq_first_stage",
    "with_guidance",
    "with_remat",
]

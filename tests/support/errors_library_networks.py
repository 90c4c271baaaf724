"""Errors of `dsg_jax`'s networks, clocks and first stages; a part of errors_library.py."""

from collections.abc import Callable
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp

from dsg_jax.clock import edm_clock, flow_clock, table_clock
from dsg_jax.networks.adm import ADMConfig, ADMUNet, AttentionBlock
from dsg_jax.networks.autoencoder import KL_F8, VQ_F4
from dsg_jax.networks.edm import EDMConfig
from dsg_jax.networks.kernel_wizard import KernelWizard
from dsg_jax.networks.layers import GroupNorm
from dsg_jax.networks.ldm import LDMConfig, LDMUNet
from dsg_jax.networks.transformer import SpatialTransformer
from dsg_jax.priors.edm import edm_prior
from dsg_jax.priors.first_stage import kl_first_stage, vq_first_stage
from dsg_jax.priors.latent import LDMNetwork, with_guidance, with_remat
from dsg_jax.priors.pixel import adm_prior
from dsg_jax.solvers.latent_daps import timed
from support.gaussian_prior import gaussian_prior

CONDITIONAL = LDMNetwork({}, LDMConfig(context_dim=8))
CONTEXT = jnp.zeros((7, 8))


def init(network: nn.Module, *shapes: tuple[int, ...]):
    """Fails before any layer is made."""
    return network.init(jax.random.key(0), *(jnp.zeros(shape) for shape in shapes))


NETWORKS: dict[str, Callable[[Path], object]] = {
    "parametrisation='x0': choose from eps, v": lambda folder: adm_prior(
        {}, ADMConfig(), parametrisation="x0"
    ),
    "time_map='adm' is for networks of VP states: use table": lambda folder: timed(
        flow_clock(), "adm"
    ),
    "betas of shape (1,): give at least two variances in (0, 1]": lambda folder: table_clock([0.1]),
    "noise levels from 80.0 to 0.002: give 0 < lowest < highest": lambda folder: edm_clock(
        80.0, 0.002
    ),
    "the context's shape is (7, 7), but this network needs (tokens, 8)": lambda folder: (
        with_guidance(CONDITIONAL, CONTEXT[:, 1:])
    ),
    "context (7, 8) and unconditional (1, 8) go through the network": lambda folder: with_guidance(
        CONDITIONAL, CONTEXT, CONTEXT[:1], 2.0
    ),
    "and this one is over pixels: leave it out": lambda folder: with_remat(gaussian_prior()),
    "a label of shape (3,): this network takes (10,)": lambda folder: edm_prior(
        {}, EDMConfig(label_dim=10), edm_clock(), label=jnp.zeros(3)
    ),
    "36 channels cannot be split into 8 groups": lambda folder: init(GroupNorm(8), (1, 1, 1, 36)),
    "image of 30x32 pixels; this network needs multiples of 32": lambda folder: init(
        ADMUNet(), (1, 30, 32, 3), (1,)
    ),
    "no context was given to a network that needs (batch, tokens, 8)": lambda folder: init(
        LDMUNet(CONDITIONAL.config), (1, 8, 8, 3), (1,)
    ),
    "image of 256x128 pixels and code of 1x1": lambda folder: init(
        KernelWizard(), (1, 256, 128, 3), (1, 1, 1, 512)
    ),
    "32 channels cannot be split into heads with num_heads=4": lambda folder: init(
        AttentionBlock(ADMConfig(), jnp.float32), (1, 1, 1, 32)
    ),
    "8 channels cannot be split into 3 heads": lambda folder: init(
        SpatialTransformer(3, 8, jnp.float32), (1, 1, 1, 8), (1, 1, 8)
    ),
    "codes=None is an autoencoder without codebook": lambda folder: vq_first_stage({}, KL_F8),
    "codes=8192 is a codebook: use vq_first_stage": lambda folder: kl_first_stage({}, VQ_F4),
}

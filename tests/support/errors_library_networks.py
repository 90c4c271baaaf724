"""Errors of `dsg_jax`'s networks, clocks, schedules and first stages; of errors_library.py."""

from collections.abc import Callable
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dsg_jax.clock import edm_clock, flow_clock, table_clock
from dsg_jax.networks.adm import ADMConfig, ADMUNet, AttentionBlock
from dsg_jax.networks.autoencoder import KL_F8, VQ_F4
from dsg_jax.networks.edm import EDMConfig
from dsg_jax.networks.kernel_wizard import KernelWizard
from dsg_jax.networks.layers import GroupNorm
from dsg_jax.networks.ldm import LDMConfig, LDMUNet
from dsg_jax.networks.transformer import SpatialTransformer
from dsg_jax.networks.unet2d import UNet2D
from dsg_jax.networks.unet2d_blocks import UNet2DConfig
from dsg_jax.operators.linear import identity
from dsg_jax.priors import load_prior, save_folder
from dsg_jax.priors.edm import edm_prior
from dsg_jax.priors.first_stage import kl_first_stage, vq_first_stage
from dsg_jax.priors.kinds import structs_of
from dsg_jax.priors.latent import LDMNetwork, with_guidance, with_remat
from dsg_jax.priors.pixel import adm_prior
from dsg_jax.priors.unet2d import unet2d_prior
from dsg_jax.schedule import linear_betas
from dsg_jax.solvers import settings_for
from dsg_jax.solvers.dps import DPSSettings, dps, dps_steps
from dsg_jax.solvers.latent_daps import timed
from dsg_jax.types import Problem
from support.gaussian_prior import gaussian_prior

CONDITIONAL = LDMNetwork({}, LDMConfig(context_dim=8))
SETTINGS = DPSSettings(steps=dps_steps(linear_betas(), [0, 500]))
CONTEXT = jnp.zeros((7, 8))


def init(network: nn.Module, *shapes: tuple[int, ...]):
    """Fails before any layer is made."""
    return network.init(jax.random.key(0), *(jnp.zeros(shape) for shape in shapes))


def small_unet2d(**fields) -> UNet2DConfig:
    """One level of eight channels, but for some fields."""
    levels = {"block_out_channels": (8,), "down_block_types": ("DownBlock2D",)}
    levels |= {"up_block_types": ("UpBlock2D",), "norm_num_groups": 4}
    return UNet2DConfig(**levels | fields)


def unet2d(*labels: tuple[int, ...], **fields) -> Callable[[Path], object]:
    """Makes such a network's parameters."""
    return lambda folder: init(UNet2D(small_unet2d(**fields)), (1, 8, 8, 3), (1,), *labels)


def of_class(label: object, **fields) -> Callable[[Path], object]:
    """Chooses a class of such a network."""
    return lambda folder: unet2d_prior({}, small_unet2d(**fields), flow_clock(), label=label)


def prior_of_classes(kind: str | None = None, **options) -> Callable[[Path], object]:
    """Loads a prior of two classes."""

    def load(folder: Path):
        parts = {"unet": small_unet2d(num_class_embeds=2, class_embed_type=kind)}
        zeros = lambda leaf: np.zeros(leaf.shape, leaf.dtype)
        params = jax.tree.map(zeros, structs_of("unet2d", parts))
        card = {"parametrisation": "eps", "size": 16, "learned_variance": False}
        save_folder(folder / "a", "unet2d", params, parts, card | {"clock": {"kind": "table"}})
        return load_prior(folder / "a", **options)

    return load


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
    "the network is class-conditional: give a class from 0 to 2, by --class-label": lambda folder: (
        init(ADMUNet(ADMConfig(num_classes=3)), (1, 32, 32, 3), (1,))
    ),
    "the problem has label=1, and this prior takes no class: leave it out": lambda folder: dps(
        gaussian_prior(), Problem(identity(), jnp.zeros((8, 8, 1)), 0.1, 1), None, SETTINGS
    ),
    "respacing='ddim': give one like 'ddim25' or '30,20,10'": lambda folder: settings_for(
        "dps", "hdr", linear_betas(), respacing="ddim"
    ),
    "respacing='ddim301': no whole distance takes so many of 1000 times": lambda folder: (
        settings_for("dps", "hdr", linear_betas(), respacing="ddim301")
    ),
    "respacing='600,3': section 1 has 500 times only": lambda folder: settings_for(
        "dps", "hdr", linear_betas(), respacing="600,3"
    ),
    "steps=5 and respacing='ddim25': give one of them": lambda folder: settings_for(
        "dps", "hdr", linear_betas(), steps=5, respacing="ddim25"
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
    "this network wants a label": unet2d(num_class_embeds=2),
    "this network takes no label": unet2d((1,)),
    "2 down_block_types and 1 up_block_types for 1 block_out_channels": unet2d(
        down_block_types=("DownBlock2D", "DownBlock2D")
    ),
    "time_embedding_type='learned' needs num_train_timesteps": unet2d(
        time_embedding_type="learned"
    ),
    "the prior has no class 2: give a number from 0 to 1": of_class(2, num_class_embeds=2),
    "the prior has no class -1: give a number from 0": of_class(-1, class_embed_type="timestep"),
    "the prior has no class 1: give an embedding of 32 numbers": of_class(
        1, class_embed_type="identity"
    ),
    "the prior has no class 0: it has none": of_class(0),
    "the prior wants a class, its condition: give a number from 0": prior_of_classes("timestep"),
    "guidance_scale=2.0: a network without an empty class has none but 1": prior_of_classes(
        condition=1, guidance_scale=2.0
    ),
    "codes=None is an autoencoder without codebook": lambda folder: vq_first_stage({}, KL_F8),
    "codes=8192 is a codebook: use vq_first_stage": lambda folder: kl_first_stage({}, VQ_F4),
}

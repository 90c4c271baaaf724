"""The published priors without their weights: time and memory do not depend on them."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dsg_jax.networks.adm import ADM_FFHQ_256, ADMUNet
from dsg_jax.networks.autoencoder import KL_F8, VQ_F4, AutoencoderConfig
from dsg_jax.networks.ldm import LDM_FFHQ, SD_1_5, LDMConfig
from dsg_jax.priors import init_latent_params, init_params
from dsg_jax.priors.first_stage import kl_first_stage, vq_first_stage
from dsg_jax.priors.latent import LDMNetwork, latent_prior
from dsg_jax.priors.pixel import adm_prior
from dsg_jax.schedule import scaled_linear_betas
from dsg_jax.types import Prior


class Model(NamedTuple):
    """An architecture."""

    size: int
    """Side of its images, pixels."""
    params: Callable[[], dict]
    """Initial parameters; meant for `jax.eval_shape`."""
    prior: Callable[..., Prior]
    """(parameters, and as keywords ``dtype`` and, of a latent model, ``remat``) -> prior."""


def latent_model(
    unet: LDMConfig,
    stage: AutoencoderConfig,
    first_stage: Callable,
    size: int,
    tokens: int | None = None,
) -> Model:
    """A latent diffusion model; ``tokens`` is the length of its context, of one pass.

    ``remat`` of its prior is what recomputes its blocks in the backward pass: (U-Net, first stage).
    """

    def prior(params: dict, dtype: str = "float32", remat: tuple[bool, bool] = (False, False)):
        context = None if tokens is None else jnp.zeros((tokens, unet.context_dim or 0))
        network = LDMNetwork(params["unet"], unet, context, dtype=dtype, remat=remat[0])
        halves = first_stage(params["first_stage"], stage, dtype=dtype, remat=remat[1])
        return latent_prior(network, scaled_linear_betas(), halves)

    return Model(size, partial(init_latent_params, unet, stage), prior)


MODELS = {
    "ldm-ffhq": latent_model(LDM_FFHQ, VQ_F4, vq_first_stage, 256),
    "sd-1.5": latent_model(SD_1_5, KL_F8, kl_first_stage, 512, tokens=77),
    "adm-ffhq": Model(
        256,
        partial(init_params, ADMUNet(ADM_FFHQ_256)),
        partial(adm_prior, config=ADM_FFHQ_256),
    ),
}


def prior_forms(model: Model, **choices: Any) -> Prior:
    """The prior with shapes and types in place of its arrays."""
    return jax.eval_shape(partial(model.prior, **choices), jax.eval_shape(model.params))


def random_prior(model: Model) -> Prior:
    """The prior with normal numbers of standard deviation 0.02, float32, as its weights."""
    rng = np.random.default_rng(0)
    draw = lambda form: np.float32(0.02) * rng.standard_normal(form.shape, np.float32)
    forms = jax.eval_shape(model.params)
    return model.prior(jax.tree.map(lambda form: jax.device_put(draw(form)), forms))

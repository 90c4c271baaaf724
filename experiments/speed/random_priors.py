"""Priors of the published sizes with random weights: time and memory are those of the real ones."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dsg_jax.networks.adm import ADM_FFHQ_256, ADMUNet
from dsg_jax.priors import init_latent_params, init_params
from dsg_jax.priors.latent import LDMNetwork, latent_prior
from dsg_jax.priors.pixel import adm_prior
from dsg_jax.schedule import scaled_linear_betas
from dsg_jax.types import Prior
from experiments.speed.memory import MODELS

PUBLISHED = ("adm-ffhq", *MODELS)


def random_like(forms: Any) -> Any:
    """Normal numbers of standard deviation 0.02 in the shapes of a tree, all of them float32."""
    rng = np.random.default_rng(0)
    draw = lambda form: np.float32(0.02) * rng.standard_normal(form.shape, np.float32)
    return jax.tree.map(lambda form: jax.device_put(draw(form)), forms)


def random_prior(name: str) -> tuple[Prior, int]:
    """One of `PUBLISHED`, and the side of its images in pixels."""
    if name == "adm-ffhq":
        forms = jax.eval_shape(partial(init_params, ADMUNet(ADM_FFHQ_256)))
        return adm_prior(random_like(forms), ADM_FFHQ_256), 256
    model = MODELS[name]
    params = random_like(jax.eval_shape(partial(init_latent_params, model.unet, model.autoencoder)))
    context = None
    if model.tokens is not None and model.unet.context_dim is not None:
        context = jnp.zeros((model.tokens, model.unet.context_dim))
    network = LDMNetwork(params["unet"], model.unet, context)
    stage = model.first_stage(params["first_stage"], model.autoencoder)
    return latent_prior(network, scaled_linear_betas(), stage), model.size

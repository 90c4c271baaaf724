"""The published priors without their weights: time and memory do not depend on them."""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from dsg_jax.checkpoints import prior_folder
from dsg_jax.networks.adm import ADM_FFHQ_256, ADMConfig
from dsg_jax.networks.autoencoder import KL_F8, VQ_F4
from dsg_jax.networks.ldm import LDM_FFHQ, SD_1_5, LDMConfig
from dsg_jax.priors import PRIOR_KINDS, load_folder
from dsg_jax.priors.kinds import CARD_KINDS, Architecture, architecture_of
from dsg_jax.types import Prior
from dsg_jax.user_code import is_user_code
from dsg_jax.user_entries import user_prior


class Model(NamedTuple):
    """A prior whose card is known: `CARD_KINDS` has its parameters and how it is built.

    Attributes:
      kind: key of `CARD_KINDS`.
      card: what the kind's ``build`` reads, and ``size``, the side of the images in pixels.
    """

    kind: str
    architecture: Architecture
    card: dict[str, Any]

    def structs(self) -> dict:
        """Shapes and types of the parameters."""
        return CARD_KINDS[self.kind].structs(self.architecture)

    def prior(self, params: dict, dtype: str = "float32") -> Prior:
        """The prior with these parameters and this compute type."""
        return CARD_KINDS[self.kind].build(self.card, self.architecture, params, dtype)


# Of the schedule only the length counts here, and of the latents' scale nothing.
_CARD = {"parametrisation": "eps", "betas": {}, "latent_scale": 1.0}
MODELS = {
    "ldm-ffhq": Model("ldm", {"unet": LDM_FFHQ, "first_stage": VQ_F4}, _CARD | {"size": 256}),
    "sd-1.5": Model(
        "ldm",
        {"unet": SD_1_5, "first_stage": KL_F8, "conditions": (1, 77, 768)},  # one prompt
        _CARD | {"size": 512, "conditions": {"default": 0}},
    ),
    "adm-ffhq": Model("adm", {"unet": ADM_FFHQ_256}, _CARD | {"size": 256}),
}

# Small ones of the same make, with which a program of many cases is tried out.
TOYS = {
    "toy-adm": Model(
        "adm", {"unet": ADMConfig(32, (1, 2), 1, (2,), norm_groups=8)}, _CARD | {"size": 32}
    ),
    "toy-ldm": Model(
        "ldm",
        {
            "unet": LDMConfig(32, (1, 2), 1, (2,), num_head_channels=16, norm_groups=8),
            "first_stage": VQ_F4._replace(
                channels=16, channel_mult=(1, 2, 2), num_res_blocks=1, codes=64, norm_groups=8
            ),
        },
        _CARD | {"size": 64},
    ),
}


def prior_forms(model: Model, dtype: str = "float32") -> Prior:
    """The prior with shapes and types in place of its arrays."""
    return jax.eval_shape(partial(model.prior, dtype=dtype), model.structs())


class Weighted(NamedTuple):
    """A prior, and what it is made of.

    Attributes:
      shape: (h, w, c) of its images.
      params: of all parts of the architecture.
    """

    prior: Prior
    shape: tuple[int, int, int]
    architecture: Architecture
    params: dict


def prior_of(name: str, dtype: str = "float32") -> Weighted:
    """A prior by name, folder or FILE.py:NAME; those of `MODELS` and `TOYS` have normal weights."""
    models = MODELS | TOYS
    if is_user_code(name):
        prior, card = user_prior(name)
        return Weighted(prior, (card["size"], card["size"], card["channels"]), {}, {})
    if name not in models:
        prior, card, params = load_folder(prior_folder(name), *PRIOR_KINDS, dtype=dtype)
        shape = card["size"], card["size"], card["channels"]
        return Weighted(prior, shape, architecture_of(card), params)
    model, rng = models[name], np.random.default_rng(0)
    draw = lambda form: np.float32(0.02) * rng.standard_normal(form.shape, np.float32)
    params = jax.tree.map(lambda form: jax.device_put(draw(form)), model.structs())
    shape = model.card["size"], model.card["size"], 3
    return Weighted(model.prior(params, dtype), shape, model.architecture, params)

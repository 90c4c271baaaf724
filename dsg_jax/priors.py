"""Load a prior by name or path: an Orbax checkpoint beside a readable card.

    folder/card.json    what the weights are: architecture, parametrisation, schedule, origin
    folder/weights/     the parameters, restored straight to the wanted type

The bundled priors and the converter's output have this one form. Two kinds of card exist: "adm",
a network over pixels on ADM's schedule, and "ldm", a network over latents with its first stage.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from dsg_jax.cards import read_card, read_weights, write_weights
from dsg_jax.diffusion import continuous_alpha_bar
from dsg_jax.first_stage import kl_first_stage, vq_first_stage
from dsg_jax.latent import LDMNetwork, latent_prior
from dsg_jax.networks import autoencoder, ldm
from dsg_jax.networks.adm import ADMConfig, ADMUNet
from dsg_jax.schedule import linear_betas, scaled_linear_betas
from dsg_jax.types import Prior

BUNDLED = {path.name: path for path in (Path(__file__).parent / "bundled" / "priors").glob("*/")}

Config = TypeVar("Config", ADMConfig, ldm.LDMConfig, autoencoder.AutoencoderConfig)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ADMNetwork:
    """An ADM U-Net as the noise predictor of a `Prior`: unbatched, whatever it was trained for."""

    params: dict
    config: ADMConfig = field(metadata={"static": True})
    parametrisation: str = field(default="eps", metadata={"static": True})
    """"eps": the output is the noise. "v": it is c n - s x0 (Salimans & Ho 2022) and the noise is
    c v + s x, where c^2 = alpha_bar and s^2 = 1 - alpha_bar at the continuous time."""
    dtype: str = field(default="float32", metadata={"static": True})

    def __call__(self, x: Array, t: Array) -> Array:
        """(h, w, c) state and () time -> (h, w, out_channels), the noise first."""
        network = ADMUNet(self.config, jnp.dtype(self.dtype))
        t = jnp.asarray(t, jnp.float32)
        out = network.apply({"params": self.params}, x[None], t[None])[0]
        if self.parametrisation == "eps":
            return out
        alpha_bar = continuous_alpha_bar(t)
        return jnp.sqrt(alpha_bar) * out + jnp.sqrt(1 - alpha_bar) * x


def adm_prior(params: dict, config: ADMConfig, **choices) -> Prior:
    """A prior on ADM's linear schedule; ``choices`` are further fields of `ADMNetwork`."""
    return Prior(ADMNetwork(params, config, **choices), jnp.asarray(linear_betas(), jnp.float32))


def load_prior(name: str | Path, dtype: str = "float32") -> tuple[Prior, dict]:
    """The prior of a bundled name or of a folder, and its card.

    Args:
      name: "emoji", "photo", "emoji-64-ldm", or a folder with ``card.json`` and ``weights``.
      dtype: compute type of the networks, "float32" or "bfloat16"; parameters are float32.

    Raises:
      FileNotFoundError: no such prior.
      ValueError: a card that this version does not understand.
    """
    folder = BUNDLED.get(str(name), Path(name))
    if not (folder / "card.json").is_file():
        known = ", ".join(sorted(BUNDLED))
        raise FileNotFoundError(f"no prior {str(name)!r}: give a folder with card.json, or {known}")
    card = read_card(folder, *LOADERS)
    return LOADERS[card["kind"]](folder, card, dtype), card


def _load_adm(folder: Path, card: dict, dtype: str) -> Prior:
    config = config_of(card["architecture"], ADMConfig)
    wanted = jax.eval_shape(partial(init_params, ADMUNet(config)))
    choices = {"parametrisation": card["parametrisation"], "dtype": dtype}
    return adm_prior(read_weights(folder, wanted), config, **choices)


def _load_ldm(folder: Path, card: dict, dtype: str) -> Prior:
    unet = config_of(card["architecture"]["unet"], ldm.LDMConfig)
    stage = config_of(card["architecture"]["first_stage"], autoencoder.AutoencoderConfig)
    contexts = {
        name: jax.ShapeDtypeStruct((tokens, unet.context_dim), jnp.float32)
        for name, tokens in card["contexts"].items()
    }
    wanted = jax.eval_shape(partial(init_latent_params, unet, stage)) | contexts
    params = read_weights(folder, wanted)
    network = LDMNetwork(
        params["unet"],
        unet,
        **{name: params[name] for name in contexts},
        scale=card["guidance_scale"],
        parametrisation=card["parametrisation"],
        dtype=dtype,
    )
    first_stage = vq_first_stage if stage.codes else kl_first_stage
    decoder = first_stage(params["first_stage"], stage, scale=card["latent_scale"], dtype=dtype)
    return latent_prior(network, scaled_linear_betas(**card["betas"]), decoder)


LOADERS: dict[str, Callable[[Path, dict, str], Prior]] = {"adm": _load_adm, "ldm": _load_ldm}
"""Kind of a card -> what makes a prior of its weights."""


def save_prior(folder: Path, params: dict, config: ADMConfig, card: dict) -> dict:
    """Write a pixel prior as `load_prior` reads it; returns the completed card.

    Raises:
      ValueError: a card without ``parametrisation``, or ``size``, the usual side of its images.
    """
    facts = {
        "kind": "adm",
        "architecture": config._asdict(),
        "channels": config.in_channels,
        "size_multiple": config.size_multiple,
    }
    return write_weights(folder, params, facts | card, "parametrisation", "size")


def save_latent_prior(
    folder: Path,
    params: dict,
    unet: ldm.LDMConfig,
    first_stage: autoencoder.AutoencoderConfig,
    card: dict,
) -> dict:
    """Write a latent prior as `load_prior` reads it; returns the completed card.

    Args:
      folder: its card and weights are replaced, if it has any.
      params: "unet" and "first_stage"; a conditional network's stored embeddings as "context" and,
        for guidance by ``guidance_scale`` of the card, "unconditional", each (tokens, dim).
      unet: architecture of the network.
      first_stage: architecture of the autoencoder.
      card: with ``parametrisation``, ``size``, ``latent_scale`` (what makes latents of unit
        variance) and ``betas`` (the arguments of `scaled_linear_betas`).

    Raises:
      ValueError: a card that lacks one of these.
    """
    facts = {
        "kind": "ldm",
        "architecture": {"unet": unet._asdict(), "first_stage": first_stage._asdict()},
        "channels": first_stage.image_channels,
        "size_multiple": first_stage.factor * unet.size_multiple,
        "contexts": {k: len(params[k]) for k in ("context", "unconditional") if k in params},
        "guidance_scale": 1.0,
    }
    needed = "parametrisation", "size", "latent_scale", "betas"
    return write_weights(folder, params, facts | card, *needed)


def config_of(architecture: dict, kind: type[Config]) -> Config:
    """An architecture from its JSON form.

    Raises:
      ValueError: fields that ``kind`` does not have.
    """
    unknown = sorted(set(architecture) - set(kind._fields))
    if unknown:
        raise ValueError(f"this program knows no architecture with {', '.join(unknown)}")
    fields: dict[str, Any] = {}
    for name, value in architecture.items():
        fields[name] = tuple(value) if isinstance(value, list) else value
    return kind(**fields)


def init_params(network: ADMUNet) -> dict:
    """Fresh parameters; under `jax.eval_shape` only their names, shapes and types."""
    size = network.config.size_multiple
    example = jnp.zeros((1, size, size, network.config.in_channels)), jnp.zeros((1,))
    return network.init(jax.random.key(0), *example)["params"]


def init_latent_params(unet: ldm.LDMConfig, stage: autoencoder.AutoencoderConfig) -> dict:
    """The same for a latent prior: its U-Net and its first stage."""
    key = jax.random.key(0)
    return {
        "unet": ldm.init_params(unet, key),
        "first_stage": autoencoder.init_params(stage, key),
    }

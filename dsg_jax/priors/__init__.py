"""Load a prior by name or path: an Orbax checkpoint beside a readable card.

    folder/card.json    what the weights are: architecture, parametrisation, schedule, origin
    folder/weights/     the parameters, restored straight to the wanted type

The bundled priors and the converter's output have this one form. Two kinds of card exist: "adm",
a network over pixels on ADM's schedule, and "ldm", a network over latents with its first stage.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from dsg_jax.networks import autoencoder, ldm
from dsg_jax.networks.adm import ADMConfig, ADMUNet
from dsg_jax.priors.first_stage import kl_first_stage, vq_first_stage
from dsg_jax.priors.folder import Placement, naming_lacks, read_card, read_weights, write_weights
from dsg_jax.priors.latent import LDMNetwork, latent_prior, with_guidance
from dsg_jax.priors.pixel import adm_prior
from dsg_jax.schedule import scaled_linear_betas
from dsg_jax.types import Prior

BUNDLED = {
    path.name: path for path in (Path(__file__).parents[1] / "bundled" / "priors").glob("*/")
}

Config = TypeVar("Config", ADMConfig, ldm.LDMConfig, autoencoder.AutoencoderConfig)


def load_prior(
    name: str | Path,
    dtype: str = "float32",
    *,
    params_dtype: str = "float32",
    placement: Placement = None,
    condition: str | int | None = None,
    guidance_scale: float = 1.0,
) -> tuple[Prior, dict]:
    """The prior of a bundled name or of a folder, and its card.

    Args:
      name: "emoji", "photo", "emoji-64-ldm", or a folder with ``card.json`` and ``weights``.
      dtype: compute type of the networks, "float32" or "bfloat16".
      params_dtype: type of the parameters; they are read straight into it.
      placement: a `jax.sharding.Sharding`, or a function from each parameter's struct to one.
      condition: one of the conditions that a conditional prior stores, a prompt or its number (a
        class's, for cin256-v2); None is the one its card calls default (no class, empty prompt).
      guidance_scale: with a condition, how far to guide towards it from the default one (Ho &
        Salimans 2022); 1 is the condition alone, in one pass.

    Raises:
      FileNotFoundError: no such prior.
      ValueError: a card that this version does not understand, weights that are not those of the
        card, or no such condition.
    """
    folder = BUNDLED.get(str(name), Path(name))
    if not (folder / "card.json").is_file():
        known = ", ".join(sorted(BUNDLED))
        raise FileNotFoundError(f"no prior {str(name)!r}: give a folder with card.json, or {known}")
    card = read_card(folder, *LOADERS)
    wanted, build = LOADERS[card["kind"]]
    with naming_lacks(folder):
        params = read_weights(folder, as_type(wanted(card), params_dtype), placement)
        prior = build(card, params, dtype)
        if condition is not None:
            table, facts = params.get("conditions", ()), card.get("conditions", {"names": []})
            prior = prior._replace(
                network=_conditioned(prior.network, table, facts, condition, guidance_scale)
            )
    return prior, card


def as_type(structs: Any, dtype: str) -> Any:
    """The same structs of another type."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(dtype)), structs)


def _adm_wanted(card: dict) -> Any:
    config = config_of(card["architecture"], ADMConfig)
    return jax.eval_shape(partial(init_params, ADMUNet(config)))


def _adm_of(card: dict, params: dict, dtype: str) -> Prior:
    config = config_of(card["architecture"], ADMConfig)
    return adm_prior(params, config, parametrisation=card["parametrisation"], dtype=dtype)


def _ldm_configs(card: dict) -> tuple[ldm.LDMConfig, autoencoder.AutoencoderConfig]:
    architecture = card["architecture"]
    return (
        config_of(architecture["unet"], ldm.LDMConfig),
        config_of(architecture["first_stage"], autoencoder.AutoencoderConfig),
    )


def _ldm_wanted(card: dict) -> Any:
    unet, stage = _ldm_configs(card)
    wanted = _latent_structs(unet, stage)
    if "conditions" not in card:
        return wanted
    table = jax.ShapeDtypeStruct(tuple(card["conditions"]["shape"]), jnp.float32)
    return wanted | {"conditions": table}


@lru_cache  # tracing a large network takes seconds
def _latent_structs(unet: ldm.LDMConfig, stage: autoencoder.AutoencoderConfig) -> dict:
    return jax.eval_shape(partial(init_latent_params, unet, stage))


def _ldm_of(card: dict, params: dict, dtype: str) -> Prior:
    unet, stage = _ldm_configs(card)
    conditions = card.get("conditions")
    network = LDMNetwork(
        params["unet"],
        unet,
        context=None if conditions is None else params["conditions"][conditions["default"]],
        parametrisation=card["parametrisation"],
        dtype=dtype,
    )
    first_stage = vq_first_stage if stage.codes else kl_first_stage
    decoder = first_stage(params["first_stage"], stage, scale=card["latent_scale"], dtype=dtype)
    return latent_prior(network, scaled_linear_betas(**card["betas"]), decoder)


LOADERS: dict[str, tuple[Callable[[dict], Any], Callable[[dict, Any, str], Prior]]] = {
    "adm": (_adm_wanted, _adm_of),
    "ldm": (_ldm_wanted, _ldm_of),
}
"""Kind of a card -> what says the parameters' shapes, and what makes a prior of them."""


def _conditioned(
    network: Any, table: Any, facts: dict, condition: str | int, scale: float
) -> LDMNetwork:
    names = facts["names"]
    index = names.index(condition) if condition in names else condition
    if not isinstance(index, int) or not 0 <= index < len(table):
        known = f"it stores {', '.join(map(repr, names)) or f'0 to {len(table) - 1}'}"
        known = known if len(table) else "it stores none"
        raise ValueError(f"the prior has no condition {condition!r}; {known}")
    return with_guidance(network, table[index], table[facts["default"]], scale)


def save_prior(
    folder: Path, params: dict, config: ADMConfig, card: dict, *, compress: bool = True
) -> dict:
    """Write a pixel prior as `load_prior` reads it; returns the completed card.

    Raises:
      ValueError: a card without ``parametrisation``, or ``size``, the usual side of its images; a
        folder that holds something else.
    """
    facts = {
        "kind": "adm",
        "architecture": config._asdict(),
        "channels": config.in_channels,
        "size_multiple": config.size_multiple,
    }
    needed = "parametrisation", "size"
    return write_weights(folder, params, facts | card, *needed, compress=compress)


def save_latent_prior(
    folder: Path,
    params: dict,
    unet: ldm.LDMConfig,
    first_stage: autoencoder.AutoencoderConfig,
    card: dict,
    *,
    compress: bool = True,
) -> dict:
    """Write a latent prior as `load_prior` reads it; returns the completed card.

    Args:
      folder: its card and weights are replaced, if it has any.
      params: "unet" and "first_stage"; for a conditional network all embeddings that may be asked
        for as "conditions", (n, tokens, dim).
      unet: architecture of the network.
      first_stage: architecture of the autoencoder.
      card: with ``parametrisation``, ``size``, ``latent_scale`` (what makes latents of unit
        variance) and ``betas`` (the arguments of `scaled_linear_betas`); for "conditions" with
        ``conditions``: their "names", a list, and the "default", a number.
      compress: as for `streaming.write_tree`.

    Raises:
      ValueError: a card that lacks one of these, or a folder that holds something else.
    """
    facts = {
        "kind": "ldm",
        "architecture": {"unet": unet._asdict(), "first_stage": first_stage._asdict()},
        "channels": first_stage.image_channels,
        "size_multiple": first_stage.factor * unet.size_multiple,
    }
    needed = "parametrisation", "size", "latent_scale", "betas"
    if "conditions" in params:
        conditions = {"shape": list(params["conditions"].shape)} | card.get("conditions", {})
        missing = sorted({"names", "default"} - set(conditions))
        if missing:
            raise ValueError(f"the card's conditions lack {', '.join(missing)}")
        card = card | {"conditions": conditions}
    return write_weights(folder, params, facts | card, *needed, compress=compress)


def config_of(architecture: dict, kind: type[Config]) -> Config:
    """An architecture from its JSON form.

    Raises:
      ValueError: it is no object of fields, or has some that ``kind`` does not have.
    """
    if not isinstance(architecture, dict):
        raise ValueError(f"architecture {architecture!r}: wanted are fields by name")
    unknown = sorted(set(architecture) - set(kind._fields))
    if unknown:
        raise ValueError(
            f"this program knows no architecture with {', '.join(unknown)}; known are "
            f"{', '.join(kind._fields)}"
        )
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

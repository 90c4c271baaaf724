"""Load weights by the name or path of their folder, and write such folders.

    folder/card.json    what the weights are: architecture, parametrisation, schedule, origin
    folder/weights/     the parameters, restored straight to the wanted type

The bundled priors and the converter's output have this one form, and `kinds.CARD_KINDS` the kinds
of cards. A prior is of kind "adm", "edm" or "unet2d", a network over pixels, or "ldm", a network
over latents with its first stage.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from dsg_jax.networks.adm import ADMConfig
from dsg_jax.networks.autoencoder import AutoencoderConfig
from dsg_jax.networks.ldm import LDMConfig
from dsg_jax.priors.clocks import clock_entry
from dsg_jax.priors.edm import EDMNetwork
from dsg_jax.priors.files import TABLE, check_files
from dsg_jax.priors.folder import (
    Placement,
    folders_inside,
    naming_card,
    read_card,
    read_weights,
    write_weights,
)
from dsg_jax.priors.kinds import (
    CARD_KINDS,
    Architecture,
    architecture_of,
    card_of,
    check_facts,
    structs_of,
)
from dsg_jax.priors.latent import LDMNetwork, init_latent_params, with_guidance
from dsg_jax.priors.pixel import ADMNetwork, adm_prior, init_params
from dsg_jax.priors.unet2d import UNet2DNetwork, check_label, with_label
from dsg_jax.types import FirstStage, Prior

__all__ = [
    "BUNDLED",
    "PRIOR_KINDS",
    "adm_prior",
    "init_latent_params",
    "init_params",
    "load_first_stage",
    "load_folder",
    "load_prior",
    "save_folder",
    "save_latent_prior",
    "save_prior",
]

BUNDLED = {
    path.name: path for path in (Path(__file__).parents[1] / "bundled" / "priors").glob("*/")
}
# Kinds of cards that `load_prior` takes.
PRIOR_KINDS = "adm", "edm", "ldm", "unet2d"


def load_prior(
    name: str | Path,
    dtype: str = "float32",
    *,
    params_dtype: str = "float32",
    placement: Placement = None,
    verify: bool = True,
    condition: str | int | None = None,
    guidance_scale: float = 1.0,
) -> tuple[Prior, dict]:
    """The prior of a bundled name or of a folder, and its card.

    Args:
      name: "emoji", "photo", "emoji-64-ldm", or a folder with ``card.json`` and ``weights``.
      dtype: compute type of the networks, "float32" or "bfloat16".
      params_dtype: type of the parameters; they are read straight into it.
      placement: a `jax.sharding.Sharding`, or a function from each parameter's struct to one.
      verify: compare the files with the hashes that were recorded when they were written
        (`files.check_files`); sizes are compared in any case.
      condition: one of the conditions that a conditional prior stores, a prompt or its number (a
        class's, for cin256-v2); None is the one its card calls default (no class, empty prompt).
        Of a class-conditional ADM a class, for which there is no default: without it here, the
        `Problem` has to name one. Of EDM's networks likewise, or else they get no class, zeros.
        Of a class-conditional "unet2d" the class, which must be said (`unet2d.with_label`).
      guidance_scale: with a condition, how far to guide towards it from the default one (Ho &
        Salimans 2022); 1 is the condition alone, in one pass.

    Raises:
      FileNotFoundError: no such prior.
      ValueError: a card that this version does not understand, weights that are not those of the
        card, or no such condition.
    """
    folder = BUNDLED.get(str(name), Path(name))
    if not (folder / "card.json").is_file():
        known = f"a folder with card.json, or {', '.join(sorted(BUNDLED))}"
        give = " or ".join(folders_inside(folder)) or known
        raise FileNotFoundError(f"no prior {str(name)!r}: give {give}")
    prior, card, params = load_folder(
        folder,
        *PRIOR_KINDS,
        dtype=dtype,
        params_dtype=params_dtype,
        placement=placement,
        verify=verify,
    )
    if isinstance(prior.network, UNet2DNetwork):
        return prior._replace(
            network=_of_class(prior.network, card, condition, guidance_scale)
        ), card
    if condition is not None:
        with naming_card(Path(folder) / "card.json"):
            table = params.get("conditions", ())
            network = _conditioned(prior.network, table, card, condition, guidance_scale)
        prior = prior._replace(network=network)
    return prior, card


def load_first_stage(folder: str | Path, **options) -> tuple[FirstStage, dict]:
    """The first stage of a folder, such as a converted VQ-f4, and its card; see `load_folder`."""
    return load_folder(folder, "first-stage", **options)[:2]


def load_folder(
    folder: str | Path,
    *kinds: str,
    dtype: str = "float32",
    params_dtype: str = "float32",
    placement: Placement = None,
    verify: bool = True,
) -> tuple[Any, dict, dict]:
    """What lies in a folder of one of these kinds (`CARD_KINDS`), its card, and its parameters.

    Raises:
      FileNotFoundError: no card, so no such folder or one whose writing did not end.
      ValueError: a card that is damaged, of another kind or version, or lacks an entry; weights
        that are not those of the card, or have changed since they were written.
    """
    card = read_card(folder, *kinds)
    kind = CARD_KINDS[card["kind"]]
    with naming_card(Path(folder) / "card.json"):
        architecture = architecture_of(card)
        check_facts(card, architecture)
        structs = as_type(structs_of(card["kind"], architecture), params_dtype)
    if verify or (Path(folder) / TABLE).is_file():
        check_files(folder, hashes=verify)
    params = read_weights(folder, structs, placement)
    return kind.build(card, architecture, params, dtype), card, params


def save_folder(
    folder: str | Path,
    kind: str,
    params: dict,
    architecture: Architecture,
    card: dict,
    *,
    compress: bool = True,
) -> dict:
    """Write a folder as `load_folder` reads it; returns the completed card.

    Args:
      folder: its card and weights are replaced, if it has any.
      kind: a key of `CARD_KINDS`.
      params: the arrays, in the form of the kind's ``structs``, or `streaming.LazyArray`s. All
        embeddings that may be asked for lie under "conditions", (n, tokens, dim).
      architecture: the kind's configurations.
      card: further entries; those that the kind needs (`CardKind.needed`), and for "conditions" the
        entry ``conditions``: their "names", a list, and the "default", a number.
      compress: as for `streaming.write_tree`.

    Raises:
      ValueError: a card that lacks one of these, or a folder that holds something else.
    """
    if "conditions" in params:
        conditions = {"shape": list(params["conditions"].shape)} | card.get("conditions", {})
        missing = sorted({"names", "default"} - set(conditions))
        if missing:
            raise ValueError(f"the card's conditions lack {', '.join(missing)}")
        card = card | {"conditions": conditions}
    card = card_of(kind, architecture) | card
    if kind in PRIOR_KINDS:
        card = card | {"clock": clock_entry(card)}
    return write_weights(folder, params, card, *CARD_KINDS[kind].needed, compress=compress)


def save_prior(folder: str | Path, params: dict, config: ADMConfig, card: dict) -> dict:
    """Write a pixel prior as `load_prior` reads it; see `save_folder`.

    The card needs ``parametrisation``, and ``size``, the usual side of its images. Its ``clock``
    (see `clocks`) is ADM's where it says none.
    """
    return save_folder(folder, "adm", params, {"unet": config}, card)


def save_latent_prior(
    folder: str | Path, params: dict, unet: LDMConfig, first_stage: AutoencoderConfig, card: dict
) -> dict:
    """Write a latent prior, "unet" and "first_stage" of ``params``; see `save_folder`.

    The card needs ``parametrisation``, ``size``, ``latent_scale`` (what makes latents of unit
    variance) and ``betas`` (the arguments of `scaled_linear_betas`).
    """
    return save_folder(folder, "ldm", params, {"unet": unet, "first_stage": first_stage}, card)


def as_type(structs: Any, dtype: str) -> Any:
    """The same structs of another type."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(dtype)), structs)


def _of_class(network: UNet2DNetwork, card: dict, condition: Any, scale: float) -> UNet2DNetwork:
    if condition is None:
        if "classes" not in card:  # which each `Problem` may name
            check_label(network)
        return network
    if scale != 1:
        raise ValueError(f"guidance_scale={scale}: a network without an empty class has none but 1")
    return with_label(network, condition)


def _conditioned(
    network: Any, table: Any, card: dict, condition: str | int, scale: float
) -> LDMNetwork | ADMNetwork | EDMNetwork:
    facts, classes = card.get("conditions", {"names": []}), card.get("classes")
    names, rows = facts["names"], classes or len(table)
    index = names.index(condition) if condition in names else condition
    if not isinstance(index, int) or not 0 <= index < rows:
        known = f"it stores {', '.join(map(repr, names)) or f'0 to {rows - 1}'}"
        known = known if rows else "it stores none"
        raise ValueError(f"the prior has no condition {condition!r}; {known}")
    if classes and scale != 1:
        raise ValueError(
            f"guidance_scale={scale}: the network has no row for no class to be guided from: "
            "leave it out"
        )
    if classes:
        return network.of_class(index)
    return with_guidance(network, table[index], table[facts["default"]], scale)

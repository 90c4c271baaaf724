"""The kinds of folders that weights lie in: what their cards' "kind" means, one entry each.

The one table of it. Loading, saving, converting and verifying read `CARD_KINDS`, and so another
kind of network is one more entry.
"""

import reprlib
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp

from dsg_jax.networks import autoencoder, kernel_wizard, ldm
from dsg_jax.networks.adm import ADMConfig, ADMUNet
from dsg_jax.networks.autoencoder import AutoencoderConfig
from dsg_jax.networks.inception import inception_structs
from dsg_jax.networks.kernel_wizard import CODE_CELL, BlurConfig, BlurNetwork
from dsg_jax.networks.ldm import LDMConfig, LDMUNet
from dsg_jax.networks.lpips import TRUNKS, LPIPSWeights, lpips_structs
from dsg_jax.priors.card_kind import Architecture, CardKind, Shapes
from dsg_jax.priors.cards import config_of
from dsg_jax.priors.clocks import clock_of_card
from dsg_jax.priors.edm import EDM_KIND
from dsg_jax.priors.first_stage import kl_first_stage, vq_first_stage
from dsg_jax.priors.latent import LDMNetwork, latent_prior
from dsg_jax.priors.passes import inception_pass, lpips_pass, stage_passes, unet_pass, wizard_pass
from dsg_jax.priors.pixel import adm_prior, init_params
from dsg_jax.priors.unet2d import UNET2D_KIND
from dsg_jax.types import FirstStage, Prior


def architecture_of(card: dict) -> Architecture:
    """The configurations that a card describes.

    Raises:
      KeyError: the card has no "architecture", or it lacks a part.
      ValueError: a part is described by other fields than it has.
    """
    parts = CARD_KINDS[card["kind"]].parts
    if len(parts) == 1:
        ((name, config),) = parts.items()
        return {name: config_of(card["architecture"], config)}
    described = card["architecture"] if parts else {}
    if not isinstance(described, dict):
        raise ValueError(f"architecture {reprlib.repr(described)}: wanted are {', '.join(parts)}")
    configs = {name: config_of(described[name], parts[name]) for name in parts}
    conditions = card.get("conditions")
    return configs if conditions is None else configs | {"conditions": tuple(conditions["shape"])}


def structs_of(kind: str, architecture: Architecture) -> dict:
    """The tree of parameters of a kind's networks, as structs.

    Raises:
      ValueError: the architecture describes none, such as one whose channels no group divides.
    """
    try:
        return CARD_KINDS[kind].structs(architecture)
    except Exception as error:  # the boundary: layers raise what they raise at odd numbers
        raise ValueError(f"the architecture describes no network: {error}") from error


def check_facts(card: dict, architecture: Architecture) -> None:
    """Refuse a card that contradicts its own architecture, or lacks what its kind needs.

    Raises:
      KeyError: the card lacks an entry.
      ValueError: an entry differs from what the architecture says.
    """
    kind = CARD_KINDS[card["kind"]]
    for name, fact in kind.facts(architecture).items():
        if card[name] != fact:
            value = reprlib.repr(card[name])
            raise ValueError(f"the card has {name} {value}; its architecture's is {fact}")
    for name in kind.needed:
        if name == "betas" and not isinstance(card[name], dict) and "clock" not in card:
            raise ValueError(f"the card has betas {card[name]!r}; wanted are start, end and steps")
        card[name]
    width = getattr(architecture.get("unet"), "context_dim", None)
    shape = architecture.get("conditions", (0, 0, width))
    if shape[-1] != width:
        raise ValueError(f"the card has conditions of width {shape[-1]}; its network's is {width}")


def card_of(kind: str, architecture: Architecture) -> dict:
    """The entries of a card that a kind and its architecture determine; without "version"."""
    entry = CARD_KINDS[kind]
    fields = {name: architecture[name]._asdict() for name in entry.parts}
    form = fields if len(fields) > 1 else next(iter(fields.values()), None)
    card = {"kind": kind} if form is None else {"kind": kind, "architecture": form}
    return card | entry.facts(architecture)


@lru_cache  # tracing a large network takes seconds
def _structs(init: Callable, config: Any) -> dict:
    return jax.eval_shape(partial(init, config), jax.random.key(0))


def _init_adm(config: ADMConfig, key: jax.Array) -> dict:
    del key
    return init_params(ADMUNet(config))


def _ldm_structs(architecture: Architecture) -> dict:
    structs: dict[str, Any] = {
        "unet": _structs(ldm.init_params, architecture["unet"]),
        "first_stage": _structs(autoencoder.init_params, architecture["first_stage"]),
    }
    if "conditions" in architecture:
        structs["conditions"] = jax.ShapeDtypeStruct(architecture["conditions"], jnp.float32)
    return structs


def _stage_of(card: dict, config: AutoencoderConfig, params: dict, dtype: str) -> FirstStage:
    first_stage = vq_first_stage if config.codes else kl_first_stage
    return first_stage(params, config, scale=card["latent_scale"], dtype=dtype)


def _ldm_prior(card: dict, architecture: Architecture, params: dict, dtype: str) -> Prior:
    conditions = card.get("conditions")
    network = LDMNetwork(
        params["unet"],
        architecture["unet"],
        context=None if conditions is None else params["conditions"][conditions["default"]],
        dtype=dtype,
    )
    stage = _stage_of(card, architecture["first_stage"], params["first_stage"], dtype)
    return latent_prior(network, clock_of_card(card), stage)


def _unet_inputs(config: ADMConfig | LDMConfig) -> Shapes:
    side = max(8, config.size_multiple)
    return {"x": (1, config.in_channels, side, side), "t": (1,)}


def _adm_facts(config: ADMConfig) -> dict[str, int]:
    classes = {} if config.num_classes is None else {"classes": config.num_classes}
    return {"channels": config.in_channels, "size_multiple": config.size_multiple} | classes


def _adm_inputs(config: ADMConfig) -> Shapes:
    return _unet_inputs(config) | ({} if config.num_classes is None else {"y": (1,)})


def _ldm_inputs(architecture: Architecture) -> Shapes:
    unet, stage = architecture["unet"], architecture["first_stage"]
    context = {"context": (1, 2, unet.context_dim)} if unet.context_dim else {}
    return context | {"z": (1, stage.latent_channels, 4, 4)} | _unet_inputs(unet)


def _stage_inputs(config: AutoencoderConfig) -> Shapes:
    side = 4 * config.factor
    return {"z": (1, config.latent_channels, 4, 4), "x": (1, config.image_channels, side, side)}


def _lpips(net: str) -> CardKind:
    return CardKind(
        parts={},
        structs=lambda architecture: lpips_structs(net),
        build=lambda card, architecture, params, dtype: LPIPSWeights(**params, net=net),
        facts=lambda architecture: {"image_range": [-1, 1]},
        inputs=lambda architecture: {"x": (1, 3, 64, 64), "y": (1, 3, 64, 64)},
        passes=lambda card, architecture: (lpips_pass(net),),
    )


# The "kind" of a card -> what follows from it.
CARD_KINDS: dict[str, CardKind] = {
    "adm": CardKind(
        parts={"unet": ADMConfig},
        structs=lambda a: _structs(_init_adm, a["unet"]),
        build=lambda card, a, params, dtype: adm_prior(
            params, a["unet"], dtype=dtype, clock=clock_of_card(card)
        ),
        facts=lambda a: _adm_facts(a["unet"]),
        needed=("parametrisation", "size"),
        inputs=lambda a: _adm_inputs(a["unet"]),
        passes=lambda card, a: (
            unet_pass(ADMUNet(a["unet"]), "" if a["unet"].num_classes is None else "y"),
        ),
    ),
    "unet2d": UNET2D_KIND,
    "edm": EDM_KIND,
    "ldm": CardKind(
        parts={"unet": LDMConfig, "first_stage": AutoencoderConfig},
        structs=_ldm_structs,
        build=_ldm_prior,
        facts=lambda a: {
            "channels": a["first_stage"].image_channels,
            "size_multiple": a["first_stage"].factor * a["unet"].size_multiple,
        },
        needed=("parametrisation", "size", "latent_scale", "betas"),
        inputs=_ldm_inputs,
        passes=lambda card, a: (
            unet_pass(LDMUNet(a["unet"]), "context" if a["unet"].context_dim else "", "unet"),
            *stage_passes(a["first_stage"], card["latent_scale"], "first_stage"),
        ),
    ),
    "first-stage": CardKind(
        parts={"first_stage": AutoencoderConfig},
        structs=lambda a: _structs(autoencoder.init_params, a["first_stage"]),
        build=lambda card, a, params, dtype: _stage_of(card, a["first_stage"], params, dtype),
        facts=lambda a: {
            "channels": a["first_stage"].image_channels,
            "size_multiple": a["first_stage"].factor,
        },
        needed=("latent_scale",),
        inputs=lambda a: _stage_inputs(a["first_stage"]),
        passes=lambda card, a: stage_passes(a["first_stage"], card["latent_scale"]),
    ),
    "kernel-wizard": CardKind(
        parts={"network": BlurConfig},
        structs=lambda a: _structs(kernel_wizard.init_params, a["network"]),
        build=lambda card, a, params, dtype: BlurNetwork(params, a["network"]),
        facts=lambda a: {"image_range": [0, 1], "size_multiple": CODE_CELL},
        inputs=lambda a: {
            "u": (1, 3, CODE_CELL, CODE_CELL),
            "k": (1, a["network"].code_channels, 1, 1),
        },
        passes=lambda card, a: (wizard_pass(a["network"]),),
    ),
    "inception-fid": CardKind(
        parts={},
        structs=lambda a: inception_structs(),
        build=lambda card, a, params, dtype: params,
        facts=lambda a: {"image_range": [-1, 1]},
        inputs=lambda a: {"x": (1, 3, 80, 80)},
        passes=lambda card, a: (inception_pass(),),
    ),
    **{f"lpips-{net}": _lpips(net) for net in TRUNKS},
}

"""A prior of a diffusers `UNet2DModel` over pixels, perhaps of one class."""

from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dsg_jax.clock import Clock
from dsg_jax.networks.unet2d import UNet2D, init_params
from dsg_jax.networks.unet2d_blocks import UNet2DConfig
from dsg_jax.priors.card_kind import CardKind
from dsg_jax.priors.clocks import clock_of_card
from dsg_jax.priors.passes import unet_pass
from dsg_jax.types import Prior


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class UNet2DNetwork:
    """A `UNet2D` as the network of a `Prior`: unbatched.

    Attributes:
      params: of `UNet2D`, without an outer "params".
      config: the architecture.
      label: () number of a class, or (e,) its embedding, where the network wants one.
      variance: whether the channels behind the prediction are variance values in [-1, 1], as
        `diffusion.predict` has them; others are left out.
      dtype: compute type.
    """

    params: dict
    config: UNet2DConfig = field(metadata={"static": True})
    label: Array | None = None
    variance: bool = field(default=False, metadata={"static": True})
    dtype: str = field(default="float32", metadata={"static": True})

    def __call__(self, x: Array, t: Array) -> Array:
        """(h, w, c) state and () time -> (h, w, c), and c variance values behind if it has them."""
        network = UNet2D(self.config, jnp.dtype(self.dtype))
        t = jnp.asarray(t, jnp.float32)
        labels = () if self.label is None else (self.label[None],)
        out = network.apply({"params": self.params}, x[None], t[None], *labels)[0]
        return out if self.variance else out[..., : x.shape[-1]]

    def of_class(self, label: Array | int) -> "UNet2DNetwork":
        """The same network, asked by the () number of a class; `with_label` checks it."""
        return replace(self, label=jnp.asarray(label, jnp.float32))


def unet2d_prior(
    params: dict,
    config: UNet2DConfig,
    clock: Clock,
    *,
    label: Any = None,
    variance: bool = False,
    dtype: str = "float32",
) -> Prior:
    """A prior of a `UNet2D`.

    Args:
      params: as in `UNet2DNetwork`, like the others.
      config: the architecture.
      clock: such as `clock.table_clock` of the betas that it was trained with.
      label: as in `with_label`; None of a network without classes.
      variance: whether its further channels are variance values.
      dtype: compute type of the network.

    Raises:
      ValueError: no such class.
    """
    network = UNet2DNetwork(params, config, variance=variance, dtype=dtype)
    return Prior(network if label is None else with_label(network, label), clock)


def with_label(network: UNet2DNetwork, label: Any) -> UNet2DNetwork:
    """The network for one class.

    Args:
      network: of a `UNet2D` that wants labels.
      label: the number of a class from 0; for the type "identity" an embedding (e,).

    Raises:
      ValueError: the network has no such class, or none at all.
    """
    config = network.config
    embeds = config.class_embed_type == "identity"
    shape = (config.embedding_width,) if embeds else ()
    most = np.inf if config.class_embed_type else (config.num_class_embeds or 0) - 1
    value = np.asarray(label)
    fits = config.has_labels and value.dtype.kind in "iuf" and value.shape == shape
    if not fits or not (embeds or 0 <= value <= most):
        raise ValueError(f"the prior has no class {label!r}: {_classes(config)}")
    return network.of_class(jnp.asarray(value))


def check_label(network: UNet2DNetwork) -> None:
    """Refuse a network that wants a class and has none.

    Raises:
      ValueError: it does.
    """
    if network.config.has_labels and network.label is None:
        raise ValueError(f"the prior wants a class, its condition: {_classes(network.config)}")


def _classes(config: UNet2DConfig) -> str:
    if not config.has_labels:
        return "it has none"
    if config.class_embed_type == "identity":
        return f"give an embedding of {config.embedding_width} numbers"
    most = "" if config.class_embed_type else f" to {(config.num_class_embeds or 0) - 1}"
    return f"give a number from 0{most}"


def _facts(config: UNet2DConfig) -> dict[str, Any]:
    facts = {"channels": config.in_channels, "size_multiple": config.size_multiple}
    numbered = config.num_class_embeds is not None and config.class_embed_type is None
    return facts | ({"classes": config.num_class_embeds} if numbered else {})


@lru_cache  # tracing a large network takes seconds
def _structs(config: UNet2DConfig) -> dict:
    return jax.eval_shape(partial(init_params, config), jax.random.key(0))


def _inputs(config: UNet2DConfig) -> dict[str, tuple[int, ...]]:
    side = max(8, config.size_multiple)
    embeds = config.class_embed_type == "identity"
    label = (1, config.embedding_width) if embeds else (1,)
    labels = {"y": label} if config.has_labels else {}
    return {"x": (1, config.in_channels, side, side), "t": (1,)} | labels


UNET2D_KIND = CardKind(
    parts={"unet": UNet2DConfig},
    structs=lambda a: _structs(a["unet"]),
    build=lambda card, a, params, dtype: unet2d_prior(
        params, a["unet"], clock_of_card(card), variance=card["learned_variance"], dtype=dtype
    ),
    facts=lambda a: _facts(a["unet"]),
    inputs=lambda a: _inputs(a["unet"]),
    passes=lambda card, a: (unet_pass(UNet2D(a["unet"]), "y" if a["unet"].has_labels else ""),),
    needed=("parametrisation", "size", "clock", "learned_variance"),
)

"""EDM's networks as those of a `Prior` over pixels."""

from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
from jax import Array

from dsg_jax.clock import Clock
from dsg_jax.networks.edm import EDMConfig, EDMUNet
from dsg_jax.priors.card_kind import CardKind
from dsg_jax.priors.clocks import clock_of_card
from dsg_jax.priors.passes import unet_pass
from dsg_jax.types import Prior


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class EDMNetwork:
    """A SongUNet or DhariwalUNet for one unbatched state.

    Attributes:
      params: of `EDMUNet`, without an outer "params".
      label: (label_dim,) such as a one-hot class; None is no class.
      dtype: compute type of the network.
    """

    params: dict
    config: EDMConfig = field(metadata={"static": True})
    label: Array | None = None
    dtype: str = field(default="float32", metadata={"static": True})

    def __call__(self, x: Array, t: Array) -> Array:
        """(h, w, c) state, scaled as the clock says, and () c_noise -> (h, w, c).

        The second half of what iDDPM's networks answer is left out: training may not have used it.
        """
        network = EDMUNet(self.config, jnp.dtype(self.dtype))
        times = jnp.asarray(t, jnp.float32)[None]
        label = None if self.label is None else self.label[None]
        answer = network.apply({"params": self.params}, x[None], times, label)[0]
        return answer[..., : self.config.in_channels]

    def of_class(self, label: Array | int) -> "EDMNetwork":
        """The same network, asked by the () number of a class."""
        return replace(self, label=jax.nn.one_hot(label, self.config.label_dim or 0))


def edm_prior(
    params: dict,
    config: EDMConfig,
    clock: Clock,
    *,
    label: Array | None = None,
    dtype: str = "float32",
) -> Prior:
    """A prior of one of EDM's networks.

    Args:
      params: of `EDMUNet`, without an outer "params".
      config: the architecture.
      clock: `edm_clock`; for networks in other preconditioning `adm_clock` (VP), `edm_clock` with
        "ve", or `table_clock` of cosine betas with `times.nearest_time` (iDDPM).
      label: (label_dim,) such as a one-hot class; None is no class.
      dtype: compute type of the network.

    Raises:
      ValueError: a label that the network does not take.
    """
    shape = None if label is None else jnp.shape(label)
    if shape is not None and shape != (config.label_dim,):
        takes = f"takes ({config.label_dim},)" if config.label_dim else "takes none"
        raise ValueError(f"a label of shape {shape}: this network {takes}")
    return Prior(EDMNetwork(params, config, label, dtype), clock)


def init_params(config: EDMConfig, key: jax.Array) -> dict:
    """Fresh parameters; under `jax.eval_shape` only their names, shapes and types."""
    side = config.size_multiple
    example = jnp.zeros((1, side, side, config.in_channels)), jnp.zeros((1,))
    return EDMUNet(config).init(key, *example)["params"]


@lru_cache  # tracing a large network takes seconds
def _structs(config: EDMConfig) -> dict:
    return jax.eval_shape(partial(init_params, config), jax.random.key(0))


def _facts(config: EDMConfig) -> dict[str, int]:
    classes = {"classes": config.label_dim} if config.label_dim else {}
    return {"channels": config.in_channels, "size_multiple": config.size_multiple} | classes


def _inputs(config: EDMConfig) -> dict[str, tuple[int, ...]]:
    side = max(8, config.size_multiple)
    return {"x": (1, config.in_channels, side, side), "t": (1,)}


EDM_KIND = CardKind(
    parts={"unet": EDMConfig},
    structs=lambda a: _structs(a["unet"]),
    build=lambda card, a, params, dtype: edm_prior(
        params, a["unet"], clock_of_card(card), dtype=dtype
    ),
    facts=lambda a: _facts(a["unet"]),
    inputs=lambda a: _inputs(a["unet"]),
    passes=lambda card, a: (unet_pass(EDMUNet(a["unet"]), ""),),
    needed=("parametrisation", "size", "clock"),
)

"""ADM networks as those of a `Prior` over pixels."""

from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
from jax import Array

from dsg_jax.clock import Clock, Prediction, adm_clock
from dsg_jax.networks.adm import ADMConfig, ADMUNet
from dsg_jax.types import Prior


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ADMNetwork:
    """An ADM U-Net as the network of a `Prior`: unbatched, whatever it was trained for.

    Attributes:
      params: parameters of `ADMUNet`.
      config: its architecture.
      dtype: compute type of the network.
      label: () number of the class that is asked for; class-conditional networks need one.
    """

    params: dict
    config: ADMConfig = field(metadata={"static": True})
    dtype: str = field(default="float32", metadata={"static": True})
    label: Array | int | None = None

    def __call__(self, x: Array, t: Array) -> Array:
        """(h, w, c) state and () time -> (h, w, out_channels), the prediction first."""
        network = ADMUNet(self.config, jnp.dtype(self.dtype))
        t = jnp.asarray(t, jnp.float32)
        labels = None if self.label is None else jnp.asarray(self.label)[None]
        return network.apply({"params": self.params}, x[None], t[None], labels)[0]

    def of_class(self, label: Array | int) -> "ADMNetwork":
        """The same network, asked by the () number of a class."""
        return replace(self, label=label)


def adm_prior(
    params: dict,
    config: ADMConfig,
    *,
    parametrisation: Prediction = "eps",
    dtype: str = "float32",
    clock: Clock | None = None,
) -> Prior:
    """A prior of an ADM network.

    Args:
      params: parameters of `ADMUNet`, without an outer "params".
      config: the architecture.
      parametrisation: what the network answers on ADM's own clock.
      dtype: compute type of the network.
      clock: in place of ADM's, such as those of the consistency models' ADMs.

    Raises:
      ValueError: no such parametrisation.
    """
    return Prior(ADMNetwork(params, config, dtype), clock or adm_clock(parametrisation))


def init_params(network: ADMUNet) -> dict:
    """Fresh parameters; under `jax.eval_shape` only their names, shapes and types."""
    size = network.config.size_multiple
    image = jnp.zeros((1, size, size, network.config.in_channels))
    labels = None if network.config.num_classes is None else jnp.zeros(1, int)
    return network.init(jax.random.key(0), image, jnp.zeros((1,)), labels)["params"]

"""ADM networks as noise predictors of a `Prior` over pixels."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jax import Array

from dsg_jax.diffusion import check_parametrisation, continuous_alpha_bar
from dsg_jax.networks.adm import ADMConfig, ADMUNet
from dsg_jax.schedule import linear_betas
from dsg_jax.types import Prior


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ADMNetwork:
    """An ADM U-Net as the noise predictor of a `Prior`: unbatched, whatever it was trained for.

    Attributes:
      parametrisation: "eps": the output is the noise. "v": it is c n - s x0 (Salimans & Ho 2022)
        and the noise is c v + s x, where c^2 = alpha_bar and s^2 = 1 - alpha_bar at the continuous
        time.
    """

    params: dict
    config: ADMConfig = field(metadata={"static": True})
    parametrisation: str = field(default="eps", metadata={"static": True})
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
    """A prior on ADM's linear schedule; ``choices`` are further fields of `ADMNetwork`.

    Raises:
      ValueError: a ``parametrisation`` other than "eps" and "v".
    """
    network = ADMNetwork(params, config, **choices)
    check_parametrisation(network.parametrisation)
    return Prior(network, jnp.asarray(linear_betas(), jnp.float32))


def init_params(network: ADMUNet) -> dict:
    """Fresh parameters; under `jax.eval_shape` only their names, shapes and types."""
    size = network.config.size_multiple
    example = jnp.zeros((1, size, size, network.config.in_channels)), jnp.zeros((1,))
    return network.init(jax.random.key(0), *example)["params"]

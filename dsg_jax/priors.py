"""Load a prior by name or path: an Orbax checkpoint beside a readable card.

    folder/card.json    what the weights are: architecture, parametrisation, schedule, origin
    folder/weights/     the parameters, restored straight to the wanted type

The bundled priors ("emoji", "photo") and the converter's output have this one form.
"""

import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jax import Array

from dsg_jax.diffusion import continuous_alpha_bar
from dsg_jax.networks.adm import ADMConfig, ADMUNet
from dsg_jax.schedule import linear_betas
from dsg_jax.types import Prior

BUNDLED = {path.name: path for path in (Path(__file__).parent / "bundled" / "priors").glob("*/")}
CARD_VERSION = 1


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
      name: "emoji", "photo", or a folder with ``card.json`` and ``weights``.
      dtype: compute type of the network, "float32" or "bfloat16"; parameters are float32.

    Raises:
      FileNotFoundError: no such prior.
      ValueError: a card that this version does not understand.
    """
    folder = BUNDLED.get(str(name), Path(name))
    if not (folder / "card.json").is_file():
        known = ", ".join(sorted(BUNDLED))
        raise FileNotFoundError(f"no prior {str(name)!r}: give a folder with card.json, or {known}")
    card = json.loads((folder / "card.json").read_text())
    if card.get("kind") != "adm" or card.get("version") != CARD_VERSION:
        found = f"kind {card.get('kind')!r}, version {card.get('version')!r}"
        raise ValueError(f"{folder}/card.json has {found}; this program reads adm, {CARD_VERSION}")
    config = config_of(card["architecture"])
    wanted = jax.eval_shape(partial(init_params, ADMUNet(config)))
    with ocp.StandardCheckpointer() as checkpointer:
        params = checkpointer.restore((folder / "weights").absolute(), wanted)
    choices = {"parametrisation": card["parametrisation"], "dtype": dtype}
    return adm_prior(params, config, **choices), card


def save_prior(folder: Path, params: dict, config: ADMConfig, card: dict) -> dict:
    """Write parameters and card as `load_prior` reads them; returns the completed card.

    Raises:
      ValueError: a card without ``parametrisation``, or ``size``, the usual side of its images.
    """
    missing = {"parametrisation", "size"} - set(card)
    if missing:
        raise ValueError(f"the card lacks {', '.join(sorted(missing))}")
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    facts = {
        "kind": "adm",
        "version": CARD_VERSION,
        "architecture": config._asdict(),
        "channels": config.in_channels,
        "size_multiple": config.size_multiple,
        "parameters": count,
    }
    folder.mkdir(parents=True, exist_ok=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save((folder / "weights").absolute(), params, force=True)
    marker = folder / "weights" / "commit_success.txt"
    if marker.is_file():  # it names the folder on the machine that wrote it
        marker.write_text("committed\n")
    card = facts | card
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    return card


def config_of(architecture: dict) -> ADMConfig:
    """An `ADMConfig` from its JSON form."""
    unknown = sorted(set(architecture) - set(ADMConfig._fields))
    if unknown:
        raise ValueError(f"this program knows no architecture with {', '.join(unknown)}")
    fields: dict = {k: tuple(v) if isinstance(v, list) else v for k, v in architecture.items()}
    return ADMConfig(**fields)


def init_params(network: ADMUNet) -> dict:
    """Fresh parameters; under `jax.eval_shape` only their names, shapes and types."""
    size = network.config.size_multiple
    example = jnp.zeros((1, size, size, network.config.in_channels)), jnp.zeros((1,))
    return network.init(jax.random.key(0), *example)["params"]

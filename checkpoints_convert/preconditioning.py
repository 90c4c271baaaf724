"""How EDM's networks are asked, which names and shapes do not tell: by the file, or by its user."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from checkpoints_convert.kinds import Kind
from dsg_jax.priors.cards import check_entries
from dsg_jax.schedule import SCHEDULES

# Preconditioning -> the entries of a card.
CARDS: dict[str, dict] = {
    "edm": {
        "parametrisation": "edm",
        "clock": {"kind": "edm", "sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5},
    },
    "vp": {"parametrisation": "eps", "clock": {"kind": "adm"}},
    "ve": {
        "parametrisation": "ve",
        "clock": {"kind": "edm", "times": "ve", "sigma_min": 0.02, "sigma_max": 100.0},
    },
    "iddpm": {
        "parametrisation": "eps",
        "clock": {"kind": "table", "schedule": "cosine", "times": "nearest"},
    },
}
_CLASSES = {"EDMPrecond": "edm", "VPPrecond": "vp", "VEPrecond": "ve", "iDDPMPrecond": "iddpm"}
# Attributes of the classes that are constants here.
_CONSTANTS = {
    "vp": {"beta_d": 19.9, "beta_min": 0.1, "M": 1000},
    "ve": {"sigma_min": 0.02, "sigma_max": 100},
    "iddpm": {"C_1": 0.001, "C_2": 0.008, "M": 1000},
}


class Stated(NamedTuple):
    """What a user says of a network; None is nothing.

    Attributes:
      preconditioning: key of `CARDS`.
      sigma_data: of EDM's.
      mean: of the values whose states are (value - mean) / (2 std).
      std: likewise.
    """

    preconditioning: str | None = None
    sigma_data: float | None = None
    mean: float | None = None
    std: float | None = None


def with_preconditioning(
    kind: Kind, name: str, tensors: Mapping[str, Any], values: Mapping[str, Any], stated: Stated
) -> Kind:
    """A kind of EDM's networks with the entries of its card; others as they are.

    Args:
      kind: with the architecture of the file.
      name: the kind's.
      tensors: the file's.
      values: its other values; pickled objects have a ``class_name`` and attributes.
      stated: what the user says.

    Raises:
      ValueError: nobody says how the network is asked, two say different things, or the file has
        other constants than are read.
    """
    options = {f"--{n.replace('_', '-')}": v for n, v in stated._asdict().items() if v is not None}
    if kind.card_kind != "edm":
        if options:
            raise ValueError(f"{name} takes no {min(options)}: leave it out")
        return kind
    if (stated.mean is None) != (stated.std is None):
        raise ValueError(f"{min(options.keys() - {'--sigma-data'})} alone: give --mean and --std")
    stored = _attributes(values)
    how = _preconditioning(tensors, stored, stated.preconditioning)
    card = CARDS[how] | {"preconditioning": how, "size": kind.architecture["unet"].resolution}
    if how == "edm":
        data = _agreed("sigma_data", stored.get("sigma_data"), stated.sigma_data)
        card["clock"] = card["clock"] | {"sigma_data": 0.5 if data is None else data}
    elif stated.sigma_data is not None:
        raise ValueError(f"--sigma-data is EDM's, and this is {how}: leave it out")
    if stated.std is not None:
        card["scaling"] = {"mean": stated.mean, "std": stated.std}
    check_entries(card, "the card")
    return kind._replace(card=kind.card | card)


def consistency_warning(name: str, inputs: list[Path]) -> str:
    """What else a file of the consistency models could be, by its name.

    Raises:
      ValueError: it is called like a consistency function.
    """
    if name != "consistency":
        return ""
    functions = [path.name for path in inputs if path.name.startswith(("cd_", "ct_"))]
    if functions:
        raise ValueError(
            f"{functions[0]} holds a consistency function: it answers where the path of the ODE "
            "ends, and not E[x0], so that no score follows from it; convert edm_bedroom256_ema.pt "
            "or edm_cat256_ema.pt, from which it was distilled"
        )
    if all(path.name.startswith("edm_") for path in inputs):
        return ""
    return "; if its name was cd_* or ct_*, it is a consistency function and no prior"


def _attributes(values: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of the pickled object that has the averaged weights, or else of the only one."""
    ends = [name.removesuffix("class_name") for name, v in values.items() if v in _CLASSES]
    stem = max(ends, key=lambda name: name.startswith("ema."), default=None)
    if stem is None:
        return {}
    return {n.removeprefix(stem): value for n, value in values.items() if n.startswith(stem)}


def _preconditioning(tensors: Mapping[str, Any], stored: dict[str, Any], stated: str | None) -> str:
    grid = next((tensor for n, tensor in tensors.items() if n.rpartition(".")[2] == "u"), None)
    by_file = _CLASSES.get(stored.get("class_name", ""), None if grid is None else "iddpm")
    how = _agreed("preconditioning", by_file, stated)
    if how is None:
        raise ValueError(
            "neither the file nor the names and shapes in it say how the network is asked: give "
            "--preconditioning edm, vp or ve (docs/convert.md has those of published files)"
        )
    for name, constant in _CONSTANTS.get(how, {}).items():
        if stored.get(name, constant) != constant:
            raise ValueError(f"the file has {name} {stored[name]}; read is {constant}")
    if grid is not None and not _is_cosine(grid):
        raise ValueError("the file has other noise levels u than those of iDDPM's cosine schedule")
    return how


def _agreed(name: str, stored: Any, stated: Any) -> Any:
    if None not in (stored, stated) and stored != stated:
        option = f"--{name.replace('_', '-')}"
        raise ValueError(f"the file has {name} {stored}, and you say {stated}: leave {option} out")
    return stated if stored is None else stored


def _is_cosine(grid: Any) -> bool:
    alpha_bar = np.cumprod(1 - np.minimum(SCHEDULES["cosine"](), 0.999))
    sigmas = np.append(np.sqrt(1 / alpha_bar - 1)[::-1], 0.0)
    return grid.shape == sigmas.shape and np.allclose(grid.read(), sigmas, rtol=1e-3)

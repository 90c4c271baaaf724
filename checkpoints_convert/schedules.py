"""Schedules as the entry "clock" of a card, from words, numbers, a file's table or its folder."""

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from checkpoints_convert.read.stored import StoredTensor
from checkpoints_convert.scheduler import PREDICTIONS, one_of, scheduler_clock
from dsg_jax.bounded import read_json
from dsg_jax.priors.clocks import clock_of_card
from dsg_jax.priors.folder import naming_card
from dsg_jax.schedule import SCHEDULES

_MOST = 10_000  # times of a schedule, as in a card


def entry_of(said: object, named: str) -> dict:
    """The entry of what somebody says: a name and numbers, or a card's "betas" or "clock".

    Args:
      said: "cosine"; "linear 0.0001 0.02 1000", also as a list of words; {"start": ..., "end": ...,
        "steps": ...}, linear in the square root; the same with a "schedule", or {"betas": [...]}.
      named: who says it.

    Raises:
      ValueError: there is no such schedule.
    """
    words: Any = said.split() if isinstance(said, str) else said
    entry: dict[str, Any] = {"kind": "table"}
    try:
        if isinstance(words, dict):
            is_named = words.keys() & {"schedule", "betas"}
            entry |= words if is_named else {"schedule": "scaled_linear"} | words
        else:
            schedule, *numbers = words
            fields = ("steps",) if schedule == "cosine" else ("start", "end", "steps")
            pairs = zip(fields, numbers, strict=False)
            entry |= {"schedule": schedule} | {k: float(v) for k, v in pairs}
            if len(numbers) > len(fields) or schedule not in SCHEDULES:
                raise ValueError(f"there is no schedule {schedule}")
        if "steps" in entry:
            entry["steps"] = int(entry["steps"])
        if "schedule" in entry and "steps" not in entry:
            entry["steps"] = 1000
        if not 2 <= entry.get("steps", 2) <= _MOST:
            raise ValueError(f"{entry['steps']} steps")
        _table(entry)
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(
            f"{named} has betas {reprlib.repr(said)}; wanted is one of {', '.join(SCHEDULES)}, and "
            f"start, end and number of steps where they are not the usual ones: {error}"
        ) from error
    return entry


def stored_facts(tensors: Mapping[str, StoredTensor], path: Path) -> dict[str, Any]:
    """What a file, or the configurations in a diffusers folder, say of the `facts.FACTS`.

    Raises:
      ValueError: a schedule of another form.
    """
    facts: dict[str, Any] = {}
    last = {name.rpartition(".")[2]: tensor for name, tensor in tensors.items()}
    if (betas := last.get("betas")) is not None and betas.dtype.kind == "f":
        table = np.asarray(betas.read(), np.float64).ravel()[: _MOST + 1]
        if not 2 <= len(table) <= _MOST or not ((table > 0) & (table <= 1)).all():
            raise ValueError(
                f"{path} has betas of shape {betas.shape} from {table.min(initial=1)} to "
                f"{table.max(initial=0)}, which are no variances: take them out of the file"
            )
        facts["betas"] = recognised(table)
    scale = last.get("scale_factor")
    if scale is not None and scale.shape in ((), (1,)) and scale.dtype.kind == "f":
        facts["latent_scale"] = float(f"{float(scale.read().reshape(())):.7g}")
    config = path / "scheduler" / "scheduler_config.json"
    if config.is_file():
        said = _entries(config)
        with naming_card(config):
            facts["betas"] = scheduler_clock(said)
            facts["parametrisation"] = one_of(said, "prediction_type", PREDICTIONS, "epsilon")
    if (config := path / "vae" / "config.json").is_file():
        facts["latent_scale"] = _entries(config).get("scaling_factor", 0.18215)
    return facts


def _entries(path: Path) -> dict[str, Any]:
    entries = read_json(path)
    return entries if isinstance(entries, dict) else {}


def recognised(betas: np.ndarray) -> dict[str, Any]:
    """A table (T,) by the name of its schedule, where that has one."""
    ends = {"start": float(f"{betas[0]:.6g}"), "end": float(f"{betas[-1]:.6g}")}
    for schedule in ("scaled_linear", "linear", "cosine") if betas[0] < betas[-1] else ():
        numbers = {"steps": len(betas)} | ({} if schedule == "cosine" else ends)
        usual = SCHEDULES[schedule](**numbers)
        if np.allclose(usual, betas, rtol=1e-4, atol=0):
            return {"kind": "table", "schedule": schedule, **numbers}
    return {"kind": "table", "betas": betas.tolist()}


def same_schedule(one: Any, other: Any) -> bool:
    """Whether two entries stand for the same betas, but for rounding."""
    a, b = _table(one), _table(other)
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-3, atol=0)


def with_schedule(card: dict, entry: Any) -> dict:
    """A card with another schedule."""
    others = {name: fact for name, fact in card.items() if name not in ("betas", "clock")}
    if entry.get("schedule") == "scaled_linear":
        return others | {"betas": {n: entry[n] for n in ("start", "end", "steps") if n in entry}}
    return others | {"betas": schedule_words(entry), "clock": entry}


def schedule_words(entry: Any) -> str:
    """An entry in words, such as "linear 0.0001 to 0.02, 1000 steps"."""
    table = _table(entry)
    name = "linear" if entry["kind"] == "adm" else entry.get("schedule", "of their own")
    ends = "" if name == "cosine" else f" {table[0]:.6g} to {table[-1]:.6g}"
    return f"{name}{ends}, {len(table)} steps"


def _table(entry: Any) -> np.ndarray:
    return np.asarray(clock_of_card({"clock": entry, "parametrisation": "eps"}).betas, np.float64)

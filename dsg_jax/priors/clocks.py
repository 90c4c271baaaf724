"""The clock of a card: what its entries "clock" and "parametrisation" mean.

    {"kind": "adm"}                                                   ADM, EDM's "VP" networks
    {"kind": "table", "schedule": "cosine"}                           diffusers, DDPM, iDDPM
    {"kind": "table", "schedule": "linear", "start": 1e-4, "end": 0.02, "steps": 1000}
    {"kind": "table", "betas": [0.0001, 0.00012, ...]}
    {"kind": "edm", "sigma_min": 0.002, "sigma_max": 80, "sigma_data": 0.5}
    {"kind": "flow"}

A table may say ``"times": "nearest"`` (iDDPM in EDM's wrapping), and "edm" ``"times":
"consistency"`` or, with the parametrisation "ve", ``"times": "ve"``. Cards without a clock are
older: where "betas" are start, end and steps they are linear in the square root, else ADM's.
"""

import reprlib
from collections.abc import Callable
from typing import Any

import numpy as np

from dsg_jax.checks import check_choice
from dsg_jax.clock import Clock, adm_clock, edm_clock, flow_clock, table_clock
from dsg_jax.schedule import SCHEDULES
from dsg_jax.times import consistency_time, edm_time, nearest_time, table_time, ve_time

_TABLE_TIMES = {"table": table_time, "nearest": nearest_time}
_EDM_TIMES = {"edm": edm_time, "consistency": consistency_time, "ve": ve_time}


def _table(prediction: Any, schedule: str = "linear", betas: Any = None, times="table", **ends):
    betas = SCHEDULES[schedule](**ends) if betas is None else betas
    return table_clock(betas, prediction, times=_TABLE_TIMES[times])


def _edm(prediction: Any, times: str = "edm", **facts: Any) -> Clock:
    return edm_clock(prediction=prediction, times=_EDM_TIMES[times], **facts)


def _flow(prediction: Any, **ends: float) -> Clock:
    check_choice("parametrisation", prediction, ("flow",))
    return flow_clock(**ends)


# Kind of clock -> its constructor from the parametrisation and the further entries.
_CLOCKS: dict[str, Callable[..., Clock]] = {
    "adm": adm_clock,
    "table": _table,
    "edm": _edm,
    "flow": _flow,
}


def clock_entry(card: dict) -> dict:
    """A card's own entry, or what follows from its "betas"."""
    betas = card.get("betas")
    if isinstance(betas, dict):
        inferred = {"kind": "table", "schedule": "scaled_linear"} | betas
    else:
        inferred = {"kind": "adm"}
    return card.get("clock", inferred)


def clock_of_card(card: dict) -> Clock:
    """The clock that a card describes.

    Raises:
      KeyError: the card lacks its parametrisation.
      ValueError: there is no such clock, or none with this parametrisation, or "betas" contradict
        it.
    """
    entry, prediction = clock_entry(card), card["parametrisation"]
    facts = {name: value for name, value in entry.items() if name != "kind"}
    try:
        clock = _CLOCKS[entry["kind"]](prediction, **facts)
    except Exception as error:  # the boundary: wrong names and numbers raise what they raise
        raise ValueError(f"no clock is {reprlib.repr(entry)}: {error}") from error
    if "clock" in card and isinstance(card.get("betas"), dict):
        stated = clock_of_card({"betas": card["betas"], "parametrisation": "eps"})
        if not np.array_equal(stated.betas, clock.betas):
            raise ValueError(f"the card has betas {card['betas']} and clock {reprlib.repr(entry)}")
    return clock

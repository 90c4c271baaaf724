"""A diffusers ``scheduler_config.json``: the noise levels that a network was trained at."""

import reprlib
from typing import Any

from dsg_jax.priors.cards import check_entries
from dsg_jax.priors.clocks import clock_of_card
from dsg_jax.schedule import SCHEDULES, zero_snr_betas

# Names in config files -> ours.
_SCHEDULES = {
    "linear": "linear",
    "scaled_linear": "scaled_linear",
    "squaredcos_cap_v2": "cosine",
    "sigmoid": "sigmoid",
}
PREDICTIONS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}


def scheduler_clock(entries: dict[str, Any]) -> dict[str, Any]:
    """The entry "clock" of a card; without the terminal signal where there is to be none.

    Raises:
      ValueError: a schedule that is not known, or numbers that are none.
    """
    betas, steps = entries.get("trained_betas"), entries.get("num_train_timesteps", 1000)
    if betas is None:
        schedule = one_of(entries, "beta_schedule", _SCHEDULES, "linear")
        ends = {"start": entries.get("beta_start", 1e-4), "end": entries.get("beta_end", 0.02)}
        ends = {} if schedule == "cosine" else ends
        clock = {"kind": "table", "schedule": schedule, "steps": steps} | ends
    else:
        clock = {"kind": "table", "betas": betas}
    check_entries({"clock": clock}, "its schedule")
    clock_of_card({"clock": clock, "parametrisation": "eps"})
    if betas is not None and len(betas) != steps:
        raise ValueError(f"{len(betas)} trained_betas and {steps} num_train_timesteps")
    if entries.get("rescale_betas_zero_snr"):
        if betas is None:
            betas = SCHEDULES[schedule](steps=steps, **ends)
        clock = {"kind": "table", "betas": zero_snr_betas(betas).tolist()}
    return clock


def one_of(entries: dict[str, Any], name: str, known: dict[str, Any], absent: str) -> Any:
    """What an entry means; one that is missing is the first class's default.

    Raises:
      ValueError: it means nothing that is known.
    """
    value = entries.get(name, absent)
    if not isinstance(value, str) or value not in known:
        value = reprlib.repr(value)
        raise ValueError(f"{name} {value} is none of {', '.join(known)}: no prior has such a clock")
    return known[value]

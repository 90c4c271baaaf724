"""The one timer of calls, with what XLA counts and plans for their compiled programs."""

import time
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.programs import planned_bytes

# Seconds of a call after which it is not called again.
ENOUGH = 15.0


class Measured(NamedTuple):
    """What a compiled call takes.

    Attributes:
      milliseconds: the least of all turns: what else runs on a machine can only add to it.
      flops: of the program before the compiler's passes; bodies of loops count once.
      bytes_accessed: of the compiled program, as XLA counts them; bodies of loops count once.
      planned_bytes: arguments, results and intermediate values; nan where XLA does not tell.
    """

    milliseconds: float
    flops: float
    bytes_accessed: float
    planned_bytes: float


def measured(calls: dict[str, tuple], repeat: int = 7) -> dict[str, Measured]:
    """Time calls (function, *arguments), compiled, warmed up and taken in turns.

    Each has ``repeat`` turns, or fewer once it has taken `ENOUGH` seconds.
    """
    facts, compiled = {}, {}
    for name, (function, *arguments) in calls.items():
        lowered = jax.jit(function).lower(*arguments)
        compiled[name] = lowered.compile()
        facts[name] = (
            cost(lowered, "flops"),
            cost(compiled[name], "bytes accessed"),
            planned_bytes(compiled[name]) or np.nan,
        )
        jax.block_until_ready(compiled[name](*arguments))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeat):
        for name, (_, *arguments) in calls.items():
            if sum(times[name]) < ENOUGH:
                started = time.perf_counter()
                jax.block_until_ready(compiled[name](*arguments))
                times[name].append(time.perf_counter() - started)
    return {name: Measured(1e3 * min(times[name]), *facts[name]) for name in calls}


def cost(program: Any, name: str) -> float:
    """An entry of XLA's cost analysis, nan where the backend has none."""
    return float((program.cost_analysis() or {}).get(name, np.nan))

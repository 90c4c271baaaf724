"""A model of a program's memory, where no compiler is asked."""

import math
from collections.abc import Iterator
from typing import Any


def live_bytes(program: Any) -> float:
    """Most bytes of intermediate values alive at once in a jaxpr, run equation by equation.

    Nothing is fused and every value lives until its last use; an inner program (of a loop, a
    branch, a recomputed block) adds its own most while its equation runs. Arguments do not count,
    results do.
    """
    last = {id(v): i for i, equation in enumerate(program.eqns) for v in equation.invars}
    last |= {id(v): len(program.eqns) for v in program.outvars}
    ending: dict[int, float] = {}
    alive = most = 0.0
    for i, equation in enumerate(program.eqns):
        inside = max((live_bytes(inner) for inner in inner_programs(equation)), default=0.0)
        for v in equation.outvars:
            alive += size_of(v)
            end = last.get(id(v), i)
            ending[end] = ending.get(end, 0.0) + size_of(v)
        most = max(most, alive + inside)
        alive -= ending.pop(i, 0.0)
    return most


def inner_programs(equation: Any) -> Iterator[Any]:
    """The jaxprs that an equation holds."""
    for value in equation.params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            one = getattr(one, "jaxpr", one)
            if hasattr(one, "eqns"):
                yield one


def size_of(v: Any) -> float:
    """Bytes of a variable of a jaxpr; 0 for what is no array."""
    return math.prod(v.aval.shape) * v.aval.dtype.itemsize if hasattr(v.aval, "shape") else 0.0

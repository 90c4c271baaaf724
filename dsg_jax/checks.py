"""How frozen settings check themselves.

jax rebuilds registered dataclasses with anything for leaves (tracers, shapes, None), so that only
Python's own numbers are looked at; choices are static and never anything else.
"""

import math
from collections.abc import Callable, Collection, Hashable
from functools import cache
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints


class Range(NamedTuple):
    """The numbers that a field may have."""

    holds: Callable[[float], bool]
    words: str


# Most inner updates, levels and the like: beyond it time and memory are no run's.
MOST_STEPS = 1_000_000

POSITIVE = Range(lambda v: 0 < v < math.inf, "a finite number > 0")
NOT_NEGATIVE = Range(lambda v: 0 <= v < math.inf, "a finite number >= 0")
UNIT = Range(lambda v: 0 <= v <= 1, "a number from 0 to 1")
COUNT = Range(lambda v: v >= 1 and v % 1 == 0, "a whole number >= 1")
WHOLE = Range(lambda v: v >= 0 and v % 1 == 0, "a whole number >= 0")
UPDATES = Range(
    lambda v: COUNT.holds(v) and v <= MOST_STEPS, f"a whole number from 1 to {MOST_STEPS:,}"
)


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Refuse a value that is none of the choices.

    Raises:
      ValueError: it is none; the message lists them.
    """
    if value not in choices:
        raise ValueError(f"{name}={value!r}: choose from {', '.join(choices)}")


def check_fields(settings: Any, **ranges: Range) -> None:
    """Check every ``Literal`` field of a dataclass, and the ranges of the fields that are named.

    Raises:
      ValueError: a choice or a number that is not allowed; the message says what is.
    """
    for name, choices in _choices(type(settings)).items():  # type: ignore[arg-type]
        check_choice(name, getattr(settings, name), choices)
    for name, allowed in ranges.items():
        check_number(name, getattr(settings, name), allowed)


def check_number(name: str, value: object, allowed: Range) -> None:
    """Refuse one of Python's numbers that is out of its range.

    Raises:
      ValueError: it is; the message says what is allowed.
    """
    if isinstance(value, int | float) and not allowed.holds(value):
        raise ValueError(f"{name}={value}: give {allowed.words}")


@cache
def _choices(kind: Hashable) -> dict[str, tuple[str, ...]]:
    hints = get_type_hints(kind)
    return {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal}

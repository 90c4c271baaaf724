"""FILE.py:NAME among the words of a command line or the values of a settings file."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from dsg_jax.user_code import FUNCTIONS, NAMED
from dsg_jax.user_entries import forget, register
from experiments.checks import flag

# Option -> the kind of entry that it names; ``--setting`` of `calibrate` takes PRIOR:TASK.
_KINDS = {"--task": "task", "--setting": "task", "--solver": "solver"}


def register_named(argv: list[str], table: Mapping[str, Any]) -> None:
    """Make entries of the solvers and tasks that are named as FILE.py:NAME.

    Args:
      argv: the words of a command line.
      table: what its settings file holds.

    Raises:
      ValueError: one is not what its option takes.
    """
    forget()
    option = ""
    for word in (*_words_of(table), *argv):
        if word.startswith("--"):
            option, _, word = word.partition("=")
        if option == "--setting":
            word = word.partition(":")[2]
        if option in _KINDS and (match := NAMED.match(word)):
            register(_KINDS[option], match[0])


def check_names(settings_type: Any) -> None:
    """Raise ValueError where two options of a command, one of them a user's, have one name."""
    names = list(_names(settings_type))
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"{flag(name)} of {', '.join(FUNCTIONS)} is another option's name: rename it"
            )


def _names(settings_type: Any) -> Iterator[str]:
    """The names of the fields of a dataclass, and of those that are dataclasses."""
    hints = get_type_hints(settings_type)
    for one in fields(settings_type):
        yield from _names(hints[one.name]) if is_dataclass(hints[one.name]) else [one.name]


def _words_of(table: Mapping[str, Any]) -> Iterator[str]:
    """A table as the words of a command line."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _words_of(value)
        else:
            yield from (flag(name), *map(str, value if isinstance(value, list) else [value]))

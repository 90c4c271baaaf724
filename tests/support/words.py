"""Settings of commands, as their command lines give them."""

from typing import Any

from experiments.__main__ import COMMANDS, located
from experiments.cli import parse


def settings_of(command: str, *words: object) -> Any:
    """The settings that the words after a command's name stand for."""
    entry = COMMANDS[command]
    return parse(located(entry.settings), [str(word) for word in words], command, entry.words)

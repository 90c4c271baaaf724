"""How settings check themselves, in the words of the command line."""

import os
from pathlib import Path

from dsg_jax.checks import COUNT, Range

# What is counted before memory is taken for it; docs/long_runs.md has all of them.
MOST_PIXELS_OF_A_SIDE = 4096
MOST_TOGETHER = 65_536
SIDE = Range(
    lambda v: COUNT.holds(v) and v <= MOST_PIXELS_OF_A_SIDE,
    f"a whole number of pixels from 1 to {MOST_PIXELS_OF_A_SIDE}",
)
TOGETHER = Range(
    lambda v: COUNT.holds(v) and v <= MOST_TOGETHER, f"a whole number from 1 to {MOST_TOGETHER:,}"
)
SEED = Range(lambda v: 0 <= v < 2**32, "a whole number >= 0 and below 2^32")


def flag(name: str) -> str:
    """An option as the command line spells it: "batch_size" -> "--batch-size"."""
    return f"--{name.replace('_', '-')}"


def check_numbers(settings: object, **ranges: Range) -> None:
    """Raise ValueError where a field's number, or one of its list, is out of its range.

    None, for a default that is chosen later, is in every range.
    """
    for name, (holds, words) in ranges.items():
        value = getattr(settings, name)
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and not holds(number):
                raise ValueError(f"{flag(name)} {number}: give {words}")


def check_once(settings: object, *names: str) -> None:
    """Raise ValueError where a field's list has an entry twice, or none at all."""
    for name in names:
        entries = list(getattr(settings, name))
        twice = [entry for entry in entries if entries.count(entry) > 1]
        if twice:
            raise ValueError(f"{flag(name)} names {twice[0]} twice: drop one")
        if not entries:
            raise ValueError(f"{flag(name)} names nothing: give at least one")


def check_folder(name: str, folder: Path | None) -> None:
    """Raise ValueError where an output folder, or one above it, is a file or write-protected."""
    if folder is not None:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
            fault = "cannot be written" if existing.is_dir() else "is a file"
            raise ValueError(f"{flag(name)} {folder}: {existing} {fault}, give another folder")

"""What a run found damaged and went on without: said at once, again at the end, and exit code 1."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

_found: list[str] = []


def fault(message: str) -> None:
    """Report something damaged that is skipped, once."""
    if message not in _found:
        _found.append(message)
        tqdm.write(f"warning: {message}", file=sys.stderr)


@contextmanager
def collecting() -> Iterator[list[str]]:
    """Faults from here on."""
    _found.clear()
    yield _found

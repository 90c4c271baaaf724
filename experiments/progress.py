"""A progress bar on a terminal, and plain lines where somebody keeps what is printed."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

_SECONDS = 60.0  # between two lines, unless a tenth has ended before


class Lines(tqdm):
    """The same words as lines of their own: at every tenth, every minute and every new task."""

    disable: bool

    def __init__(self, *args, **options):
        self.shown = (-1, "", 0.0)
        super().__init__(*args, mininterval=0, ascii=True, ncols=0, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write a line, if it is time for one."""
        del msg, pos
        tenth, said, now = 10 * self.n // max(self.total or 1, 1), self.desc, time.monotonic()
        is_due = (tenth, said) != self.shown[:2] or now - self.shown[2] >= _SECONDS
        if said and is_due:
            self.shown = tenth, said, now
            self.fp.write(f"{self}\n")
            self.fp.flush()

    def close(self) -> None:
        """End without the line break that a bar needs."""
        if not self.disable:
            self.disable = True
            self._decr_instances(self)

    def clear(self, *_, **__) -> None:
        """Nothing is ever taken back."""


@contextmanager
def progress_bar(total: int, unit: str = "step", initial: int = 0) -> Iterator[tqdm]:
    """A bar over ``total`` steps on stderr, ``initial`` of them done; none over no steps."""
    kind = tqdm if sys.stderr.isatty() else Lines
    with kind(total=total, unit=unit, initial=initial, disable=not total) as bar:
        yield bar

"""Every error that a user can meet is provoked, and says what its table says.

The tables, `errors_*.py`, have the words of a message and what brings it about. That none is
missing is checked against the code, in the slow suite: each of its lines that makes an error has to
be run by a case.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from support import errors_checkpoints, errors_commands, errors_library
from support.error_sites import sites, watched

TABLES: dict[str, dict[str, Callable[[Path], object]]] = {
    "dsg_jax": errors_library.CASES,
    "experiments": errors_commands.CASES,
    "checkpoints_convert": errors_checkpoints.CASES,
}
"""Package -> part of the message -> what provokes it, given an empty folder."""


def said_by(provoke: Callable[[Path], object], folder: Path, capsys) -> str:
    """What the user reads: on stderr, or in the exception and its causes."""
    chain = []
    try:
        provoke(folder)
    except (Exception, SystemExit) as raised:
        error: BaseException | None = raised
        while error is not None:
            chain.append(str(error))
            error = error.__cause__
    return "\n".join([capsys.readouterr().err, *chain])


@pytest.mark.parametrize("package", TABLES)
def test_every_case_says_so(package, tmp_path, capsys):
    said = dict(outcomes(package, tmp_path, capsys, nullcontext))
    assert not {says: text for says, (text, _) in said.items() if says not in text}


@pytest.mark.slow
@pytest.mark.parametrize("package", TABLES)
def test_every_error_is_provoked(package, tmp_path, capsys):
    """Each line that makes an error is run by a case, and each case runs one: takes minutes."""
    lines = sites(package)
    runs = [run for _, (_, run) in outcomes(package, tmp_path, capsys, lambda: watched(lines))]
    assert all(runs)
    assert not sorted(lines - set().union(*runs))


def outcomes(package: str, folder: Path, capsys, watching: Callable) -> Iterator:
    """Of every case what a user reads, and what ``watching()`` saw meanwhile."""
    for number, (says, provoke) in enumerate(TABLES[package].items()):
        place = folder / str(number)
        place.mkdir()
        with watching() as seen:
            said = said_by(provoke, place, capsys)
        yield says, (said, seen)

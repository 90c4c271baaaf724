"""Every error that a user can meet is provoked, and says what its table says.

The tables, `errors_*.py`, have the words of a message and what brings it about. That none is
missing is checked against the code: each of its lines that makes an error has to be run by a case.
"""

from collections.abc import Callable
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
def test_every_error_is_provoked(package, tmp_path, capsys):
    lines = sites(package)
    reached, wrong = set(), {}
    for number, (says, provoke) in enumerate(TABLES[package].items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        with watched(lines) as run:
            said = said_by(provoke, folder, capsys)
        reached |= run
        if says not in said or not run:
            wrong[says] = said, run
    assert not wrong
    assert not sorted(lines - reached)

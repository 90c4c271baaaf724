"""Files that ask for much time or memory: work is counted before it is done."""

import pytest

from support.bombs import BOMBS
from support.golden_models import run


@pytest.mark.timeout(20)
@pytest.mark.parametrize("does", BOMBS)
def test_a_file_that(does, tmp_path, capsys):
    make, says = BOMBS[does]
    run("inspect", make(tmp_path))
    said = capsys.readouterr()
    assert says in said.out + said.err and said.err.count("\n") <= 1

"""The README's library example runs as printed, and its tables are those of the program."""

import re
from pathlib import Path

from dsg_jax.operators.tasks import TASKS
from dsg_jax.solvers import SOLVERS

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_library_example_runs():
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    (example,) = blocks
    assert len([line for line in example.splitlines() if line]) <= 15
    names: dict = {}
    exec(example, names)
    assert names["samples"].shape == (4, 64, 64, 3) and names["info"].finite.all()


def test_the_table_of_solvers():
    row = r"^\| `([\w-]+)` \| ([\w ]+) \| (\w+)s \| (any|linear) \|$"
    rows = re.findall(row, README, re.MULTILINE)
    assert rows == [(s.name, s.title, s.prior, s.operator) for s in SOLVERS.values()]


def test_the_table_of_tasks():
    table = README.partition("| task |")[2].partition("\n\n")[0]
    named = re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in table.split("\n")[2:]))
    assert sorted(named) == sorted(TASKS)

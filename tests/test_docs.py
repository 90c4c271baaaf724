"""What README and docs say exists: the example runs, tables, names and links are true."""

import pkgutil
import re
from pathlib import Path

import pytest

from dsg_jax.operators.tasks import TASKS
from dsg_jax.solvers import SOLVERS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PACKAGES = "dsg_jax|experiments|checkpoints_convert"


def test_the_library_example_runs():
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    (example,) = blocks
    assert len([line for line in example.splitlines() if line]) <= 15
    names: dict = {}
    exec(example, names)
    assert names["samples"].shape == (4, 64, 64, 3) and names["info"].finite.all()


def test_the_table_of_solvers():
    row = r"^\| `([\w-]+)` \| ([\w -]+) \| (\w+)s \| (any|linear) \|$"
    rows = re.findall(row, README, re.MULTILINE)
    assert rows == [(s.name, s.title, s.prior, s.operator) for s in SOLVERS.values()]


def test_the_table_of_tasks():
    table = README.partition("| task |")[2].partition("\n\n")[0]
    named = re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in table.split("\n")[2:]))
    assert sorted(named) == sorted(TASKS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_paths_and_links(page):
    text = page.read_text()
    for name in set(re.findall(rf"`((?:{PACKAGES})(?:\.\w+)+)", text)):
        pkgutil.resolve_name(name)
    paths = {ROOT / p for p in re.findall(rf"`((?:{PACKAGES}|tests|docs|reports)/[\w/.-]+)`", text)}
    links = re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", text)
    missing = [p for p in paths | {page.parent / link for link in links} if not p.exists()]
    assert not missing

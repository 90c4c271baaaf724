"""The README's library example runs as printed."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_library_example_runs():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    (example,) = blocks
    assert len([line for line in example.splitlines() if line]) <= 15
    names: dict = {}
    exec(example, names)
    assert names["samples"].shape == (4, 64, 64, 3)
    assert bool(names["info"].finite.all())

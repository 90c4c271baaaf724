"""The README's library example runs as printed."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_library_example_runs():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) == 1 and len(blocks[0].splitlines()) <= 18
    names: dict = {}
    exec(blocks[0], names)
    assert names["samples"].shape == (4, 64, 64, 3)
    assert bool(names["info"].finite.all())

"""The complete examples of docs/own.md, as files."""

import re
from pathlib import Path

_PAGE = Path(__file__).parents[2] / "docs" / "own.md"
# File name -> text.
EXAMPLES = {
    text.partition("\n")[0].removeprefix("# "): text
    for text in re.findall(r"```python\n(.*?)```", _PAGE.read_text(), re.DOTALL)
}


def write_examples(folder: Path) -> None:
    """Put the examples into a folder."""
    for name, text in EXAMPLES.items():
        (folder / name).write_text(text)

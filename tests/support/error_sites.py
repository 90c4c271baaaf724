"""Where the code raises or reports an error, and which of these lines were run."""

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FrameType

ROOT = Path(__file__).parents[2]
REPORTS = {"fault", "say", "exit"}
"""Functions that tell the user of something wrong, and do not raise."""

Site = tuple[str, int]
"""File, relative to the repository, and line of a statement."""


def sites(package: str) -> set[Site]:
    """Every statement in a package that makes an error, or reports one."""
    errors = set()
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if makes_error(node):
                errors.add((str(path.relative_to(ROOT)), node.lineno))
    return errors


def makes_error(node: ast.AST) -> bool:
    """Whether a statement is ``raise Error(...)``, or a call of one of `REPORTS`."""
    if isinstance(node, ast.Raise):
        return isinstance(node.exc, ast.Call)
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and node.value.args):
        return False
    called = node.value.func
    return getattr(called, "id", getattr(called, "attr", "")) in REPORTS


@contextmanager
def watched(lines: set[Site]) -> Iterator[set[Site]]:
    """Collects which of these lines are run inside the block."""
    reached: set[Site] = set()
    places = {(str(ROOT / name), line): (name, line) for name, line in lines}
    files = {name for name, _ in places}

    def line_by_line(frame: FrameType, event: str, _: object):
        site = places.get((frame.f_code.co_filename, frame.f_lineno))
        if site and event == "line":
            reached.add(site)
        return line_by_line

    @cache
    def has_site(code: CodeType) -> bool:
        return any((code.co_filename, line) in places for _, _, line in code.co_lines())

    def calls(frame: FrameType, event: str, _: object):
        code = frame.f_code
        return line_by_line if code.co_filename in files and has_site(code) else None

    before = sys.gettrace()
    sys.settrace(calls)
    try:
        yield reached
    finally:
        sys.settrace(before)

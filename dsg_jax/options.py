"""Options of solvers and tasks, read from the source of the functions that take them.

An option is a keyword-only argument. Its name, type, default and its line in the docstring's
``Args`` are all there is to say of it, and reading them takes no import: a command line knows every
option without jax.
"""

import ast
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union

_TYPES: dict[str, Any] = {"int": int, "float": float, "str": str, "bool": bool, "Path": Path}
PACKAGE = Path(__file__).parent


class Option(NamedTuple):
    """A keyword-only argument of a function.

    Attributes:
      type: a type or union of int, float, str, bool, Path and `Literal`, without None (the
        default).
      text: what the docstring says of the argument.
      is_on: whether it is True where it is not given, so that only False says anything.
    """

    name: str
    type: Any
    text: str
    is_on: bool = False


@cache
def options_of(module: str, function: str) -> dict[str, Option]:
    """The options of a function by name.

    Args:
      module: of this package, such as "solvers.dps".
      function: its name at the top level of the module.

    Raises:
      ValueError: there is no such function.
    """
    place = PACKAGE / module.replace(".", "/")
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return options_in(file.read_text(), function, file.name)


@cache
def options_in(source: str, function: str, file: str) -> dict[str, Option]:
    """The options of a function by name.

    Args:
      source: text of the file that has it at its top level.
      function: its name.
      file: the file's name, for the error.

    Raises:
      ValueError: there is no such function.
    """
    body = ast.parse(source).body
    aliases = {
        node.targets[0].id: node.value
        for node in body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            texts = _argument_texts(ast.get_docstring(node) or "")
            return {
                one.arg: Option(
                    one.arg,
                    _type_of(one.annotation, aliases),
                    texts.get(one.arg, ""),
                    isinstance(default, ast.Constant) and default.value is True,
                )
                for one, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            }
    raise ValueError(f"{file} has no function {function}: give it the entry's name")


def _type_of(annotation: ast.expr | None, aliases: dict[str, ast.expr]) -> Any:
    """The type that an annotation means; members of a union that are not `_TYPES` are dropped."""
    if isinstance(annotation, ast.BinOp):
        members = [_type_of(side, aliases) for side in (annotation.left, annotation.right)]
        known = [member for member in members if member is not None]
        return Union[tuple(known)] if known else None  # noqa: UP007
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Literal":
        return Literal[ast.literal_eval(annotation.slice)]
    if isinstance(annotation, ast.Name):
        if annotation.id in aliases:
            return _type_of(aliases[annotation.id], aliases)
        return _TYPES.get(annotation.id)
    return None


def _argument_texts(docstring: str) -> dict[str, str]:
    """Name -> words, from the section ``Args:`` of a Google docstring."""
    texts: dict[str, str] = {}
    inside, name, first = False, "", 0  # columns before the first argument
    for line in docstring.splitlines():
        depth = len(line) - len(line.lstrip())
        if not depth:
            inside = line.strip() == "Args:" or (inside and not line.strip())
        elif inside and depth <= (first := first or depth):
            name, _, words = line.strip().partition(": ")
            texts[name] = words
        elif inside:
            texts[name] += f" {line.strip()}"
    return {key: words.rstrip(".") for key, words in texts.items()}

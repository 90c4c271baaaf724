"""Functions of a user's own file, named FILE.py:NAME; `user_entries` makes entries of them.

The file is trusted code. It is read once in a command, for what its functions take, and runs as a
module when one of them is first called. This module takes no jax.
"""

import ast
import hashlib
import re
import sys
import traceback
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from dsg_jax.bounded import MAX_JSON, read_bounded
from dsg_jax.options import Option, options_in

# FILE.py:NAME, to which `calibrate` may add an ending.
NAMED = re.compile(r"(?P<file>.*\.py):(?P<function>[A-Za-z_]\w*)")
# What a function is -> its positional arguments. `settings_for` stands beside a solver.
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "solver": ("prior", "problem", "projection", "settings"),
    "settings_for": ("task", "clock"),
    "task": ("rng", "shape"),
    "prior": (),
    "rank rule": ("energy", "tau"),
}


class UserCodeError(ValueError):
    """What is wrong with a user's file, with the place in it, in one line."""


class UserFunction:
    """A function of a user's file, as the file was when it was read.

    Attributes:
      file: its path as typed.
      function: its name.
      content: bytes of the file.
    """

    def __init__(self, name: str):
        match = NAMED.fullmatch(name)
        assert match, name
        self.file, self.function = match["file"], match["function"]
        try:
            self.content = read_bounded(self.file, MAX_JSON)
            self.nodes  # noqa: B018  (it is parsed here)
        except SyntaxError as error:
            raise UserCodeError(f"{self.file}, line {error.lineno}: {error.msg}") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserCodeError(f"{name}: {self.file} cannot be read: {reason}") from error

    @cached_property
    def nodes(self) -> list[ast.stmt]:
        """The statements of the file."""
        return ast.parse(self.content, self.file).body

    @property
    def module(self) -> ModuleType:
        """The file, run."""
        return _run(self.file, self.content)

    @property
    def hash(self) -> str:
        """Of the file."""
        return hashlib.sha256(self.content).hexdigest()[:16]

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call the function."""
        return getattr(self.module, self.function)(*args, **options)

    def definition(self, function: str) -> ast.FunctionDef | None:
        """Where the file defines a function, at its top level."""
        nodes = [n for n in self.nodes if isinstance(n, ast.FunctionDef) and n.name == function]
        return nodes[-1] if nodes else None

    def place(self, function: str | None = None) -> str:
        """'FILE.py, line N' of a function, this one if no other is named."""
        node = self.definition(function or self.function)
        return f"{self.file}, line {node.lineno}" if node else self.file

    def check(self, kind: str, function: str | None = None) -> None:
        """Refuse a function, this one if no other is named, that is not of a key of `ARGUMENTS`.

        Raises:
          UserCodeError: there is none, or it takes other arguments.
        """
        function = function or self.function
        node = self.definition(function)
        if node is None:
            known = [node.name for node in self.nodes if isinstance(node, ast.FunctionDef)]
            raise UserCodeError(
                f"{self.file} defines no function {function}, only {', '.join(known) or 'none'}"
            )
        takes = [one.arg for one in (*node.args.posonlyargs, *node.args.args)]
        if len(takes) != len(ARGUMENTS[kind]):
            raise UserCodeError(
                f"{self.place(function)}: {function} takes ({', '.join(takes)}), and a {kind}"
                f" takes ({', '.join(ARGUMENTS[kind])}) and options by keyword only"
            )
        if kind == "settings_for" and node.returns is None:
            raise UserCodeError(f"{self.place(function)}: write behind it -> and what it returns")

    def options(self, function: str | None = None) -> dict[str, Option]:
        """The keyword-only arguments of a function, this one if no other is named.

        Raises:
          UserCodeError: one is of no type that a command line has.
        """
        function = function or self.function
        options = options_in(self.content.decode(), function, self.file)
        for option in options.values():
            if option.type is None:
                raise UserCodeError(
                    f"{self.place(function)}: {option.name} of {function} has no type that an"
                    " option may have: write int, float, str, bool, Path or Literal"
                )
        return options

    def constants(self, **choices: tuple) -> dict[str, Any]:
        """What the file states as constants in capitals, such as ``LINEAR = False``.

        Args:
          **choices: name in small letters -> the values that are allowed.

        Raises:
          UserCodeError: another value.
        """
        facts = {}
        for node in self.nodes:
            if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
                continue
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name):
                name = target.id
                if name.isupper() and name.lower() in choices:
                    value, allowed = ast.unparse(node.value), choices[name.lower()]
                    if value not in map(repr, allowed):
                        raise UserCodeError(
                            f"{self.file}, line {node.lineno}: {name} = {value}: choose from"
                            f" {', '.join(map(repr, allowed))}"
                        )
                    facts[name.lower()] = ast.literal_eval(node.value)
        return facts


# Name as typed -> its function; the same name is read again where it is named again.
FUNCTIONS: dict[str, UserFunction] = {}


def is_user_code(name: object) -> bool:
    """Whether a name is of the form FILE.py:NAME."""
    return NAMED.fullmatch(str(name)) is not None


def read(name: str, kind: str) -> UserFunction:
    """Read FILE.py:NAME as a key of `ARGUMENTS`.

    Raises:
      UserCodeError: there is no such file or function, or it is none of this kind.
    """
    FUNCTIONS[name] = UserFunction(name)
    FUNCTIONS[name].check(kind)
    return FUNCTIONS[name]


def file_name(name: str) -> str:
    """A name as part of a file's name: "my/fog.py:fog" is fog.py-fog, built-in ones as they are."""
    match = NAMED.match(name)
    if match is None:
        return name
    return f"{Path(match['file']).name}-{match['function']}{name[match.end() :]}"


def code_facts(*names: str | None) -> dict[str, dict[str, str]]:
    """What a record holds of names that are of user code: the hash of every file; else nothing."""
    functions = [FUNCTIONS[name] for name in names if name in FUNCTIONS]
    return {"code": {f.file: f.hash for f in functions}} if functions else {}


def place_of(error: BaseException) -> str:
    """'FILE.py, line N': the innermost line of a user's file that an error came through, or ''."""
    files = {function.file for function in FUNCTIONS.values()}
    frames = traceback.walk_tb(error.__traceback__)
    places = [(frame.f_code.co_filename, line) for frame, line in frames]
    inside = [f"{file}, line {line}" for file, line in places if file in files]
    return inside[-1] if inside else ""


@cache
def _run(file: str, content: bytes) -> ModuleType:
    """A file's content as a module; no bytecode is cached, so that what runs is what was hashed."""
    module = ModuleType(f"user_code_{hashlib.sha256(content).hexdigest()[:16]}")
    module.__file__ = file
    sys.modules[module.__name__] = module  # where dataclasses look up their annotations
    exec(compile(content, file, "exec"), module.__dict__)
    return module

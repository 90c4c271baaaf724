"""The command line of a settings type: tyro makes it of the fields, their types and their words.

Options of tasks and solvers are keyword arguments in `dsg_jax`; here they are read from its source,
without jax, and become options too. ``--settings FILE`` is TOML with the tables and names that
``run.json`` shows; the command line wins over it.
"""

import contextlib
import dataclasses
import io
import itertools
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import field, is_dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro

from dsg_jax.bounded import MAX_JSON, read_bounded
from dsg_jax.operators.tasks import TASKS
from dsg_jax.solvers import SOLVERS
from experiments.checks import flag
from experiments.user_words import check_names, register_named

Settings = TypeVar("Settings")
# What the metadata of a field may name: lists of entries with a ``name`` and ``options``.
ENTRIES: dict[str, Mapping[str, Any]] = {"task": TASKS, "solver": SOLVERS}
# Words that stand for several entries.
EVERY = {"task": ("all",), "solver": ()}
_MARKERS = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)
_LARGEST_FLOAT32 = 3.4e38
_WIDE = "10000"  # columns, so that tyro breaks no line of an error


class UsageError(ValueError):
    """A command line or settings file that cannot be understood, in one line."""


def parse(settings_type: type[Settings], argv: list[str], prog: str, words: str) -> Settings:
    """Settings from the words of a command line and from the file of ``--settings``.

    Args:
      settings_type: a frozen dataclass; fields that are dataclasses are groups of options.
      argv: the words after the command's name.
      prog: the command as the user types it, for the help.
      words: what the command does, for the help.

    Raises:
      UsageError: a word, a value or the file is wrong.
      SystemExit: after ``--help``.
    """
    argv, file, table = _split_off_file(argv)
    try:
        register_named(argv, table)
        flags = _flags_type(settings_type)
        check_names(flags)
    except ValueError as error:
        raise UsageError(str(error)) from error
    with _errors_in_one_line(argv, prog):
        values = tyro.cli(
            flags,
            prog=prog,
            description=f"{words}. --settings FILE takes TOML with what run.json shows.",
            args=argv,
            default=_from_table(flags, table, file) if file else None,
            config=_MARKERS,
        )
    settings = _settings_of(settings_type, values)
    _check_finite(settings)
    return settings


def _check_finite(value: Any, name: str = "") -> None:
    """Raise UsageError where an option is a number that float32 does not have."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        for key, entry in value.items():
            _check_finite(entry, key)
    elif isinstance(value, tuple):
        for entry in value:
            _check_finite(entry, name)
    elif isinstance(value, float) and not abs(value) < _LARGEST_FLOAT32:
        raise UsageError(f"{flag(name)} {value}: give a finite number, below 3.4e38")


def _flags_type(settings_type: Any) -> Any:
    """The settings type as tyro takes it: options spelled out, choices named, empty hints away."""
    hints = get_type_hints(settings_type)
    entries: list[tuple[str, Any, Any]] = []
    for one in dataclasses.fields(settings_type):
        kind: Any = hints[one.name]
        default = one.default
        if "options" in one.metadata:
            kind = _options_type(one.name, ENTRIES[one.metadata["options"]])
        elif is_dataclass(kind):
            kind = _flags_type(kind)
        if is_dataclass(kind):
            group: Any = kind
            entries.append((one.name, group, field(default_factory=group)))
            continue
        if "choices" in one.metadata:
            names = EVERY[one.metadata["choices"]] + tuple(ENTRIES[one.metadata["choices"]])
            choices: Any = Literal[names]  # type: ignore[valid-type]
            kind = tuple[choices, ...]
        if one.metadata.get("positional"):
            kind = tyro.conf.Positional[kind]  # type: ignore[misc]
        if default in (None, ()):
            kind = Annotated[kind, tyro.conf.arg(help_behavior_hint="")]
        entries.append((one.name, kind, field(default=default)))
    documented = {"__doc__": settings_type.__doc__}
    return make_dataclass(
        settings_type.__name__,
        entries,
        bases=(settings_type,),
        frozen=True,
        kw_only=True,
        namespace=documented,
    )


def _options_type(name: str, entries: Mapping[str, Any]) -> Any:
    """A dataclass of the options of all entries, each None where it is not given."""
    owners: dict[str, list[str]] = {}
    options: dict[str, Any] = {}
    for entry in entries.values():
        for option in entry.options.values():
            owners.setdefault(option.name, []).append(entry.name)
            options.setdefault(option.name, option)
    fields: list[tuple[str, Any, Any]] = []
    for key, option in options.items():
        text = f"{', '.join(owners[key])}: {option.text}"
        option_type: Any = option.type
        kind: Any = Annotated[option_type | None, tyro.conf.arg(help=text, help_behavior_hint="")]
        if option.is_on:
            kind = tyro.conf.FlagConversionOff[kind]  # type: ignore[misc]
        fields.append((key, kind, None))
    about = "(what is not named is as published, or as the task has it)"
    documented = {"__doc__": f"{name.replace('_', ' ')} {about}"}
    return make_dataclass(name, fields, frozen=True, namespace=documented)


def _settings_of(settings_type: Any, flags: Any) -> Any:
    """A value of the settings type from one of its flags type."""
    values = {}
    hints = get_type_hints(settings_type)
    for one in dataclasses.fields(settings_type):
        value = getattr(flags, one.name)
        if "options" in one.metadata:
            value = {n: v for n, v in dataclasses.asdict(value).items() if v is not None}
        elif is_dataclass(hints[one.name]):
            value = _settings_of(hints[one.name], value)
        values[one.name] = value
    return settings_type(**values)


def _split_off_file(argv: list[str]) -> tuple[list[str], Path | None, dict[str, Any]]:
    """The words without ``--settings FILE``, the file, and what it holds."""
    if "--settings" not in argv:
        return argv, None, {}
    at = argv.index("--settings")
    if at + 1 == len(argv):
        raise UsageError("--settings names no file")
    path = Path(argv[at + 1])
    try:
        table = tomllib.loads(read_bounded(path, MAX_JSON).decode())
        return argv[:at] + argv[at + 2 :], path, table
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"--settings {path} cannot be read: {error}") from error


def _from_table(flags_type: Any, table: Mapping[str, Any], path: Path) -> Any:
    """A value of a flags type from a table of a settings file."""
    hints = get_type_hints(flags_type)
    known = [one.name for one in dataclasses.fields(flags_type)]
    unknown = [name for name in table if name not in known]
    if unknown:
        raise UsageError(f"--settings {path}: no {unknown[0]!r} there; known: {', '.join(known)}")
    values = {}
    for name, value in table.items():
        kind: Any = hints[name]
        if is_dataclass(kind):
            if not isinstance(value, Mapping):
                raise UsageError(f"--settings {path}: {name} is a table, write [{name}]")
            values[name] = _from_table(kind, value, path)
        else:
            values[name] = _converted(kind, value, f"--settings {path}: {name}")
    try:
        return flags_type(**values)
    except ValueError as error:
        raise UsageError(f"--settings {path}: {error}") from error


def _converted(kind: Any, value: Any, where: str) -> Any:
    """A TOML value as a field's type has it."""
    members = get_args(kind) if get_origin(kind) not in (None, tuple, Literal) else (kind,)
    for member in members:
        if get_origin(member) is tuple and isinstance(value, list):
            return tuple(_converted(get_args(member)[0], one, where) for one in value)
        if get_origin(member) is Literal and value in get_args(member):
            return value
        if member is Path and isinstance(value, str):
            return Path(value)
        if member is float and type(value) in (int, float):
            return float(value)
        if isinstance(member, type) and type(value) is member:
            return value
    raise UsageError(f"{where} = {value!r} is not of its type, {kind}")


@contextlib.contextmanager
def _errors_in_one_line(argv: list[str], prog: str) -> Iterator[None]:
    """Turn tyro's framed message on stderr into a `UsageError`."""
    asked = {"-h", "--help"} & set(argv)
    said = io.StringIO()
    columns = os.environ.get("COLUMNS")
    if not asked:
        os.environ["COLUMNS"] = _WIDE
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit as stopped:
        if stopped.code in (0, None):
            raise
        raise UsageError(f"{_first_paragraph(said.getvalue())} (see {prog} --help)") from None
    finally:
        if columns is None:
            os.environ.pop("COLUMNS", None)
        else:
            os.environ["COLUMNS"] = columns


def _first_paragraph(framed: str) -> str:
    """The message in a frame of tyro's, without the frame and without what it adds below."""
    lines = (line.strip("│ ") for line in framed.splitlines()[1:])
    body = " ".join(itertools.takewhile(lambda line: not set(line) <= set("─╰╯"), lines))
    return re.sub(r"^Error parsing [\w.]+: (?=--)", "", body)

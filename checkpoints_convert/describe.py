"""`list` and `inspect`: the known kinds, and what is inside a file, without loading a tensor."""

from collections.abc import Callable
from math import prod
from pathlib import Path

from checkpoints_convert.alike import told_apart
from checkpoints_convert.diffusers import configured, is_unet2d
from checkpoints_convert.kinds import KINDS
from checkpoints_convert.match import fits, recognise, unwrapped
from checkpoints_convert.read import Stored, open_checkpoint
from checkpoints_convert.schedules import stored_facts

_SHOWN = 40
_NESTED = "state_dict", "model", "ema", "net"


def plan_list() -> Callable[[], None]:
    """Nothing to check."""
    return print_kinds


def print_kinds() -> None:
    """One line a kind; nothing is downloaded, here or elsewhere."""
    width = max(map(len, KINDS))
    for name, kind in KINDS.items():
        print(f"{name:{width}}  {kind.origin}")


def plan_inspect(input: Path, all: bool) -> Callable[[], None]:
    """Open the file.

    Raises:
      CheckpointError, OSError: as `open_checkpoint`.
    """
    stored = open_checkpoint(input)
    return lambda: print_contents(stored, all)


def print_contents(stored: Stored, every: bool) -> None:
    """Groups of tensors or every one, other values, and the kind that it resembles."""
    tensors = stored.tensors
    count = sum(prod(tensor.shape) for tensor in tensors.values())
    print(f"{stored.path}: {stored.container}, {len(tensors)} tensors, {count:,} values")
    if every:
        for name, tensor in tensors.items():
            print(f"  {name} {tensor.shape} {tensor.dtype}")
    else:
        for line in _groups(stored):
            print(f"  {line}")
    for name, value in list(stored.values.items())[:_SHOWN]:
        print(f"  {name} = {value!r}" if isinstance(value, str) else f"  {name} = {value}")
    if len(stored.values) > _SHOWN:
        print(f"  and {len(stored.values) - _SHOWN} other values")
    print(verdict(stored))


def verdict(stored: Stored) -> str:
    """Which kind a file is, or how it differs from the one that it is most like."""
    try:
        tensors = unwrapped(stored.tensors)
        if is_unet2d(stored.path):
            name, why, kind = "unet2d", "its config.json", configured(KINDS["unet2d"], stored.path)
        else:
            name, why = recognise(tensors)
            name = told_apart(name, stored.path.name, stored_facts(tensors, stored.path))
            kind = KINDS[name].of(tensors)
    except ValueError as error:
        return str(error)
    fit = fits(tensors, name, kind)[0]
    if fit.perfect:
        return f"kind: {name}, {fit.layout.about}, for {why} and all else fit"
    return f"most like {name}, for {why}; but {fit.problems()}"


def _groups(stored: Stored) -> list[str]:
    """Tensors, values and types of those whose names share their first part, or two."""
    groups: dict[str, list] = {}
    for name, tensor in stored.tensors.items():
        parts = name.split(".")
        key = ".".join(parts[: 2 if parts[0] in _NESTED else 1])
        groups.setdefault(key, []).append(tensor)
    lines = []
    for key, members in groups.items():
        types = ", ".join(sorted({str(member.dtype) for member in members}))
        count = sum(prod(member.shape) for member in members)
        lines.append(f"{key}.*: {len(members)} tensors, {count:,} values, {types}")
    hidden = len(lines) - _SHOWN
    return lines[:_SHOWN] + ([f"and {hidden} other groups (--all)"] if hidden > 0 else [])

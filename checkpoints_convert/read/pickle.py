"""Interpret a pickle without running it.

A pickle is a program for a stack machine that imports what it names and calls it. This one knows
the instructions that `torch.save` writes (those of pickle protocols 2 to 5) and imports nothing:
see `pickle_records`. Dicts are lists of pairs, so that nothing is hashed or compared.
"""

from collections.abc import Callable
from mmap import mmap
from typing import Any, NamedTuple

from checkpoints_convert.read.pickle_machine import Machine
from checkpoints_convert.read.pickle_records import Global, Pairs, StorageRecord
from checkpoints_convert.read.stored import CheckpointError


class Unpickled(NamedTuple):
    """What a pickle describes.

    Args:
      tree: its object, of None, bool, int, float, str, list, tuple and `pickle_records`.
      storages: those it refers to, by their keys.
      tensors: how many it made, wherever they are.
      end: the position behind it.
      spent: the work that it took.
    """

    tree: Any
    storages: dict[str, StorageRecord]
    tensors: int
    end: int
    spent: int


def unpickle(
    content: mmap | bytes,
    start: int,
    end: int,
    inline: Callable[[tuple], StorageRecord] | None = None,
) -> Unpickled:
    """Interpret the pickle at a position of a file.

    Args:
      content: the file.
      start: where the pickle begins.
      end: where it must have ended.
      inline: as of `pickle_machine.Machine`.

    Raises:
      CheckpointError: it is cut off, malformed or of unreasonable length, uses an instruction or a
        reference that `torch.save` does not write, or misuses one of the allowed names.
    """
    machine = Machine(content, start, end, inline)
    while (code := machine.take(1)[0]) != ord("."):
        machine.spend(1)
        operation = _OPERATIONS.get(code)
        if operation is None:
            raise CheckpointError(f"its pickle has an unknown instruction, 0x{code:02x}")
        operation(machine)
    tree = machine.pop()
    return Unpickled(tree, machine.storages, machine.tensors, machine.position, machine.spent)


def _new_with_keywords(m: Machine) -> None:
    m.pop()
    m.call(m.pop())


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


_OPERATIONS: dict[int, Callable[[Machine], object]] = {
    ord(code): operation
    for code, operation in {
        # the program itself
        b"\x80": lambda m: m.proto(),
        b"\x95": lambda m: m.number("<Q"),
        # the stack and the memo
        b"(": lambda m: m.marks.append(len(m.stack)),
        b"0": lambda m: m.pop(),
        b"1": lambda m: m.pop_marked(),
        b"2": lambda m: m.stack.extend([m.pop()] * 2),
        b"q": lambda m: m.put(m.number("<B")),
        b"r": lambda m: m.put(m.number("<I")),
        b"\x94": lambda m: m.put(len(m.memo)),
        b"h": lambda m: m.get(m.number("<B")),
        b"j": lambda m: m.get(m.number("<I")),
        # plain values
        b"N": lambda m: m.push(None),
        b"\x88": lambda m: m.push(True),
        b"\x89": lambda m: m.push(False),
        b"K": lambda m: m.push(m.number("<B")),
        b"M": lambda m: m.push(m.number("<H")),
        b"J": lambda m: m.push(m.number("<i")),
        b"\x8a": lambda m: m.push(m.integer("<B")),
        b"\x8b": lambda m: m.push(m.integer("<i")),
        b"G": lambda m: m.push(m.number(">d")),
        b"U": lambda m: m.push(_text(m.counted("<B"))),
        b"T": lambda m: m.push(_text(m.counted("<i"))),
        b"\x8c": lambda m: m.push(_text(m.counted("<B"))),
        b"X": lambda m: m.push(_text(m.counted("<I"))),
        b"\x8d": lambda m: m.push(_text(m.counted("<Q"))),
        b"C": lambda m: m.push(m.blob("<B")),
        b"B": lambda m: m.push(m.blob("<I")),
        b"\x8e": lambda m: m.push(m.blob("<Q")),
        b"\x96": lambda m: m.push(m.blob("<Q")),
        # containers; sets become lists
        b")": lambda m: m.push(()),
        b"\x85": lambda m: m.push(m.pop_tuple(1)),
        b"\x86": lambda m: m.push(m.pop_tuple(2)),
        b"\x87": lambda m: m.push(m.pop_tuple(3)),
        b"t": lambda m: m.push(tuple(m.pop_marked())),
        b"]": lambda m: m.push([]),
        b"\x8f": lambda m: m.push([]),
        b"l": lambda m: m.push(m.pop_marked()),
        b"\x91": lambda m: m.push(m.pop_marked()),
        b"a": lambda m: m.extend([m.pop()]),
        b"e": lambda m: m.extend(m.pop_marked()),
        b"\x90": lambda m: m.extend(m.pop_marked()),
        b"}": lambda m: m.push(Pairs([])),
        b"d": lambda m: m.new_dict(),
        b"s": lambda m: m.fill(list(m.pop_tuple(2))),
        b"u": lambda m: m.fill(m.pop_marked()),
        # names and objects
        b"c": lambda m: m.push(Global(m.line(), m.line())),
        b"\x93": lambda m: m.name(),
        b"Q": lambda m: m.refer(),
        b"R": lambda m: m.call(m.pop()),
        b"\x81": lambda m: m.call(m.pop()),
        b"\x92": _new_with_keywords,
        b"b": lambda m: m.build(),
    }.items()
}

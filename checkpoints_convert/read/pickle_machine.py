"""The stack machine that `inert_pickle` interprets pickles with."""

import struct
from collections.abc import Callable
from mmap import mmap
from typing import Any

from checkpoints_convert.read.pickle_records import (
    Blob,
    Foreign,
    Global,
    Pairs,
    StorageRecord,
    TensorRecord,
    call,
    refer,
    set_state,
)
from checkpoints_convert.read.stored import HOSTILE, MAX_TENSORS, RESAVE, CheckpointError

# Published files have 1 MB and 100,000 instructions at most. An instruction of one byte can make an
# object of a hundred: the limits bound memory to some 100 MB, whatever the file says.
MAX_INSTRUCTIONS, MAX_BYTES = 400_000, 16 * 2**20
_MAX_INT_BYTES = 128
_FROM_BYTES = Global("torch.storage", "_load_from_bytes")


class Machine:
    """The stack machine's state, and what instructions do to it.

    Every method raises `CheckpointError` where the pickle is cut off, malformed, or of unreasonable
    length, or misuses one of the allowed names.

    Args:
      content: the file, or the pickle alone.
      position: where in it the next instruction is.
      end: where it must have ended.
      inline: the storage that the arguments of `torch.storage._load_from_bytes` hold.
    """

    def __init__(
        self,
        content: mmap | bytes,
        position: int,
        end: int,
        inline: Callable[[tuple], StorageRecord] | None = None,
    ):
        self.inline = inline
        self.content, self.position, self.end = content, position, end
        self.most = position + MAX_BYTES
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, StorageRecord] = {}
        self.spent = self.tensors = 0

    def spend(self, count: int) -> None:
        """Count work, and refuse too much of it."""
        self.spent += count
        if self.spent > MAX_INSTRUCTIONS:
            raise CheckpointError(f"its pickle has over {MAX_INSTRUCTIONS} instructions", HOSTILE)

    def skip(self, count: int) -> None:
        """Pass over the next bytes."""
        if count > self.end - self.position:
            raise CheckpointError(
                f"its pickle asks for {count} bytes, but {self.end - self.position} are left"
            )
        self.position += count
        if self.position > self.most:
            raise CheckpointError(f"its pickle has over {MAX_BYTES} bytes", HOSTILE)

    def take(self, count: int) -> bytes:
        """The next bytes."""
        self.skip(count)
        return self.content[self.position - count : self.position]

    def number(self, layout: str) -> Any:
        """The next bytes as one number."""
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def integer(self, layout: str) -> int:
        """An integer of counted length."""
        count = self.number(layout)
        if not 0 <= count <= _MAX_INT_BYTES:
            raise CheckpointError(f"its pickle has an integer of {count} bytes", HOSTILE)
        return int.from_bytes(self.take(count), "little", signed=True)

    def counted(self, layout: str) -> bytes:
        """Bytes of counted length."""
        count = self.number(layout)
        if count < 0:
            raise CheckpointError(f"its pickle has a string of {count} bytes")
        return self.take(count)

    def blob(self, layout: str) -> Blob:
        """Bytes of counted length, passed over."""
        count = self.number(layout)
        self.most += count
        start = self.position
        self.skip(count)
        return Blob(start, count)

    def line(self) -> str:
        """Text up to the end of a line."""
        at = self.content.find(b"\n", self.position, min(self.end, self.position + 1000))
        if at < 0:
            raise CheckpointError("its pickle has a name without an end")
        return self.take(at + 1 - self.position)[:-1].decode("utf-8", "replace")

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self, kind: type | None = None) -> Any:
        """Take the top value, of a type if one is given."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise CheckpointError("its pickle takes a value from an empty stack")
        value = self.stack.pop()
        if kind is not None and type(value) is not kind:
            raise CheckpointError(f"its pickle has {type(value).__name__} for {kind.__name__}")
        return value

    def pop_marked(self) -> list[Any]:
        """Take the values above the last mark."""
        if not self.marks:
            raise CheckpointError("its pickle returns to a mark that was not set")
        at = self.marks.pop()
        values = self.stack[at:]
        del self.stack[at:]
        return values

    def pop_tuple(self, count: int) -> tuple:
        """Take some values from the top."""
        return tuple([self.pop() for _ in range(count)][::-1])

    def put(self, index: int) -> None:
        """Remember the top value."""
        if not self.stack:
            raise CheckpointError("its pickle remembers a value of an empty stack")
        self.memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        """Repeat a remembered value."""
        if index not in self.memo:
            raise CheckpointError(f"its pickle repeats value {index}, which it has not remembered")
        self.push(self.memo[index])

    def proto(self) -> None:
        """Check the pickle's version."""
        if (version := self.number("<B")) > 5:
            raise CheckpointError(f"its pickle has protocol {version}; 2 to 5 are read", RESAVE)

    def extend(self, values: list[Any]) -> None:
        """Append values to the list below them; to a foreign object, nothing."""
        target = self.stack[-1] if self.stack else None
        if type(target) is list:
            target.extend(values)
        elif type(target) is not Foreign:
            raise CheckpointError(f"its pickle appends to {type(target).__name__}")

    def fill(self, values: list[Any]) -> None:
        """Set keys and values, in turn, of the dict below them; of a foreign object, none."""
        target = self.stack[-1] if self.stack else None
        if type(target) not in (Pairs, Foreign) or len(values) % 2:
            raise CheckpointError(f"its pickle sets {len(values)} keys of {type(target).__name__}")
        if type(target) is Pairs:
            target.items.extend(zip(values[::2], values[1::2], strict=True))

    def new_dict(self) -> None:
        """A dict of the keys and values above the last mark."""
        values = self.pop_marked()
        self.push(Pairs([]))
        self.fill(values)

    def call(self, arguments: Any) -> None:
        """Call the name below its arguments (`pickle_records.call`)."""
        if type(arguments) is tuple:
            self.spend(len(arguments))  # first: the same tuple may be the argument of every call
            self.spend(sum(len(a) for a in arguments if type(a) in (list, tuple)))
        target = self.pop()
        stored = self.inline if target == _FROM_BYTES and type(arguments) is tuple else None
        value = stored(arguments) if stored else call(target, arguments)
        if type(value) is TensorRecord:
            self.tensors += 1
        if self.tensors > MAX_TENSORS:
            raise CheckpointError(f"it has over {MAX_TENSORS} tensors", HOSTILE)
        self.push(value)

    def refer(self) -> None:
        """Look up a storage (`pickle_records.refer`)."""
        storage = refer(self.pop())
        if type(storage) is StorageRecord:
            known = self.storages.setdefault(storage.key, storage)
            if (known.dtype, known.total) != (storage.dtype, storage.total):
                name = storage.key[:80]
                raise CheckpointError(f"storage {name!a} has two types or sizes", HOSTILE)
        self.push(storage)

    def build(self) -> None:
        """Set the state of an object, or drop it (`pickle_records.set_state`)."""
        state = self.pop()
        set_state(self.stack[-1] if self.stack else None, state)

    def name(self) -> None:
        """A name from the stack."""
        name, module = self.pop(str), self.pop(str)
        self.push(Global(module, name))

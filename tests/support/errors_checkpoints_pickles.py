"""Refused pickles, and tensors that claim what their file does not hold; see test_errors.py."""

from collections.abc import Callable
from pathlib import Path
from unittest import mock
from zlib import crc32

from checkpoints_convert.__main__ import main
from checkpoints_convert.read import pickle_machine, torch_tree
from support.golden_case import read_arrays
from support.small_checkpoint import SIX, holding, name, op, storage, tensor, write, write_legacy

REBUILD = name("torch._utils", "_rebuild_tensor_v2")


def pickled(content: bytes) -> Callable[[Path], object]:
    """Inspects a file with this pickle."""
    return lambda folder: main(["inspect", str(write(folder, content))])


def held(pushed: bytes) -> Callable[[Path], object]:
    """Inspects a file whose dict holds what these instructions push."""
    return pickled(holding(w=pushed))


def limited(module, limit: str, value: int, count: int) -> Callable[[Path], object]:
    """Inspects a file of so many tensors, where a limit is lowered to a value."""

    def inspected(folder: Path):
        with mock.patch.object(module, limit, value):
            pickled(holding(**{f"w{k}": tensor() for k in range(count)}))(folder)

    return inspected


def seen_through(view: tuple) -> Callable[[Path], object]:
    """Inspects a legacy file whose tensor sees its storage through a view."""
    start = b"(" + op("storage") + name("torch", "FloatStorage") + op("0") + op("cpu") + op(6)
    content = holding(w=tensor(start + op(view) + b"tQ", size=(1,), stride=(1,)))
    return lambda folder: main(["inspect", str(write_legacy(folder, content))])


def damaged_values(folder: Path):
    path = write(folder, holding(w=tensor()))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(SIX, bytes(24)))
    read_arrays(path)


TWICE = b"\x80\x02}" + (op("w") + tensor() + b"s") * 2 + b"."
MODULE = name("torch.nn", "Module") + b")\x81" + holding(w=tensor())[2:-1] + b"b"

CASES: dict[str, Callable[[Path], object]] = {
    "its pickle has an unknown instruction, 0x49": held(b"I1\n"),
    "its pickle has over 4 instructions": limited(pickle_machine, "MAX_INSTRUCTIONS", 4, 1),
    "its pickle has over 8 bytes": limited(pickle_machine, "MAX_BYTES", 8, 1),
    "its pickle asks for 4294967295 bytes, but ": held(b"X\xff\xff\xff\xffabc"),
    "its pickle has an integer of 2147483647 bytes": held(b"\x8b\xff\xff\xff\x7f"),
    "its pickle has a string of -1 bytes": held(b"T\xff\xff\xff\xff"),
    "its pickle has a name without an end": held(b"cos" + b"m" * 2000),
    "its pickle takes a value from an empty stack": held(b"0000"),
    "its pickle has int for str": held(op(1) + op(2) + b"\x93"),
    "its pickle returns to a mark that was not set": held(b"t"),
    "its pickle remembers a value of an empty stack": pickled(b"\x80\x02q\x00}."),
    "its pickle repeats value 9, which it has not remembered": held(b"h\x09"),
    "its pickle has protocol 6; 2 to 5 are read (load it with PyTorch": held(b"\x80\x06N"),
    "its pickle appends to int": held(op(1) + op(2) + b"a"),
    "its pickle sets 2 keys of int": held(op(1) + op("k") + op(2) + b"s"),
    "it has over 1 tensors": limited(pickle_machine, "MAX_TENSORS", 1, 2),
    "storage '0' has two types or sizes": held(tensor() + b"0" + tensor(storage("IntStorage"))),
    "a tensor is built on 'torch.QInt8Storage', not on a known storage": held(
        tensor(storage("QInt8Storage"))
    ),
    "a tensor's shape and strides are not tuples": held(tensor(size=[2, 3])),
    "a parameter is built on StorageRecord, not on a tensor": held(
        name("torch._utils", "_rebuild_parameter") + b"(" + storage() + b"\x88}tR"
    ),
    "an ordered dict is made of something other than pairs": held(
        name("collections", "OrderedDict") + op(([1, 2],)) + b"R"
    ),
    "its pickle calls str": held(op("eval") + op(("1",)) + b"R"),
    "its pickle misuses torch._utils._rebuild_tensor_v2": held(REBUILD + b")R"),
    "its pickle sets the state of Global": held(REBUILD + op({"a": 1}) + b"b"),
    "its pickle refers to something that is not a storage": held(op("x") + b"Q"),
    "a storage's type, key or size is of the wrong type": held(tensor(storage(count=-6))),
    "the view of storage '0' is malformed": seen_through(("part", -2, 5)),
    "the view of storage '0' leaves it": seen_through(("part", 2, 5)),
    "it holds <list of 0>, not a dict of tensors (load it with PyTorch": pickled(b"\x80\x02]."),
    "it has over 2 tensors": limited(torch_tree, "MAX_TENSORS", 2, 3),
    "two tensors are named 'w'": pickled(TWICE),
    "it has no tensors (load it with PyTorch": pickled(holding(epoch=op(3))),
    "it has no tensors but 1 in objects of foreign classes": pickled(holding(model=MODULE)),
    "storage '1' is not in the file": held(tensor(storage(key="1"))),
    "storage '0' holds 24 bytes, but 7 float32 values are claimed": held(tensor(storage(count=7))),
    "it is nested over 24 deep": held(b"]q\x09h\x09a"),
    "it has over 3 values": limited(torch_tree, "MAX_VISITS", 3, 5),
    f"have checksum {crc32(bytes(24)):08x}, not {crc32(SIX):08x}": damaged_values,
    "2 axes and 1 strides": held(tensor(stride=(3,))),
    "offset, shape and strides [-1, 2, 3, 3, 1] are not all counts": held(tensor(offset=-1)),
    "a tensor of shape (2, 3), strides (3, 1), offset 1 leaves its storage of 6 elements": held(
        tensor(offset=1)
    ),
}

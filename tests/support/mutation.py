"""Seeded damage to checkpoint files: blind, and of the parts that their readers interpret."""

import struct
import zipfile
from io import BytesIO

import numpy as np

# Numbers that size checks tend to get wrong.
_EDGES = [0, 1, 2, 7, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62]
_EDGES += [2**63 - 1, 2**63, 2**64 - 1]

# Pickle instructions that call, import, set state, or claim sizes.
_INSTRUCTIONS = [
    b"cos\nsystem\nU\x0ctouch PWNED\x85R",
    b"c__builtin__\neval\nU\x011\x85R",
    b"cbuiltins\ngetattr\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch\nFloatStorage\n",
    b"ccollections\nOrderedDict\n",
    b"\x8c\x02os\x8c\x06system\x93",
    b"\x8e" + b"\xff" * 8,
    b"B\xff\xff\xff\x7f",
    b"X\xff\xff\xff\xff",
    b"\x8b\xff\xff\xff\x7f",
    b"\x96\xff\xff\xff\xff\x00\x00\x00\x00",
    b"r\xff\xff\xff\xff",
    b"(" * 40,
    b"]" * 40 + b"a" * 39,
    b"\x85" * 40,
    b"}" * 30,
    *(
        bytes([code])
        for code in b".012()tRbQeasu}]lNJKMGhjqr\x80\x81\x85\x86\x87\x88\x89\x8f\x90\x92"
    ),
]

# Pieces of a safetensors header.
_WORDS = [b'"F64"', b'"BF16"', b"[[[[[[", b"{", b"}", b"-1", b"1e9", b"NaN", b"null", b"\\u0000"]
_WORDS += [b"9" * 30, b'"__metadata__":', b'"a":{},', b'"../../a"', b"99999999999", b",", b'"']


def damage(content: bytes, rng: np.random.Generator, reach: int | None = None) -> bytes:
    """One to three random changes, most of them within the first (or, if negative, last) bytes."""
    mutated = bytearray(content)
    for _ in range(max(1, rng.integers(-1, 4))):
        if not mutated:
            break
        at = int(rng.integers(len(mutated)))
        if reach and rng.random() < 0.8:
            near = int(rng.integers(min(abs(reach), len(mutated))))
            at = near if reach > 0 else len(mutated) - 1 - near
        _CHANGES[rng.integers(len(_CHANGES))](mutated, at, rng)
    return bytes(mutated)


def damaged_pickle(archive: bytes, rng: np.random.Generator) -> bytes:
    """The same zip archive, with valid checksums, around a damaged pickle."""
    archive_file = BytesIO()
    with zipfile.ZipFile(BytesIO(archive)) as old, zipfile.ZipFile(archive_file, "w") as new:
        for member in old.namelist():
            stored = old.read(member)
            new.writestr(member, damage(stored, rng) if member.endswith("/data.pkl") else stored)
    return archive_file.getvalue()


def damaged_header(content: bytes, rng: np.random.Generator) -> bytes:
    """A safetensors file around a damaged header of the right length."""
    end = 8 + struct.unpack("<Q", content[:8])[0]
    header = damage(content[8:end], rng)
    return struct.pack("<Q", len(header)) + header + content[end:]


def _flip(mutated, at, rng):
    mutated[at] ^= 1 << rng.integers(8)


def _byte(mutated, at, rng):
    mutated[at] = rng.integers(256)


def _cut(mutated, at, rng):
    del mutated[at:]


def _drop(mutated, at, rng):
    del mutated[at : at + rng.integers(1, 40)]


def _number(mutated, at, rng):
    width = int(2 ** rng.integers(4))
    value = _EDGES[rng.integers(len(_EDGES))] % 256**width
    mutated[at : at + width] = value.to_bytes(width, "little")


def _decimal(mutated, at, rng):
    digits = [i for i in range(at, min(at + 200, len(mutated))) if 48 <= mutated[i] < 58]
    if digits:
        value = str(_EDGES[rng.integers(len(_EDGES))]).encode()
        mutated[digits[0] : digits[0] + rng.integers(0, 3)] = value


def _repeat(mutated, at, rng):
    piece = mutated[at : at + rng.integers(1, 60)]
    to = int(rng.integers(len(mutated)))
    mutated[to:to] = piece * int(rng.integers(1, 4))


def _instruct(mutated, at, rng):
    mutated[at:at] = _INSTRUCTIONS[rng.integers(len(_INSTRUCTIONS))]


def _word(mutated, at, rng):
    mutated[at:at] = _WORDS[rng.integers(len(_WORDS))]


_CHANGES = [_flip, _byte, _cut, _drop, _number, _decimal, _repeat, _instruct, _instruct, _word]

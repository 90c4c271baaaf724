"""The safetensors reader: right numbers from good files, one clear error from all others."""

import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from checkpoints_convert.read import open_checkpoint
from checkpoints_convert.read.stored import CheckpointError
from support.small_checkpoint import entry, write_safetensors


@pytest.mark.parametrize(
    "kind, dtype",
    [
        ("F32", np.float32),
        ("F16", np.float16),
        ("BF16", ml_dtypes.bfloat16),
        ("I64", np.int64),
        ("U8", np.uint8),
        ("BOOL", np.bool_),
        ("F64", np.float64),
        ("F8_E4M3", ml_dtypes.float8_e4m3fn),
    ],
)
def test_safetensors_types(tmp_path, kind, dtype):
    values = (np.arange(6) % 2).astype(dtype)
    header = {
        "b.w": entry(kind, (2, 3), 0, values.nbytes),
        "__metadata__": {"format": "pt" * 200, "a\n": "b\x1b"},
    }
    stored = open_checkpoint(write_safetensors(tmp_path, header, values.tobytes()))
    assert stored.container == "safetensors" and stored.values == {
        "format": "pt" * 100,
        "'a\\n'": "'b\\x1b'",
    }
    found = stored.tensors["b.w"].read()
    assert found.dtype == dtype and not found.flags.writeable
    np.testing.assert_array_equal(found, values.reshape(2, 3))


def test_safetensors_order_scalars_and_empty_tensors(tmp_path):
    header = {"late": entry(shape=(5,), begin=4), "first": entry(shape=(), end=4)}
    header["none"] = entry(shape=(0, 7), begin=24)
    stored = open_checkpoint(write_safetensors(tmp_path, header))
    assert list(stored.tensors) == ["late", "first", "none"]
    np.testing.assert_array_equal(stored.tensors["late"].read(), [1, 2, 3, 4, 5])
    assert stored.tensors["first"].read() == 0 and stored.tensors["none"].read().shape == (0, 7)


@pytest.mark.parametrize(
    "header, match",
    [
        ({"w": entry(), "v": entry(shape=(1,), begin=20)}, "overlap at byte"),
        ({"w": entry(shape=(5,), end=20)}, "belong to no tensor"),
        ({"w": entry(shape=(5,), begin=4)}, "belong to no tensor"),
        ({"w": entry(shape=(4, 3), end=48)}, "leave the file"),
        ({"w": entry(shape=(2**40, 2**40))}, "is said to have 24 bytes"),
        ({"w": entry(shape=(-2, -3))}, "malformed shape or range"),
        ({"w": entry(shape=(2.0, 3))}, "malformed shape or range"),
        ({"w": entry(shape=(True, 6))}, "malformed shape or range"),
        ({"w": entry(begin=24, end=0)}, "is said to have -24 bytes"),
        ({"w": entry(shape=(2**61,) * 200_000)}, "malformed shape or range"),
        ({"w": entry(begin=-24, end=0)}, "malformed shape or range"),
        ({"w": entry() | {"data_offsets": [0, 24, 24]}}, "malformed shape or range"),
        ({"w": entry("F4")}, "has type 'F4'"),
        ({"w": entry(["F32"])}, "has type"),
        ({"w": entry() | {"pickle": "x"}}, "not described by"),
        ({"w": 3}, "not described by"),
        ({"../../w": entry()}, "is named '../../w'"),
        ({"w\x1b[2J": entry()}, "is named"),
        ({"w": entry(), "__metadata__": {"a": 1}}, "not text by names"),
        ({}, "0 tensors"),
        (b'{"w": {"dtype": "F32"', "not JSON"),
        (b'{"w":' + b"[" * 100_000, "not JSON"),
        (b'{"w":' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"w": 1, "w": 2}', "one name twice"),
    ],
)
def test_refused_safetensors(tmp_path, header, match):
    with pytest.raises(CheckpointError, match=match):
        open_checkpoint(write_safetensors(tmp_path, header))


def test_safetensors_header_is_utf8(tmp_path):
    """Found by fuzzing: from bytes, JSON readers guess UTF-16 and import its codec."""
    header = json.dumps({"w": entry()}).encode("utf-16-le")
    with pytest.raises(CheckpointError, match="not JSON"):
        open_checkpoint(write_safetensors(tmp_path, header))


def test_safetensors_header_length(tmp_path):
    path = write_safetensors(tmp_path, {"w": entry()})
    whole = path.read_bytes()
    for length, match in [(2**63, "no known"), (2**24, "claims 16777216"), (len(whole), "claims")]:
        path.write_bytes(struct.pack("<Q", length) + whole[8:])
        with pytest.raises(CheckpointError, match=match):
            open_checkpoint(path)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's memory figures")
def test_little_of_a_large_file_stays_resident(tmp_path):
    each, parts = 2**24, 40  # 40 tensors of 64 MiB, in a file with holes
    header = {
        f"w{i}": entry(shape=(each,), begin=4 * each * i, end=4 * each * (i + 1))
        for i in range(parts)
    }
    path = write_safetensors(tmp_path, header, b"")
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size + 4 * each * parts)

    def resident() -> int:
        text = Path("/proc/self/status").read_text()
        return int(text.split("RssFile:")[1].split()[0]) * 1024

    before, stored = resident(), open_checkpoint(path)
    for weight in stored.tensors.values():
        assert weight.read().sum() == 0
        assert resident() - before < 2**28

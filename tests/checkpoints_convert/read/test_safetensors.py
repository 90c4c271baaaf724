"""The safetensors reader: right numbers from good files, one clear error from all others."""

import json
import struct
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from checkpoints_convert.read import open_checkpoint
from checkpoints_convert.read.safetensors import MAX_HEADER
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
    array = stored.tensors["b.w"].read()
    assert array.dtype == dtype and not array.flags.writeable
    np.testing.assert_array_equal(array, values.reshape(2, 3))


def test_safetensors_order_scalars_and_empty_tensors(tmp_path):
    header = {"late": entry(shape=(5,), begin=4), "first": entry(shape=(), end=4)}
    header["none"] = entry(shape=(0, 7), begin=24)
    stored = open_checkpoint(write_safetensors(tmp_path, header))
    assert list(stored.tensors) == ["first", "late", "none"]  # in the order of their bytes
    np.testing.assert_array_equal(stored.tensors["late"].read(), [1, 2, 3, 4, 5])
    assert stored.tensors["first"].read() == 0 and stored.tensors["none"].read().shape == (0, 7)


@pytest.mark.parametrize(
    "header, match",
    [
        ({"w": entry(shape=(5,), end=20)}, "not fully covered"),
        ({"w": entry(shape=(5,), begin=4)}, "invalid offset for tensor `w`"),
        ({"w": entry(shape=(2**40, 2**40))}, "overflow computing buffer size"),
        ({"w": entry(shape=(2.0, 3))}, "floating point `2.0`, expected usize"),
        ({"w": entry(shape=(True, 6))}, "boolean `true`, expected usize"),
        ({"w": entry(begin=24, end=0)}, "invalid offset"),
        ({"w": entry(shape=(1,) * 200_000 + (6,))}, "has 200001 axes"),
        ({"w": entry(shape=(0,) + (2**61,) * 200_000, begin=24)}, "header is refused|axes"),
        ({"w": entry() | {"data_offsets": [0, 24, 24]}}, "invalid length 3"),
        ({"w": entry(["F32"])}, "header is refused"),
        ({"w": entry("F4", end=3)}, "header is refused|has type 'F4'"),
        ({"w\x1b[2J": entry()}, "is named"),
        (b'{"w":' + b"9" * 5000 + b"}", "number out of range"),
        (b'{"w": 1, "w": 2}', "expected struct TensorInfo"),
        (json.dumps({"w": entry()}).encode("utf-16-le"), "invalid JSON"),
    ],
)
def test_refused_safetensors(tmp_path, header, match):
    with pytest.raises(CheckpointError, match=match) as caught:
        open_checkpoint(write_safetensors(tmp_path, header))
    assert str(caught.value).isprintable()


@pytest.mark.slow
@pytest.mark.parametrize(
    "header",
    [
        {f"{i:x}": entry(shape=(0,), end=0) for i in range(105_000)},
        {"w": entry(shape=(1,) * 3_100_000)},
    ],
)
def test_the_largest_headers_cost_little(tmp_path, header):
    """Three seconds on an idle core; the bound is for busy ones."""
    path = write_safetensors(tmp_path, json.dumps(header, separators=(",", ":")).encode())
    assert 5.8e6 < path.stat().st_size < MAX_HEADER
    began = time.process_time()
    with pytest.raises(CheckpointError, match="tensors, not 1 to 100000|axes|refused"):
        open_checkpoint(path)
    assert time.process_time() - began < 10


def test_safetensors_header_length(tmp_path):
    path = write_safetensors(tmp_path, {"w": entry()})
    whole = path.read_bytes()
    for length, match in [(2**63, "no known"), (2**22, "claims 4194304"), (len(whole), "claims")]:
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

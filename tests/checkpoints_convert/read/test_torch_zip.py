"""The zip-format reader: right numbers from good files, one clear error from all others.

More of the errors stand in `support.errors_checkpoints_pickles` and `_containers`.
"""

import hashlib
import json

import ml_dtypes
import numpy as np
import pytest

from checkpoints_convert.read import open_checkpoint
from checkpoints_convert.read.stored import CheckpointError
from support.golden_case import GOLDEN, read_arrays
from support.small_checkpoint import SIX, holding, name, op, storage, tensor, write

CHECKPOINTS = GOLDEN / "checkpoints"


def test_lightning_checkpoint():
    arrays = read_arrays(CHECKPOINTS / "tiny_ldm.ckpt")
    manifest = json.loads((CHECKPOINTS / "checkpoints.json").read_text())
    expected = manifest["state_dict_of_tiny_ldm"]
    inside = {k.removeprefix("state_dict."): a for k, a in arrays.items() if "state_dict." in k}
    assert list(inside) == list(expected)
    for key, entry in expected.items():
        value = inside[key]
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        assert (list(value.shape), str(value.dtype)) == (entry["shape"], entry["dtype"]), key
        assert digest.startswith(entry["sha256_16"]), key


def test_files_without_checksums_are_not_damaged(tmp_path, monkeypatch):
    """PyTorch's ``config.save.compute_crc32 = False`` leaves zeros in their place."""
    monkeypatch.setattr("zipfile.crc32", lambda *_: 0)
    stored = open_checkpoint(write(tmp_path, holding(w=tensor())))
    np.testing.assert_array_equal(stored.tensors["w"].read(), np.arange(6.0).reshape(2, 3))


def test_hostile_file_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stored = open_checkpoint(CHECKPOINTS / "hostile.pt")
    array = stored.tensors["state_dict.w"].read()
    np.testing.assert_array_equal(array, np.arange(6.0).reshape(2, 3))
    assert stored.values["callbacks.x"].startswith("<")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "module, attribute",
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("subprocess", "Popen"),
        ("torch._utils", "_rebuild_qtensor"),
        ("numpy", "load"),
        ("torch", "load"),
    ],
)
def test_every_other_name_is_inert(tmp_path, monkeypatch, module, attribute):
    monkeypatch.chdir(tmp_path)
    call = name(module, attribute) + op(("touch PWNED",)) + b"R"
    path = write(tmp_path, holding(bad=call + op({"a": 1}) + b"b", w=tensor()))
    stored = open_checkpoint(path)
    assert stored.values["bad"] == f"<{module}.{attribute}>"
    assert stored.tensors["w"].shape == (2, 3)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "kind, dtype",
    [
        ("FloatStorage", np.float32),
        ("DoubleStorage", np.float64),
        ("HalfStorage", np.float16),
        ("BFloat16Storage", ml_dtypes.bfloat16),
        ("LongStorage", np.int64),
        ("IntStorage", np.int32),
        ("ShortStorage", np.int16),
        ("CharStorage", np.int8),
        ("ByteStorage", np.uint8),
        ("BoolStorage", np.bool_),
    ],
)
def test_storage_types(tmp_path, kind, dtype):
    values = (np.arange(6) % 3).astype(dtype)
    pickled = holding(w=tensor(storage(kind)))
    content = read_arrays(write(tmp_path, pickled, [("0", values.tobytes())]))
    assert content["w"].dtype == dtype
    np.testing.assert_array_equal(content["w"], values.reshape(2, 3))


def test_views_share_one_read_only_storage(tmp_path):
    parameter = name("torch._utils", "_rebuild_parameter") + b"(" + tensor() + b"\x88}tR"
    old = name("torch.nn.parameter", "Parameter") + tensor() + b"\x85R" + op((True, {})) + b"b"
    pickled = holding(
        a=parameter,
        old=old,
        transposed=tensor(size=(3, 2), stride=(1, 3)),
        tail=tensor(offset=4, size=(2,), stride=(1,)),
        scalar=tensor(offset=5, size=(), stride=()),
        empty=tensor(offset=6, size=(0, 4), stride=(4, 1)),
    )
    content = read_arrays(write(tmp_path, pickled))
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(content["a"], values)
    np.testing.assert_array_equal(content["old"], values)
    np.testing.assert_array_equal(content["transposed"], values.T)
    np.testing.assert_array_equal(content["tail"], [4, 5])
    assert content["scalar"] == 5 and content["empty"].shape == (0, 4)
    assert np.shares_memory(content["a"], content["transposed"])
    assert not any(array.flags.writeable for array in content.values())


@pytest.mark.parametrize(
    "bad, match",
    [
        (tensor(offset=2**600), "not all counts"),
        (tensor(size=(3, 3)), "leaves its storage"),
        (tensor(size=(2**40, 2**40), stride=(0, 0)), "leaves its storage"),
        (tensor(size=(0, 2**61), stride=(1, 1)), "leaves its storage"),
        (tensor(size=(2, 3), stride=(-3, 1)), "not all counts"),
        (tensor(size=(2, 3), stride=(2**61, 1)), "leaves its storage"),
        (tensor(size=(2, 3), stride=(2**62, 1)), "not all counts"),
        (tensor(size=(1,) * 33, stride=(1,) * 33), "33 axes"),
        (tensor(size=(2.0, 3), stride=(3, 1)), "'float', 3, 3, 1. are not all counts"),
        (tensor(size=(True, 3), stride=(3, 1)), "not all counts"),
        (tensor(storage(count=5)), "holds 24 bytes, but 5 float32"),
        (tensor(storage("DoubleStorage")), "6 float64"),
        (tensor(storage(key="../../../etc/passwd")), "is not in the file"),
        (tensor(name("os", "system")), "'Global', not on a known storage"),
        (tensor(tensor()), "'TensorRecord', not on a known storage"),
        # instructions that set the state of what they can reach
        (name("torch", "FloatStorage") + op((3, ">", None, -1)) + b"b", "state of Global"),
        (storage() + op({"a": 1}) + b"b", "state of StorageRecord"),
        (b"\x8e" + b"\xff" * 8, "asks for 18446744073709551615 bytes"),
    ],
)
def test_refused_pickles(tmp_path, bad, match):
    with pytest.raises(CheckpointError, match=match):
        open_checkpoint(write(tmp_path, holding(w=bad)))
    good = read_arrays(write(tmp_path, holding(w=tensor())))  # and nothing was left behind
    np.testing.assert_array_equal(good["w"], np.arange(6.0).reshape(2, 3))


def test_truncated_or_flipped(tmp_path):
    whole = (CHECKPOINTS / "hostile.pt").read_bytes()
    path = tmp_path / "cut.pt"
    for length in (5, 100, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="cut off or damaged|checksum"):
            read_arrays(path)
    at = whole.index(SIX)
    path.write_bytes(whole[:at] + b"\x01" + whole[at + 1 :])
    with pytest.raises(CheckpointError, match="cut off or damaged|checksum"):
        read_arrays(path)

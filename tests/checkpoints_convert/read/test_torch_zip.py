"""The zip-format reader: right numbers from good files, one clear error from all others."""

import hashlib
import io
import json
import zipfile

import ml_dtypes
import numpy as np
import pytest

from checkpoints_convert.read.pickle_records import Foreign
from checkpoints_convert.read.stored import CheckpointError
from checkpoints_convert.read.torch_zip import read_torch_zip
from support.golden_case import GOLDEN
from support.small_checkpoint import SIX, holding, name, op, storage, tensor, write

CHECKPOINTS = GOLDEN / "checkpoints"


def test_lightning_checkpoint():
    content = read_torch_zip(CHECKPOINTS / "tiny_ldm.ckpt")
    manifest = json.loads((CHECKPOINTS / "checkpoints.json").read_text())
    assert list(content) == manifest["files"]["tiny_ldm.ckpt"]["top_level_keys"]
    expected = manifest["state_dict_of_tiny_ldm"]
    assert list(content["state_dict"]) == list(expected)
    for key, entry in expected.items():
        value = content["state_dict"][key]
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        assert (list(value.shape), str(value.dtype)) == (entry["shape"], entry["dtype"]), key
        assert digest.startswith(entry["sha256_16"]), key
    callback = content["callbacks"]["instance"]
    assert callback == Foreign("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint")


def test_hostile_file_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = read_torch_zip(CHECKPOINTS / "hostile.pt")
    np.testing.assert_array_equal(content["state_dict"]["w"], np.arange(6.0).reshape(2, 3))
    assert isinstance(content["callbacks"]["x"], Foreign)
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
    content = read_torch_zip(path)
    assert isinstance(content["bad"], Foreign)
    assert content["w"].shape == (2, 3)
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
    content = read_torch_zip(write(tmp_path, pickled, [("0", values.tobytes())]))
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
    content = read_torch_zip(write(tmp_path, pickled))
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
        (tensor(offset=1), "leaves its storage"),
        (tensor(offset=-1), "not all counts"),
        (tensor(offset=2**600), "not all counts"),
        (tensor(size=(3, 3)), "leaves its storage"),
        (tensor(size=(2**40, 2**40), stride=(0, 0)), "leaves its storage"),
        (tensor(size=(0, 2**61), stride=(1, 1)), "leaves its storage"),
        (tensor(size=(2, 3), stride=(-3, 1)), "not all counts"),
        (tensor(size=(2, 3), stride=(2**61, 1)), "leaves its storage"),
        (tensor(size=(2, 3), stride=(2**62, 1)), "not all counts"),
        (tensor(size=(2, 3), stride=(3,)), "2 axes and 1 strides"),
        (tensor(size=(1,) * 33, stride=(1,) * 33), "33 axes"),
        (tensor(size=(2.0, 3), stride=(3, 1)), "'float', 3, 3, 1. are not all counts"),
        (tensor(size=(True, 3), stride=(3, 1)), "not all counts"),
        (tensor(size=[2, 3]), "not tuples"),
        (tensor(storage(count=7)), "holds 24 bytes, but 7 float32"),
        (tensor(storage(count=5)), "holds 24 bytes, but 5 float32"),
        (tensor(storage(count=-6)), "size is of the wrong type"),
        (tensor(storage("DoubleStorage")), "6 float64"),
        (tensor(storage("QInt8Storage")), "'torch.QInt8Storage', not on a known storage"),
        (tensor() + b"0" + tensor(storage("IntStorage")), "two types or sizes"),
        (tensor(storage(key="1")), "storage '1' is not in the file"),
        (tensor(storage(key="../../../etc/passwd")), "is not in the file"),
        (tensor(name("os", "system")), "'Global', not on a known storage"),
        (tensor(tensor()), "'TensorRecord', not on a known storage"),
        (name("torch._utils", "_rebuild_parameter") + b"(" + storage() + b"\x88}tR", "StorageRec"),
        (name("torch._utils", "_rebuild_tensor_v2") + b")R", "misuses torch._utils._rebuild_tens"),
        (name("collections", "OrderedDict") + op(([1, 2],)) + b"R", "other than pairs"),
        (tensor() + op("x") + b"Q", "not a storage"),
        (op("eval") + op(("1",)) + b"R", "calls str"),
        # instructions that set the state of what they can reach
        (name("torch._utils", "_rebuild_tensor_v2") + op({"a": 1}) + b"b", "state of Global"),
        (name("torch", "FloatStorage") + op((3, ">", None, -1)) + b"b", "state of Global"),
        (storage() + op({"a": 1}) + b"b", "state of StorageRecord"),
        (b"0000", "takes a value from an empty stack"),
        (b"t", "mark that was not set"),
        (b"h\x09", "repeats value 9"),
        (b"I1\n", "unknown instruction, 0x49"),
        (b"\x80\x06N", "protocol 6"),
        (b"X\xff\xff\xff\xffabc", "asks for 4294967295 bytes, but"),
        (b"\x8e" + b"\xff" * 8, "asks for 18446744073709551615 bytes"),
        (b"\x8b" + b"\xff\xff\xff\x7f", "integer of 2147483647 bytes"),
        (b"T\xff\xff\xff\xff", "string of -1 bytes"),
        (b"cos" + b"m" * 2000, "name without an end"),
        (op(1) + b"a", "appends to"),
        (op(1) + op(1) + b"s", "sets 2 keys"),
    ],
)
def test_refused_pickles(tmp_path, bad, match):
    with pytest.raises(CheckpointError, match=match):
        read_torch_zip(write(tmp_path, holding(w=bad)))
    good = read_torch_zip(write(tmp_path, holding(w=tensor())))  # and nothing was left behind
    np.testing.assert_array_equal(good["w"], np.arange(6.0).reshape(2, 3))


def test_refused_archives(tmp_path):
    good = holding(w=tensor())
    with pytest.raises(CheckpointError, match="compressed"):
        read_torch_zip(write(tmp_path, good, compression=zipfile.ZIP_DEFLATED))
    with pytest.raises(CheckpointError, match="byte order"):
        read_torch_zip(write(tmp_path, good, extra=[("made/byteorder", b"big")]))
    with pytest.raises(CheckpointError, match="2 members"):
        read_torch_zip(write(tmp_path, good, extra=[("other/data.pkl", good)]))
    with pytest.warns(UserWarning, match="Duplicate"):
        path = write(tmp_path, good, extra=[("made/data/0", SIX)])
    with pytest.raises(CheckpointError, match="two members are named"):
        read_torch_zip(path)
    with pytest.raises(CheckpointError, match="holds <TensorRecord>, not a dict"):
        read_torch_zip(write(tmp_path, b"\x80\x02" + tensor() + b"."))
    empty = io.BytesIO()
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("readme", b"")
    path.write_bytes(empty.getvalue())
    with pytest.raises(CheckpointError, match="0 members"):
        read_torch_zip(path)


def test_wrong_formats(tmp_path):
    with pytest.raises(CheckpointError, match="not a zip archive"):
        read_torch_zip(CHECKPOINTS / "tiny_legacy.pt")
    path = tmp_path / "file.pt"
    for content in (b"", b"PK", b"<!DOCTYPE html>", b"\x89HDF\r\n"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="not a zip archive|empty"):
            read_torch_zip(path)


def test_truncated_or_flipped(tmp_path):
    whole = (CHECKPOINTS / "hostile.pt").read_bytes()
    path = tmp_path / "cut.pt"
    for length in (5, 100, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="cut off or damaged|checksum"):
            read_torch_zip(path)
    at = whole.index(SIX)
    path.write_bytes(whole[:at] + b"\x01" + whole[at + 1 :])
    with pytest.raises(CheckpointError, match="cut off or damaged|checksum"):
        read_torch_zip(path)

"""The checkpoint reader: right numbers from good files, one clear error from all others."""

import hashlib
import io
import json
import pickle
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from checkpoints_convert.torch_zip import Opaque, read_torch_zip
from golden_case import GOLDEN

CHECKPOINTS = GOLDEN / "checkpoints"
SIX = np.arange(6, dtype=np.float32).tobytes()


def op(value) -> bytes:
    """Pickle instructions that push a plain value."""
    return pickle.dumps(value, 2)[2:-1]


def name(module: str, attribute: str) -> bytes:
    """Pickle instructions that push a named object."""
    return f"c{module}\n{attribute}\n".encode()


def storage(kind="FloatStorage", key="0", count=6) -> bytes:
    return b"(" + op("storage") + name("torch", kind) + op(key) + op("cpu") + op(count) + b"tQ"


def tensor(pushed=None, offset=0, size=(2, 3), stride=(3, 1)) -> bytes:
    pushed = storage() if pushed is None else pushed
    view = op(offset) + op(size) + op(stride)
    return name("torch._utils", "_rebuild_tensor_v2") + b"(" + pushed + view + b"\x89}tR"


def holding(**values: bytes) -> bytes:
    """A pickle of the dict of the given pushed values."""
    items = b"".join(op(key) + value + b"s" for key, value in values.items())
    return b"\x80\x02}" + items + b"."


def write(folder: Path, content: bytes, storages=(("0", SIX),), extra=(), **zip_options) -> Path:
    path = folder / "made.pt"
    with zipfile.ZipFile(path, "w", **zip_options) as archive:
        archive.writestr("made/data.pkl", content)
        for key, stored in storages:
            archive.writestr(f"made/data/{key}", stored)
        for member, stored in extra:
            archive.writestr(member, stored)
    return path


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
    callback_class = next(iter(content["callbacks"]))
    assert issubclass(callback_class, Opaque) and callback_class.__name__ == "ModelCheckpoint"


def test_hostile_file_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = read_torch_zip(CHECKPOINTS / "hostile.pt")
    np.testing.assert_array_equal(content["state_dict"]["w"], np.arange(6.0).reshape(2, 3))
    assert isinstance(content["callbacks"]["x"], Opaque)
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
    assert isinstance(content["bad"], Opaque)
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
    pickled = holding(
        a=parameter,
        transposed=tensor(size=(3, 2), stride=(1, 3)),
        tail=tensor(offset=4, size=(2,), stride=(1,)),
        scalar=tensor(offset=5, size=(), stride=()),
        empty=tensor(offset=6, size=(0, 4), stride=(4, 1)),
    )
    content = read_torch_zip(write(tmp_path, pickled))
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(content["a"], values)
    np.testing.assert_array_equal(content["transposed"], values.T)
    np.testing.assert_array_equal(content["tail"], [4, 5])
    assert content["scalar"] == 5 and content["empty"].shape == (0, 4)
    assert np.shares_memory(content["a"], content["transposed"])
    assert not any(array.flags.writeable for array in content.values())


@pytest.mark.parametrize(
    "bad, match",
    [
        (tensor(offset=1), "leaves its storage"),
        (tensor(offset=-1), "not all ints"),
        (tensor(size=(3, 3)), "leaves its storage"),
        (tensor(size=(2**40, 2**40), stride=(0, 0)), "leaves its storage"),
        (tensor(size=(2, 3), stride=(-3, 1)), "not all ints"),
        (tensor(size=(2, 3), stride=(2**62, 1)), "leaves its storage"),
        (tensor(size=(2, 3), stride=(3,)), "one length"),
        (tensor(size=(2.0, 3), stride=(3, 1)), "not all ints"),
        (tensor(storage(count=7)), "holds 24 bytes, but 7 float32"),
        (tensor(storage(count=5)), "holds 24 bytes, but 5 float32"),
        (tensor(storage(count=-6)), "-6"),
        (tensor(storage("DoubleStorage")), "6 float64"),
        (tensor(storage("QInt8Storage")), "not a known storage"),
        (tensor(storage(key="1")), "'made/data/1' is not in the archive"),
        (tensor(storage(key="../../../etc/passwd")), "is not in the archive"),
        (tensor(name("os", "system")), "not on a storage"),
        (tensor(tensor()), "built on ndarray, not on a storage"),
        (name("torch._utils", "_rebuild_parameter") + b"(" + storage() + b"\x88}tR", "_Storage"),
        # instructions that set the state of what they can reach
        (name("torch._utils", "_rebuild_tensor_v2") + op({"a": 1}) + b"b", "damaged"),
        (name("torch", "FloatStorage") + op((3, ">", None, None, None, -1, -1, 0)) + b"b", "damag"),
        (name("collections", "OrderedDict") + op({"a": 1}) + b"b", "damaged"),
        (tensor() + op((1, (2, 3), None, False, b"")) + b"b", "damaged"),
        (op(1) + b"r\xff\xff\xff\x7f", "memo index"),
    ],
)
def test_refused_pickles(tmp_path, bad, match):
    with pytest.raises(ValueError, match=match):
        read_torch_zip(write(tmp_path, holding(w=bad)))
    good = read_torch_zip(write(tmp_path, holding(w=tensor())))  # and nothing was left behind
    np.testing.assert_array_equal(good["w"], np.arange(6.0).reshape(2, 3))


def test_refused_archives(tmp_path):
    good = holding(w=tensor())
    with pytest.raises(ValueError, match="compressed"):
        read_torch_zip(write(tmp_path, good, compression=zipfile.ZIP_DEFLATED))
    with pytest.raises(ValueError, match="byte order"):
        read_torch_zip(write(tmp_path, good, extra=[("made/byteorder", b"big")]))
    with pytest.raises(ValueError, match="2 members"):
        read_torch_zip(write(tmp_path, good, extra=[("other/data.pkl", good)]))
    with pytest.warns(UserWarning, match="Duplicate"):
        path = write(tmp_path, good, extra=[("made/data/0", SIX)])
    with pytest.raises(ValueError, match="one name"):
        read_torch_zip(path)
    with pytest.raises(ValueError, match="holds ndarray, not a dict"):
        read_torch_zip(write(tmp_path, b"\x80\x02" + tensor() + b"."))
    empty = io.BytesIO()
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("readme", b"")
    path.write_bytes(empty.getvalue())
    with pytest.raises(ValueError, match="0 members"):
        read_torch_zip(path)


def test_wrong_formats(tmp_path):
    with pytest.raises(ValueError, match="legacy format"):
        read_torch_zip(CHECKPOINTS / "tiny_legacy.pt")
    path = tmp_path / "file.pt"
    for content in (b"", b"PK", b"<!DOCTYPE html>", b"\x89HDF\r\n"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a PyTorch checkpoint"):
            read_torch_zip(path)


def test_truncated_or_flipped(tmp_path):
    whole = (CHECKPOINTS / "hostile.pt").read_bytes()
    path = tmp_path / "cut.pt"
    for length in (5, 100, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="truncated or damaged"):
            read_torch_zip(path)
    at = whole.index(SIX)
    path.write_bytes(whole[:at] + b"\x01" + whole[at + 1 :])
    with pytest.raises(ValueError, match="truncated or damaged"):
        read_torch_zip(path)


def test_random_damage_never_escapes(tmp_path, monkeypatch):
    """Single-byte changes of a pickle and of a file: a dict or a ValueError, nothing else."""
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(CHECKPOINTS / "hostile.pt") as archive:
        pickled = archive.read("hostile/data.pkl")
    whole = (CHECKPOINTS / "hostile.pt").read_bytes()
    rng, refused = np.random.default_rng(0), 0
    for trial in range(600):
        damaged = bytearray(pickled if trial % 2 else whole)
        damaged[rng.integers(len(damaged))] = rng.integers(256)
        path = write(tmp_path, bytes(damaged))
        if trial % 2 == 0:
            path.write_bytes(damaged)
        try:
            assert isinstance(read_torch_zip(path), dict)
        except ValueError:
            refused += 1
        assert list(tmp_path.iterdir()) == [path]
    assert 100 < refused < 600

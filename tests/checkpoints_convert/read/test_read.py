"""All formats through one door: legacy, safetensors, folders, and files that are none of these."""

import json
import tracemalloc
import zipfile

import numpy as np
import pytest

from checkpoints_convert.read import open_checkpoint, pickle_machine, torch_tree
from checkpoints_convert.read.stored import CheckpointError
from support.golden_case import GOLDEN
from support.small_checkpoint import (
    SIX,
    entry,
    holding,
    name,
    op,
    storage,
    tensor,
    write,
    write_legacy,
    write_safetensors,
)

CHECKPOINTS = GOLDEN / "checkpoints"
VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_golden_legacy_file_has_the_tensors_of_the_zip_file():
    legacy = open_checkpoint(CHECKPOINTS / "tiny_legacy.pt")
    expected = open_checkpoint(GOLDEN / "weights" / "vq.pt").tensors
    assert legacy.container == "torch legacy" and list(legacy.tensors) == list(expected)
    for key, stored in legacy.tensors.items():
        np.testing.assert_array_equal(stored.read(), expected[key].read())


def test_names_values_and_lazy_reading():
    stored = open_checkpoint(CHECKPOINTS / "tiny_ldm.ckpt")
    assert stored.container == "torch zip"
    assert stored.values["global_step"] == 635000
    assert stored.values["optimizer_states"] == "<list of 0>"
    assert stored.values["callbacks.instance"].endswith("ModelCheckpoint>")
    manifest = json.loads((CHECKPOINTS / "checkpoints.json").read_text())
    assert [k for k in stored.tensors if not k.startswith("callbacks.")] == [
        f"state_dict.{key}" for key in manifest["state_dict_of_tiny_ldm"]
    ]
    betas = stored.tensors["state_dict.betas"]
    assert (betas.shape, betas.dtype, betas.strides, betas.nbytes) == ((1000,), "f4", (1,), 4000)
    assert np.shares_memory(betas.read(), betas.read()) and not betas.read().flags.writeable


def test_nested_containers_join_their_keys(tmp_path):
    inner = b"]" + tensor() + b"a" + holding(exp_avg=tensor())[2:-1] + b"a"
    pickled = holding(
        w=tensor(), states=inner, rest=op({"text": "a" * 300, "list": [1, 2], 3: 4.5})
    )
    stored = open_checkpoint(write(tmp_path, pickled))
    assert list(stored.tensors) == ["w", "states.0", "states.1.exp_avg"]
    expected = {"rest.text": "a" * 200, "rest.list": "<list of 2>", "rest.3": 4.5}
    assert stored.values == {"states": "<list of 2>"} | expected


def test_legacy_views_of_storages(tmp_path):
    view = b"(" + op("storage") + name("torch", "FloatStorage") + op("0") + op("cpu") + op(6)
    part = tensor(view + op(("part", 2, 3)) + b"tQ", offset=1, size=(2,), stride=(1,))
    stored = open_checkpoint(write_legacy(tmp_path, holding(w=tensor(), part=part)))
    np.testing.assert_array_equal(stored.tensors["w"].read(), VALUES)
    np.testing.assert_array_equal(stored.tensors["part"].read(), [3, 4])
    for bad, match in [
        (tensor(view + op(("part", 2, 5)) + b"tQ", size=(1,), stride=(1,)), "view of storage '0'"),
        (tensor(view + op(("part", -2, 5)) + b"tQ"), "malformed"),
        (tensor(view + op(("part", 2, 3)) + b"tQ", offset=2, size=(2,), stride=(1,)), "leaves its"),
    ]:
        with pytest.raises(CheckpointError, match=match):
            open_checkpoint(write_legacy(tmp_path, holding(w=bad)))


def test_refused_legacy_files(tmp_path):
    good = holding(w=tensor())
    for match, keys in {"does not match": ["0", "0"], "storage '0' is not in the file": []}.items():
        with pytest.raises(CheckpointError, match=match):
            open_checkpoint(write_legacy(tmp_path, good, keys=keys))
    path = write_legacy(tmp_path, good)
    whole = path.read_bytes()
    for length, match in [(-1, "23 bytes left"), (100, "asks for|name without")]:
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=match):
            open_checkpoint(path)


def test_diffusers_folder(tmp_path):
    for part, file in [("unet", "diffusion_pytorch_model.safetensors"), ("vae", None)]:
        (tmp_path / part).mkdir()
        if file:
            write_safetensors(tmp_path / part, {"w": entry()}).rename(tmp_path / part / file)
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "._model.safetensors.index.json").touch()  # as macOS adds them
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "model.safetensors").write_bytes(b"hidden")
    write(tmp_path, holding(v=tensor())).rename(tmp_path / "vae/diffusion_pytorch_model.bin")
    stored = open_checkpoint(tmp_path)
    assert stored.container == "diffusers folder" and set(stored.tensors) == {"unet.w", "vae.v"}
    assert stored.values["vae.file"] == "diffusion_pytorch_model.bin"
    np.testing.assert_array_equal(stored.tensors["vae.v"].read(), VALUES)
    assert set(open_checkpoint(tmp_path / "unet").tensors) == {"w"}


def test_refused_members(tmp_path):
    good = holding(w=tensor())
    for member in ("../../etc/cron.d/x", "/etc/passwd", "made\\..\\x"):
        with pytest.raises(CheckpointError, match="climbs out of its folder"):
            open_checkpoint(write(tmp_path, good, extra=[(member, b"x")]))
    # all entries but the first point at the first member, under their own names and sizes
    path = write(tmp_path, good, extra=[("made/data/1", SIX)])
    whole = path.read_bytes()
    first = whole.index(b"PK\x01\x02")
    second = whole.index(b"PK\x01\x02", first + 1)
    path.write_bytes(whole[: second + 42] + whole[first + 42 : first + 46] + whole[second + 46 :])
    with pytest.raises(CheckpointError, match="name"):
        open_checkpoint(path)


def test_zip_bomb_is_not_unpacked(tmp_path):
    path = write(
        tmp_path, holding(w=tensor()), [("0", bytes(2**22))], compression=zipfile.ZIP_DEFLATED
    )
    assert path.stat().st_size < 2**14
    tracemalloc.start()
    with pytest.raises(CheckpointError, match="is compressed"):
        open_checkpoint(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def shared(start: bytes, key: bytes, fill: bytes) -> bytes:
    """A container that holds one container nine times, which holds one nine times, and so on."""
    level = start + b"(" + (key + b"h\x09") * 9 + fill + b"q\x090"
    return start + b"q\x090" + level * 20 + b"h\x09"


PAIRS = b"](" + b"NN\x86" * 500 + b"eq\x080" + name("collections", "OrderedDict") + b"q\x090"


@pytest.mark.parametrize(
    "bomb, match",
    [
        (b"}" * 60_000, "over 50000 instructions"),
        (PAIRS + b"h\x09h\x08\x85R0" * 200 + b"N", "over 50000 instructions"),
        (shared(b"}", op("k"), b"u"), "over 9000 values"),
        (shared(b"]", b"", b"e"), "over 9000 values"),
        (b"}q\x09" + op("self") + b"h\x09s", "nested over 24 deep"),
        (b"]q\x09h\x09a", "nested over 24 deep"),
        (b"]" * 9_000 + b"a" * 8_999, "nested over 24 deep"),
        (b")" + b"\x85" * 9_000, "nested over 24 deep"),
    ],
)
def test_pickle_bombs(tmp_path, monkeypatch, bomb, match):
    monkeypatch.setattr(pickle_machine, "MAX_INSTRUCTIONS", 50_000)
    monkeypatch.setattr(torch_tree, "MAX_VISITS", 9_000)
    with pytest.raises(CheckpointError, match=match):
        open_checkpoint(write(tmp_path, holding(w=tensor(), bomb=bomb)))


def test_foreign_objects_keep_nothing(tmp_path):
    module = name("torch.nn", "Module") + b")\x81" + holding(w=tensor())[2:-1] + b"b"
    stored = open_checkpoint(write(tmp_path, holding(model=module, w=tensor())))
    assert list(stored.tensors) == ["w"] and stored.values == {"model": "<torch.nn.Module>"}
    with pytest.raises(CheckpointError, match="<torch.nn.Module>, not a dict"):
        open_checkpoint(write(tmp_path, b"\x80\x02" + module + b"."))


def test_checksums_are_compared_when_a_tensor_is_read(tmp_path):
    path = write(
        tmp_path, holding(w=tensor(), v=tensor(storage(key="1"))), [("0", SIX), ("1", SIX)]
    )
    whole = bytearray(path.read_bytes())
    whole[whole.rindex(SIX) + 5] ^= 16
    path.write_bytes(whole)
    stored = open_checkpoint(path)
    np.testing.assert_array_equal(stored.tensors["w"].read(), VALUES)
    with pytest.raises(CheckpointError, match="made.pt: the 24 bytes .* have checksum"):
        stored.tensors["v"].read()

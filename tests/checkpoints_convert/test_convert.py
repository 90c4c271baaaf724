"""The converter's command on small golden checkpoints: what it writes, checks and refuses."""

import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from checkpoints_convert import convert as converting
from checkpoints_convert.kinds import KINDS
from checkpoints_convert.match import our_name
from dsg_jax.priors import load_prior
from dsg_jax.priors.files import check_files
from support.golden_case import GOLDEN, load, read_arrays
from support.golden_models import (
    LDM_FILE,
    MODELS,
    TINY,
    TINY_VQ,
    architecture,
    converted,
    golden_folder,
    run,
)
from support.state_files import entries, write_state

ADM_LIKE = MODELS["adm-ffhq"].parts["unet"]
ADM_FILE = GOLDEN / "networks" / "adm_ffhq_like.pt"


@pytest.fixture(scope="module")
def ldm(tmp_path_factory):
    """The folder of both sets of weights of a Lightning checkpoint, in half precision."""
    folder = tmp_path_factory.mktemp("ldm")
    options = architecture(folder, "ldm-ffhq", unet=TINY, first_stage=TINY_VQ)
    options += ["--weights", "both", "--dtype", "bfloat16", "--kind", "ldm-ffhq"]
    assert run(LDM_FILE, "--out", folder / "prior", *options) == 0
    return folder / "prior"


def assert_stored(params: dict, state: dict, source) -> None:
    """Parameters are the arrays of a state dict, in Flax's layout; ``source`` gives their names."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        array = state[source(our_name(path))]
        array = array[..., 0] if array.ndim == 3 else array
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        np.testing.assert_array_equal(leaf, array.astype(leaf.dtype))


def test_pixel_prior():
    adm = golden_folder("adm-ffhq")
    prior, card = load_prior(adm)
    state = read_arrays(ADM_FILE)
    assert len(jax.tree.leaves(prior.network.params)) == len(state)
    assert_stored(prior.network.params, state, str)
    assert (card["kind"], card["model"], card["tensors"]) == ("adm", "adm-ffhq", 142)
    assert card["weights"] == "the file's only set" and card["dropped"] == []
    file = card["source"][0]["files"][0]
    assert file["bytes"] == (adm.parent / file["name"]).stat().st_size
    assert "filled in" in card["origin"]["licence"]


def test_parity_block_by_block(tmp_path, capsys):
    """Golden output and gradient; a recorded block that is wrong is found by its name."""
    arrays = load("networks/adm_ffhq_like")[1]
    arrays["block:out.2"] = arrays["output"]
    arrays["block:middle_block.1"] = np.ones((2, 32, 16, 16), np.float32)
    np.savez(tmp_path / "blocks.npz", **arrays)
    assert run("verify", golden_folder("adm-ffhq"), "--against", tmp_path / "blocks.npz") == 1
    out = capsys.readouterr().out
    errors = dict(re.findall(r"  (\S+): relative error (\S+),", out))
    assert all(float(errors[name]) < 1e-5 for name in ("output", "grad_x", "block:out.2"))
    assert "WRONG: block:middle_block.1 has relative error" in out and out.count("WRONG") == 1


def test_both_sets_of_a_lightning_file(ldm):
    state = read_arrays(LDM_FILE)
    prefix = "state_dict.first_stage_model."
    sources = {
        "raw": "state_dict.model.diffusion_model.{}".format,
        "ema": lambda name: f"state_dict.model_ema.diffusion_model{name.replace('.', '')}",
    }
    for weights, source in sources.items():
        prior, card = load_prior(ldm / weights, params_dtype="bfloat16")
        assert_stored(prior.network.params, state, source)
        stage = prior.first_stage.decode.args[1]
        assert_stored(stage, state, lambda name: prefix + name)
        codes = load_prior(ldm / weights)[0].first_stage.decode.args[1]["quantize.embedding"]
        np.testing.assert_array_equal(
            codes["kernel"], state[f"{prefix}quantize.embedding.weight"].T
        )
        assert card["weights"] == weights and card["dtype"] == "bfloat16"
        assert card["tensors"] + sum(entry["tensors"] for entry in card["dropped"]) == len(state)
        lines = (ldm / weights / "tensors.txt").read_text().splitlines()
        assert len({line.split()[4] for line in lines}) == len(lines) == card["tensors"]


def test_folders_that_changed_are_found(ldm, tmp_path, capsys):
    assert run("verify", ldm / "ema") == 0
    assert "forward pass: decoded (1, 3, 16, 16)" in capsys.readouterr().out
    folder = shutil.copytree(ldm / "ema", tmp_path / "changed")
    table = (folder / "tensors.txt").read_text()
    swapped = re.sub(r"^\w{64}", "0" * 64, table, count=1)
    (folder / "tensors.txt").write_text(swapped)
    assert run("verify", folder) == 1
    out = capsys.readouterr().out
    assert "tensors.txt is not that of the card" in out
    assert "1 differ from their hash: first_stage/decoder/conv_in/bias" in out
    (folder / "tensors.txt").write_text(table.split("\n", 1)[1])
    assert run("verify", folder) == 2
    assert "1 tensors are in only one of card and table" in capsys.readouterr().err
    (folder / "tensors.txt").write_text(table)
    file = max((folder / "weights").rglob("d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert run("verify", folder) in (1, 2)
    (ldm / "ema" / "files.txt").unlink()  # as an earlier version left it
    with pytest.raises(ValueError, match="convert verify` writes one if its tensors are right"):
        load_prior(ldm / "ema")
    assert run("verify", ldm / "ema") == 0
    check_files(ldm / "ema")
    said = "".join(capsys.readouterr())
    assert re.search("1 differ from their hash|does not hold what its card says", said)


def test_restored_to_type_and_sharding(ldm):
    mesh = jax.make_mesh((1,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
    place = lambda leaf: split if len(leaf.shape) == 4 else everywhere
    prior, _ = load_prior(ldm / "raw", params_dtype="bfloat16", placement=place)
    for leaf in jax.tree.leaves(prior.network.params):
        assert leaf.dtype == jnp.bfloat16
        assert leaf.sharding == (split if leaf.ndim == 4 else everywhere)


def test_auto_says_what_a_near_miss_lacks(tmp_path, capsys):
    state = read_arrays(ADM_FILE)
    state["out.2.biass"] = state.pop("out.2.bias")
    state["out.0.weight"] = state["out.0.weight"][:16]
    state["time_embed.0.bias"] = np.zeros(128, np.int64)
    path = write_state(tmp_path / "near.pt", entries(state))
    options = architecture(tmp_path, "adm-ffhq", unet=ADM_LIKE)
    assert run(path, "--out", tmp_path / "out", *options) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and not (tmp_path / "out").exists()
    assert "near.pt is most like adm-ffhq, as a flat state dict: 139 of 142 tensors fit" in error
    assert "1 missing: out.2.bias (nearest is out.2.biass); 1 not part of the model" in error
    assert "2 of another shape or type: out.0.weight ((16,) float16, wanted as (32,))" in error


WRONG = {
    "page.pt": (b"<!DOCTYPE html>", "a web page, not a checkpoint"),
    "cut.ckpt": (LDM_FILE.read_bytes()[:100_000], "table of contents is cut off or damaged"),
    "code.pt": ((GOLDEN / "checkpoints" / "hostile.pt").read_bytes(), "no known kind"),
    "other.pth": (None, "it is no known kind: none of the tensors"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files(name, tmp_path, capsys):
    content, message = WRONG[name]
    path = tmp_path / name
    if content is None:
        write_state(path, entries({"fc.weight": np.ones((2, 3), np.float32)}))
    else:
        path.write_bytes(content)
    assert run(path, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and name in error
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("wrapper", ["module.", "model.", "model_state_dict._orig_mod.", "ema."])
def test_wrappers_in_names(wrapper, tmp_path):
    state = {wrapper + name: array for name, array in read_arrays(ADM_FILE).items()}
    path = write_state(tmp_path / "wrapped.pt", entries(state))
    out = converted(path, "adm-ffhq", MODELS["adm-ffhq"].parts)
    assert_stored(load_prior(out)[0].network.params, state, lambda name: wrapper + name)


def test_the_checkpoint_itself_is_never_replaced(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    path = shutil.copy(ADM_FILE, tmp_path / "out" / "model.pt")
    options = "--kind", "adm-ffhq", *architecture(tmp_path, "adm-ffhq", unet=ADM_LIKE)
    assert run(path, "--out", tmp_path / "out", *options) == 2
    assert "out holds other files" in capsys.readouterr().err and path.is_file()


def test_wrong_arguments(tmp_path, capsys):
    def refused(message, *arguments):
        assert run(*arguments) == 2
        error = capsys.readouterr().err
        assert re.search(message, error) and error.count("\n") == 1
        assert not (tmp_path / "out").exists()

    command = ADM_FILE, "--out", tmp_path / "out"
    options = "--kind", "adm-ffhq", *architecture(tmp_path, "adm-ffhq", unet=ADM_LIKE)
    refused("no weights 'ema': it has one set only", *command, *options, "--weights", "ema")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").touch()
    refused("holds other files", ADM_FILE, "--out", tmp_path / "used", *options)
    refused("both hold", ADM_FILE, *command, *options)
    parts = architecture(tmp_path, "adm-ffhq", vae=TINY)
    refused("parts of this kind are unet", *command, "--kind", "adm-ffhq", *parts)
    refused("has no card.json", "verify", tmp_path)
    with pytest.raises(SystemExit) as stopped:
        run(ADM_FILE)
    assert stopped.value.code == 2 and "--out" in capsys.readouterr().err


def test_a_conversion_that_breaks_leaves_nothing_that_looks_finished(tmp_path, capsys, monkeypatch):
    options = "--kind", "adm-ffhq", *architecture(tmp_path, "adm-ffhq", unet=ADM_LIKE)
    state = read_arrays(ADM_FILE)
    state["out.2.weight"] = np.where(state["out.2.weight"] > 0, np.float32(1e9), 0)
    path = write_state(tmp_path / "large.pt", entries(state))
    assert run(path, "--out", tmp_path / "out", "--dtype", "float16", *options) == 2
    assert "out.2.weight would hold infinities" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(converting, "to_layout", lambda value, shape: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(ADM_FILE, "--out", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    assert run(ADM_FILE, "--out", tmp_path / "out", *options) == 0
    assert not (tmp_path / "out.partial").exists()


def test_list_and_inspect(capsys):
    assert run("list") == 0
    listed = capsys.readouterr().out
    assert "ffhq_10m.pt, 374 MB" in listed
    assert [line.split()[0] for line in listed.splitlines()] == [*KINDS]
    assert run("inspect", LDM_FILE) == 0
    shown = capsys.readouterr().out
    assert "torch zip" in shown and "state_dict.model_ema.*: 90 tensors" in shown
    assert "most like ldm-ffhq" in shown

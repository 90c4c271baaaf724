"""Folders of weights: changes are found, and one is replaced whole or not at all."""

import json
import os
import shutil
import signal
import sys
import threading
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from dsg_jax.priors import BUNDLED, files, load_prior, swap
from dsg_jax.priors.files import TABLE, check_files, record_files, recorded_files
from dsg_jax.priors.folder import read_weights, write_weights
from dsg_jax.priors.streaming import only_raising
from dsg_jax.priors.swap import replacing

STRUCTS = {"bias": jax.ShapeDtypeStruct((4,), np.float32)}


def write(folder: Path, value: float) -> Path:
    write_weights(folder, {"bias": np.full(4, value, np.float32)}, {"kind": "toy"})
    return folder


def stored(folder: Path) -> float:
    """The value of a folder that is whole."""
    check_files(folder)
    return float(read_weights(folder, STRUCTS)["bias"][0])


def flip(path: Path) -> None:
    """Change a bit; size and modification time stay."""
    times, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("small", [files._SMALL, 0])
def test_a_flipped_bit_in_any_file_is_refused_by_name(small, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_SMALL", small)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    whole = write(tmp_path / "whole", 1.0)
    names = [name for name in recorded_files(whole) if name != "card.json"]
    assert {"tensors.txt", "weights/manifest.ocdbt"} < set(names)
    for name in names:
        folder = shutil.copytree(whole, tmp_path / "changed")
        check_files(folder)
        flip(folder / name)
        with pytest.raises(ValueError, match=f"changed/{name} has another SHA-256"):
            check_files(folder)
        check_files(folder, hashes=False)
        (folder / name).write_bytes(b"")
        with pytest.raises(ValueError, match=f"changed/{name} has 0 bytes"):
            check_files(folder, hashes=False)
        (folder / name).unlink()
        os.mkfifo(folder / name)  # reading it would wait for ever
        with pytest.raises(ValueError, match=f"changed/{name} is missing"):
            check_files(folder)
        shutil.rmtree(folder)


def test_priors_are_checked_when_they_load(tmp_path):
    for folder in BUNDLED.values():
        check_files(folder)
    folder = shutil.copytree(BUNDLED["photo"], tmp_path / "photo")
    (folder / "._card.json").write_text("of another system")
    load_prior(folder)
    flip(folder / "samples.png")
    with pytest.raises(ValueError, match="samples.png has another SHA-256"):
        load_prior(folder)
    load_prior(folder, verify=False)


def test_large_files_are_hashed_once(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_SMALL", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder, hashed = write(tmp_path / "a", 1.0), []
    of_file = files._hash
    monkeypatch.setattr(files, "_hash", lambda path: hashed.append(path.name) or of_file(path))
    check_files(folder)
    assert "tensors.txt" in hashed
    hashed.clear()
    check_files(folder)
    assert not hashed
    os.utime(folder / "tensors.txt")
    check_files(folder)
    assert hashed == ["tensors.txt"]


def edited_card(folder: Path):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | {"licence": "MIT"}))


FOREIGN = {
    "notes.txt": lambda folder: (folder / "notes.txt").write_text("mine"),
    "weights/model.ckpt": lambda folder: (folder / "weights" / "model.ckpt").touch(),
    "link": lambda folder: (folder / "link").symlink_to(folder.parent),
    "card.json": edited_card,
    "tensors.txt": lambda folder: flip(folder / "tensors.txt"),
    "card.json is": lambda folder: (folder / TABLE).unlink(),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_folder_with_anything_else_in_it_stays(name, tmp_path):
    folder = write(tmp_path / "a", 1.0)
    FOREIGN[name](folder)
    before = sorted(files.files_below(folder))
    with pytest.raises(ValueError, match="holds other files"):
        write(folder, 2.0)
    assert sorted(files.files_below(folder)) == before


def test_what_is_replaced(tmp_path):
    """Also through a link; what the user calls by similar names is left alone."""
    foreign = [tmp_path / "a.partial" / "notes.txt", tmp_path / "a.old" / "notes.txt"]
    for path in foreign:
        path.parent.mkdir()
        path.touch()
    folder = write(tmp_path / "a", 1.0)
    (tmp_path / "link").symlink_to(folder)
    write(tmp_path / "link", 2.0)
    assert stored(folder) == 2.0 and (tmp_path / "link").is_symlink()
    (folder / "samples.png").touch()
    record_files(folder)
    assert stored(write(folder, 3.0)) == 3.0
    assert all(path.is_file() for path in foreign)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "a.partial", "a.old", "link"}


def killed_at(step: int, folder: Path) -> bool:
    """Replace a folder in a child that is killed at a step; whether it came so far."""
    child = os.fork()
    if not child:
        steps = 0

        def kill_before_and_after(function):
            def call(*arguments, **options):
                nonlocal steps
                if (steps := steps + 1) == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                result = function(*arguments, **options)
                if (steps := steps + 1) == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return result

            return call

        for place, name in (
            *((Path, name) for name in ("mkdir", "rename", "unlink", "rmdir")),
            *((swap, "_exchanged_by_system"), (shutil, "rmtree")),
        ):
            setattr(place, name, kill_before_and_after(getattr(place, name)))
        with replacing(folder) as growing:
            (growing / "value").write_text("new")
            record_files(growing)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.filterwarnings("ignore:os.fork")  # the child moves files and nothing else
@pytest.mark.parametrize("by_system", [True, False])
def test_whenever_it_is_killed_the_old_or_the_new_one_is_whole(by_system, tmp_path, monkeypatch):
    if not by_system:  # a file system that cannot exchange folders
        monkeypatch.setattr(swap, "_exchanged_by_system", lambda one, other: False)
    folder, step, seen = tmp_path / "a", 0, set()
    killed = True
    while killed:
        shutil.rmtree(folder, ignore_errors=True)
        with replacing(folder) as growing:
            (growing / "value").write_text("old")
            record_files(growing)
        step += 1
        killed = killed_at(step, folder)
        if not by_system and not folder.exists():
            seen.add("absent")
            with pytest.raises(InterruptedError), replacing(folder):
                raise InterruptedError  # the next one that writes begins with putting it back
        check_files(folder)
        seen.add((folder / "value").read_text())
        with replacing(folder) as growing:
            record_files(growing)
        assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert seen == {"old", "new"} | (set() if by_system else {"absent"}) and step > 10


def test_one_process_writes_at_a_time(tmp_path):
    folder = tmp_path / "a"
    with replacing(folder) as growing:
        (growing / "value").touch()
        record_files(growing)
        with pytest.raises(ValueError, match="another process is writing"):
            write(folder, 2.0)
    check_files(folder)
    assert stored(write(folder, 2.0)) == 2.0


def test_late_failures_of_orbax_are_not_printed(capsys, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", lambda *error: print(error[1]))
    with pytest.raises(ValueError, match="first"), only_raising():
        raise ValueError("first")
    for words in ("Event loop is closed", "another"):
        late = partial(sys.excepthook, RuntimeError, RuntimeError(words), None)
        thread = threading.Thread(target=late)
        thread.start()
        thread.join()
    assert capsys.readouterr().out == "another\n"
    sys.excepthook(RuntimeError, RuntimeError("the user's loop is closed"), None)
    assert capsys.readouterr().out == "the user's loop is closed\n"

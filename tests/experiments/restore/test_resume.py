"""Runs that save their states: what was killed goes on to the same bits, whatever the disk does."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.__main__ import main
from experiments.checks import check_folder
from experiments.cli import UsageError
from experiments.restore import compute as compute_module
from experiments.restore import parts, resume
from experiments.restore.compute import compute
from experiments.restore.plan import plan
from experiments.restore.resume import FOLDER
from experiments.restore.stacking import part_length
from support.gaussian_prior import gaussian_prior
from support.words import settings_of

CARD = {"name": "emoji", "size": 16, "size_multiple": 4, "channels": 3}
STEPS = 40  # so that a part has two of them


class Killed(BaseException):
    """Ends a run as a kill would, without any clean-up of ours."""


def settings(out, *more):
    words = ["--task", "identity", "--solver", "dps", "--steps", STEPS, "--size", 16, "--out", out]
    words += ["--count", 2, "--samples", 2, "--projection", "none"]
    return settings_of("restore", *words, *more)


def restored(out, *more):
    """Records without seconds, and images, of a run."""
    works, _ = compute([plan(settings(out, *more), (gaussian_prior(), CARD))])
    records = works[0].stored.records.values()
    timeless = [{k: v for k, v in record.items() if k != "seconds"} for record in records]
    return timeless, [(out / record["png"]).read_bytes() for record in records]


SAVING = "--save-every", "2"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run that nothing happens to writes."""
    out = tmp_path_factory.mktemp("whole")
    result = restored(out, *SAVING)
    assert not (out / FOLDER).exists()
    return result


def killed_after(monkeypatch, part: int):
    """Let the program be killed before its part of this number, counted from 1."""
    counted = []
    save = parts.save_state

    def counting(manager, step, *rest):
        save(manager, step, *rest)
        counted.append(step)
        if len(counted) == part:
            resume.settle(manager)
            raise Killed

    monkeypatch.setattr(parts, "save_state", counting)
    return counted


def kill(out, monkeypatch, part: int, *more):
    with monkeypatch.context() as patched:
        counted = killed_after(patched, part)
        with pytest.raises(Killed):
            restored(out, *SAVING, *more)
    return counted


def steps_on_disk(out):
    return sorted(int(path.name) for path in (out / FOLDER).glob("*/*/*/*") if path.name.isdigit())


def test_a_killed_run_goes_on_from_its_state(tmp_path, monkeypatch, whole):
    assert kill(tmp_path, monkeypatch, 3) == [2, 4, 6]
    assert steps_on_disk(tmp_path) == [4, 6]
    assert kill(tmp_path, monkeypatch, 2) == [8, 10]
    assert restored(tmp_path, *SAVING) == whole
    assert not (tmp_path / FOLDER).exists()


def test_saving_changes_no_more_than_rounding(tmp_path, whole):
    lines, _ = restored(tmp_path)
    for a, b in zip(lines, whole[0], strict=True):
        assert a["hash"] == b["hash"]
        np.testing.assert_allclose(a["misfit"], b["misfit"], rtol=1e-5)


@pytest.mark.slow
def test_a_chunk_that_is_done_is_not_done_again(tmp_path, monkeypatch):
    more = "--microbatch", "2"
    expected = restored(tmp_path / "whole", *SAVING, *more)
    kill(tmp_path / "out", monkeypatch, 21, *more)  # 19 are in the first chunk
    assert kill(tmp_path / "out", monkeypatch, 1, *more) == [6]
    assert restored(tmp_path / "out", *SAVING, *more) == expected


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "damage", ["cut", pytest.param("emptied", marks=SLOW), pytest.param("removed", marks=SLOW)]
)
def test_a_damaged_state_falls_back_to_the_one_before(tmp_path, monkeypatch, whole, capsys, damage):
    kill(tmp_path, monkeypatch, 4)
    newest = max(steps_on_disk(tmp_path))
    files = [p for p in (tmp_path / FOLDER).glob(f"*/*/*/{newest}/**/*") if p.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    if damage == "removed":
        largest.unlink()
    else:
        os.truncate(largest, largest.stat().st_size // 2 if damage == "cut" else 0)
    assert restored(tmp_path, *SAVING) == whole
    said = capsys.readouterr().err
    assert f"/{newest} cannot be read and is left out" in said


@pytest.mark.slow
def test_every_file_of_a_state_may_be_damaged(tmp_path, monkeypatch, whole):
    kill(tmp_path / "killed", monkeypatch, 4)
    newest = max(steps_on_disk(tmp_path / "killed"))
    entries = sorted((tmp_path / "killed" / FOLDER).glob(f"*/*/*/{newest}/**/*"))
    for i, path in enumerate(path for path in entries if path.is_file()):
        out = tmp_path / str(i)
        shutil.copytree(tmp_path / "killed", out)
        copy = out / path.relative_to(tmp_path / "killed")
        os.truncate(copy, copy.stat().st_size // 2)
        assert restored(out, *SAVING) == whole, path


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch, whole, capsys):
    save, limits = parts.save_state, resource.getrlimit(resource.RLIMIT_FSIZE)

    def with_little_room(manager, step, *rest):
        room = 64 if step >= 6 else limits[0]
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        try:
            save(manager, step, *rest)
            resume.settle(manager)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert step < 4 or (Path(manager.directory) / "4").is_dir()

    monkeypatch.setattr(parts, "save_state", with_little_room)
    assert restored(tmp_path, *SAVING) == whole
    said = capsys.readouterr().err
    assert said.count("could not be saved") >= 17 and "that of step 4 remains" in said
    assert "File too large" in said and "Traceback" not in said


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    command = ["restore", "--task", "identity", "--out"]
    assert main([*command, str(tmp_path / "file" / "out")]) == 2
    assert "is a file, give another folder" in capsys.readouterr().err
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ValueError, match=r"out: .* cannot be written, give another folder"):
        check_folder("out", tmp_path / "out")


def test_states_that_a_kill_left_of_a_finished_batch_go(tmp_path, monkeypatch, whole):
    with monkeypatch.context() as patched:
        patched.setattr(compute_module, "forget", lambda *_: None)
        restored(tmp_path, *SAVING)
    assert steps_on_disk(tmp_path)
    assert restored(tmp_path, *SAVING) == whole
    assert not (tmp_path / FOLDER).exists()


def test_states_of_a_batch_that_was_cut_otherwise_go_when_it_is_done(tmp_path, monkeypatch):
    kill(tmp_path, monkeypatch, 3)
    assert steps_on_disk(tmp_path)
    restored(tmp_path, "--batch-size", "1")
    assert not (tmp_path / FOLDER).exists()


@pytest.mark.parametrize("wrong", ["--save-every 0", "--save-minutes 0", "--save-minutes nan"])
def test_intervals_are_checked(tmp_path, wrong):
    with pytest.raises(UsageError, match=wrong.split()[0]):
        settings(tmp_path, *wrong.split())


def test_parts_are_no_longer_than_asked():
    assert [part_length(1000, n) for n in (None, 7, 50, 999)] == [50, 5, 50, 50]
    assert [part_length(997, n) for n in (None, 10)] == [997, 1]


@pytest.mark.slow
def test_kills_at_random_moments(tmp_path, kills=20):
    here = Path(__file__).parents[2]
    path = os.pathsep.join([str(here.parent), str(here)])
    done = subprocess.run(
        [sys.executable, here / "slow" / "kill_cases.py", str(tmp_path), str(kills)],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["kills"] == kills and counts["resumed"] > 0 and counts["equal"]

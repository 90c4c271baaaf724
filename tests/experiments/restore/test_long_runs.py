"""Several processes in one folder, shards, runs that are stopped, and what is damaged."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import files
from experiments.__main__ import main
from experiments.decode import Unreadable
from experiments.files import collected_faults
from experiments.images import readable
from experiments.restore import compute
from experiments.restore.batch import program_count
from experiments.restore.plan import Item
from experiments.restore.store import claimed, look, store
from support import tiny_command
from support.tiny_command import FIVE, RUN, command, record_files, records_by_hash

pytestmark = pytest.mark.usefixtures("tiny")


def started(hang_at, *words):
    tool = Path(tiny_command.__file__)
    call = [sys.executable, str(tool), str(hang_at), *words]
    return subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_killed_process_leaves_its_work_to_the_other(whole, tmp_path):
    """One hangs in its second batch; the other does the rest, and that when the first is killed."""
    out = tmp_path / "out"
    first = started(1, *command(FIVE, out))
    second = None
    try:
        assert "hanging\n" in first.stdout
        second = started(-1, *command(FIVE, out))
        while len(record_files(out)) < 3:
            assert second.poll() is None and first.poll() is None
            time.sleep(0.1)
        with pytest.raises(subprocess.TimeoutExpired):  # it waits, and computes nothing twice
            second.wait(1)
        first.kill()
        printed, complaints = second.communicate(timeout=300)
        assert second.returncode == 0, complaints
    finally:
        for process in filter(None, (first, second)):
            process.kill()
            process.communicate()
    assert records_by_hash(out) == records_by_hash(whole)
    assert "| dps" in printed and (out / "summary.md").is_file()


def test_sigterm_leaves_a_folder_to_go_on_with(whole, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    run_batch = compute.run_batch

    def stopped(*inputs):
        if record_files(out):
            os.kill(os.getpid(), signal.SIGTERM)
        return run_batch(*inputs)

    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(compute, "run_batch", stopped)
        assert main(command(FIVE, out)) == 130
    assert signal.getsignal(signal.SIGTERM) is before
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "stopped: the same command goes on where it was"
    assert len(records_by_hash(out)) == 2
    assert main(command(FIVE, out)) == 0
    assert records_by_hash(out) == records_by_hash(whole)


def test_damaged_results_are_made_again_and_named(whole, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    torn, other, lost = record_files(out)[:3]
    torn.write_bytes(torn.read_bytes()[:50])
    image = other.with_suffix(".png")
    image.write_bytes(image.read_bytes()[:100])
    lost.with_suffix(".png").unlink()
    assert main(command(FIVE, out)) == 1
    said = capsys.readouterr().err
    assert f"damaged: {torn} is damaged and left out: its sample is made again" in said
    assert f"damaged: {image} is not the image that {other.name} describes" in said
    assert main(command(FIVE, out)) == 0
    assert records_by_hash(out) == records_by_hash(whole)


def test_an_unreadable_image_among_several_is_left_out(tmp_path, capsys):
    rng = np.random.default_rng(0)
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    for name in "abc":
        pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:99])
    assert main(command(RUN, out, "--images", folder)) == 1
    said = capsys.readouterr().err
    assert f"damaged: {folder / 'b.png'} is not a readable image" in said
    assert {record["image"] for record in records_by_hash(out).values()} == {"a", "c"}
    assert main(command(RUN, out, "--images", folder / "b.png")) == 2


def test_a_run_of_damaged_files_only_is_an_error():
    def read(path):
        raise Unreadable(f"{path} is damaged")

    with collected_faults() as faults, pytest.raises(ValueError, match="a is damaged"):
        readable([Path("a"), Path("b")], read)
    assert not faults


def test_shards_copied_into_one_folder_are_one_run(whole, tmp_path, capsys):
    shards = [tmp_path / name for name in "abc"]
    for i, out in enumerate(shards, start=1):
        assert main(command(FIVE, out, "--shard", f"{i}/3")) == 0
        assert not (out / "summary.md").exists()
    assert "Shard 3/3: 1 of 5 samples are in" in capsys.readouterr().out
    for out in shards[:2]:
        shutil.copytree(out, tmp_path / "out", dirs_exist_ok=True)
    programs = program_count()
    assert main(command(FIVE, tmp_path / "out")) == 0  # makes the third, by a program it has
    assert program_count() == programs
    assert records_by_hash(tmp_path / "out") == records_by_hash(whole)
    table = lambda folder: [r.split("|")[:12] for r in (folder / "summary.md").open()]
    assert table(tmp_path / "out") == table(whole)


def items(*identities):
    return [Item(None, 0, None, identity, "x.png") for identity in identities]


HOLDER = """
import sys
from pathlib import Path
from experiments.restore.plan import Item
from experiments.restore.store import claimed
with claimed(Path(sys.argv[1]), [Item(None, 0, None, name, "x.png") for name in "ab"], True):
    print(1, flush=True)
    input()
"""


def test_a_claim_is_another_process_s_until_it_ends(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"1\n"
    with claimed(tmp_path, items("a", "b"), wait=False) as claim:
        assert not claim
    with claimed(tmp_path, items("a"), wait=False) as claim:
        assert claim
    process.kill()
    process.communicate()
    with claimed(tmp_path, items("a", "b"), wait=True) as claim:
        assert claim
    assert not list((tmp_path / ".claims").iterdir())


def test_what_killed_processes_left_is_swept(whole, tmp_path):
    """Half-written files and claims of the dead go, those of the living stay."""
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    name = lambda number, host=files._HOST: f"box_inpainting/.x.png.{host}.{number}.ab.partial"
    old, *others = name(1, "old"), name(os.getpid()), name(1, "elsewhere"), "notes.partial"
    for path in (name(dead.pid), old, *others, ".claims/dead.lock"):
        (out / path).parent.mkdir(exist_ok=True)
        (out / path).write_bytes(b"")
    os.utime(out / old, (0, 0))
    with claimed(out, items("living"), wait=True):
        assert main(command(FIVE, out)) == 0
        assert len(list((out / ".claims").iterdir())) == 1
    left = {str(path.relative_to(out)) for path in out.rglob("*.partial")}
    assert left == set(others) and not list((out / ".claims").iterdir())


def test_samples_that_another_batch_added_meanwhile_stay(whole, tmp_path):
    record = next(iter(records_by_hash(whole).values()))
    shutil.copytree(whole, tmp_path / "out")
    item = Item(None, 0, None, record["hash"], record["png"])
    stored = look(tmp_path / "out", [])
    store(stored, [(item, record | {"png_sha256": "other"}, {".png": b"another image"})])
    assert records_by_hash(tmp_path / "out") == records_by_hash(whole)
    assert stored.records[record["hash"]]["png_sha256"] == record["png_sha256"]


def test_a_metric_that_is_asked_for_must_be_there(whole):
    record = next(iter(records_by_hash(whole).values()))
    item = Item(None, 0, None, record["hash"], record["png"])
    assert look(whole, [item], ["ssim_skimage7"]).records
    assert not look(whole, [item], ["lpips_piq_avgpool"]).records
    assert not look(whole, [item._replace(identity="another")]).records


@pytest.mark.slow
def test_two_processes_killed_at_random_lose_and_repeat_nothing(tmp_path):
    """Both at once, five times; then one run finishes what is left."""
    run, out, rng, grown = f"{RUN} --count 24 --samples 4", tmp_path / "out", random.Random(0), []
    for _ in range(5):
        pair = [started(-1, *command(run, out)) for _ in "ab"]
        for process in pair:
            if not process.stdout.readline():  # one when it has planned, one at the end
                raise AssertionError(process.communicate()[1])
        while not record_files(out):  # so that the first pair is in the middle
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 2) if grown else 0)
        for process in pair:
            process.kill()
            process.communicate()
        grown.append(len(record_files(out)))
    assert main(command(run, out)) == 0
    assert main(command(run, tmp_path / "whole")) == 0
    assert grown[0] < 96 and records_by_hash(out) == records_by_hash(tmp_path / "whole")

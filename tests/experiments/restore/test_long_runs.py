"""Several processes in one folder, runs that are stopped, and what is damaged."""

import json
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

from experiments import faults
from experiments.__main__ import main
from experiments.files import append_records, read_records
from experiments.images import Unreadable, readable
from experiments.restore import compute
from experiments.locks import claimed
from support import tiny_command
from support.tiny_command import FIVE, RUN, command, lines_by_hash

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
        while len(read_records(out / "metrics.jsonl", {"hash"})[0]) < 3:
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
    assert lines_by_hash(out) == lines_by_hash(whole)
    assert "| dps" in printed and (out / "summary.md").is_file()


def test_sigterm_leaves_a_folder_to_go_on_with(whole, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    run_batch = compute.run_batch

    def stopped(*given):
        if (out / "metrics.jsonl").exists():
            os.kill(os.getpid(), signal.SIGTERM)
        return run_batch(*given)

    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(compute, "run_batch", stopped)
        assert main(command(FIVE, out)) == 130
    assert signal.getsignal(signal.SIGTERM) is before
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"stopped: {out} is in order, and the same command goes on where it was"
    assert len(lines_by_hash(out)) == 2
    assert main(command(FIVE, out)) == 0
    assert lines_by_hash(out) == lines_by_hash(whole)


def test_damaged_results_are_made_again_and_named(whole, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    log = out / "metrics.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(lines[0][:50] + b"\n" + b"".join(lines[1:]))
    image = out / json.loads(lines[1])["png"]
    image.write_bytes(image.read_bytes()[:100])
    for _ in "ab":  # the line stays, for others may be writing; the image is made again
        assert main(command(FIVE, out)) == 1
        said = capsys.readouterr().err
        assert f"damaged: {log}, line 1 is damaged and left out: delete that line" in said
        assert (f"damaged: {image} is not the image" in said) == (_ == "a")
    kept = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(kept[1:]))
    assert main(command(FIVE, out)) == 0
    log.write_bytes(b"".join(dict.fromkeys(kept[1:])))
    assert {r["hash"] for r in read_records(log, {"hash"})[0]} == set(lines_by_hash(whole))


def test_an_unreadable_image_among_several_is_left_out(whole, tmp_path, capsys):
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
    assert {line["image"] for line in lines_by_hash(out).values()} == {"a", "c"}
    assert main(command(RUN, out, "--images", folder / "b.png")) == 2


def test_a_run_of_damaged_files_only_is_an_error(tmp_path):
    def read(path):
        raise Unreadable(f"{path} is damaged")

    with faults.collecting() as found, pytest.raises(ValueError, match="a is damaged"):
        readable([Path("a"), Path("b")], read)
    assert not found


WRITER = """
import sys
from pathlib import Path
from experiments.files import append_records
for i in range(40):
    append_records(Path(sys.argv[1]), [{"who": sys.argv[2], "i": i, "text": "x" * 5000}] * 2)
"""


def test_lines_of_several_processes_do_not_mix(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_bytes(b'{"who": "a kill tore this')
    call = lambda who: subprocess.Popen([sys.executable, "-c", WRITER, str(log), who])
    assert [process.wait(300) for process in [call(who) for who in "abc"]] == [0, 0, 0]
    records, damaged = read_records(log, {"who", "i", "text"})
    assert not damaged and len(records) == 3 * 40 * 2
    for who in "abc":
        assert [r["i"] for r in records if r["who"] == who][::2] == list(range(40))


def test_a_claim_is_another_process_s_until_it_ends(tmp_path):
    holder = "import sys; from pathlib import Path; from experiments.locks import claimed\n"
    holder += "with claimed(Path(sys.argv[1]), ['a', 'b'], True): print(1, flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"1\n"
    with claimed(tmp_path, ["a", "b"], wait=False) as mine:
        assert not mine
    with claimed(tmp_path, ["a"], wait=False) as mine:
        assert mine
    process.kill()
    process.communicate()
    with claimed(tmp_path, ["a", "b"], wait=True) as mine:
        assert mine


def test_the_first_line_of_a_sample_counts_and_a_metric_must_be_there(whole, tmp_path):
    log = tmp_path / "metrics.jsonl"
    shutil.copytree(whole / "box_inpainting", tmp_path / "box_inpainting")
    line = json.loads((whole / "metrics.jsonl").read_text().splitlines()[0])
    plain = {name: value for name, value in line.items() if name != "ssim_skimage7"}
    append_records(log, [plain, line | {"seconds": 1.5}, line | {"seconds": 2.5}])
    find = lambda metrics: compute.look(tmp_path, [line["hash"]], metrics).lines[line["hash"]]
    assert find([]) == plain and find(["ssim_skimage7"])["seconds"] == 1.5
    assert not compute.look(tmp_path, ["another"]).lines


@pytest.mark.slow
def test_two_processes_killed_at_random_lose_and_repeat_nothing(tmp_path):
    """Both at once, five times; then one run finishes what is left."""
    run, out, rng = f"{RUN} --count 24 --samples 4", tmp_path / "out", random.Random(0)
    grown = []
    for _ in range(5):
        pair = [started(-1, *command(run, out)) for _ in "ab"]
        for process in pair:
            if not process.stdout.readline():  # one when it has planned, one at the end
                raise AssertionError(process.communicate()[1])
        time.sleep(rng.uniform(0, 2))
        for process in pair:
            process.kill()
            process.communicate()
        grown.append(len(read_records(out / "metrics.jsonl", {"hash"})[0]))
    assert main(command(run, out)) == 0
    assert main(command(run, tmp_path / "whole")) == 0
    assert grown[0] < 96 and lines_by_hash(out) == lines_by_hash(tmp_path / "whole")

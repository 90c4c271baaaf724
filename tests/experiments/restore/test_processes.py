"""Several processes joined by `jax.distributed` over the loopback device."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.__main__ import main
from experiments.settings import Devices
from support import tiny_command
from support.tiny_command import FIVE, command, records_by_hash

pytestmark = pytest.mark.usefixtures("tiny")
PATIENCE = 300  # seconds, for a machine that does much else


def started_two(out, hanging: int = -1):
    """Processes 0 and 1 of two on one folder, which may hang in a batch."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
    tool = Path(tiny_command.__file__)
    both = []
    for number in (0, 1):
        words = command(FIVE, out, "--coordinator", where, "--processes", 2, "--process", number)
        words += ["--heartbeat", "10"]
        call = [sys.executable, str(tool), str(hanging), *words]
        pipe = subprocess.PIPE
        both.append(subprocess.Popen(call, stdout=pipe, stderr=pipe, text=True))
    return both


def end(processes):
    for process in processes:
        process.kill()
        process.communicate()


def without_seconds(out):
    """The cells of the summary's table but for the seconds."""
    table = [row.split("|") for row in (out / "summary.md").read_text().splitlines() if "|" in row]
    seconds = [cell.strip() for cell in table[0]].index("s")
    return [row[:seconds] + row[seconds + 1 :] for row in table]


@pytest.mark.slow
def test_two_processes_write_what_one_does(whole, tmp_path):
    out = tmp_path / "out"
    both = started_two(out)
    try:
        printed = [process.communicate(timeout=PATIENCE) for process in both]
    finally:
        end(both)
    assert [process.returncode for process in both] == [0, 0], printed
    assert "process 0 of 2" in printed[0][0] and "process 1 of 2" in printed[1][0]
    assert "| dps" in printed[0][0] and "| dps" not in printed[1][0]
    assert records_by_hash(out) == records_by_hash(whole)
    assert without_seconds(out) == without_seconds(whole)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_when_one_dies_the_other_ends_and_a_restart_finishes(whole, tmp_path, killed):
    out = tmp_path / "out"
    both = started_two(out, hanging=0)
    try:
        for process in both:  # each in a batch of its own
            assert "hanging\n" in process.stdout
        both[killed].kill()
        at = time.monotonic()
        _, complaints = both[1 - killed].communicate(timeout=PATIENCE)
        print(f"process {1 - killed} ended after {time.monotonic() - at:.1f} s")
    finally:
        end(both)
    assert both[1 - killed].returncode != 0
    assert "another task died" in complaints or "leader task" in complaints, complaints
    assert main(command(FIVE, out)) == 0
    assert records_by_hash(out) == records_by_hash(whole)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--processes 2", "give --coordinator, --processes and --process"),
        ("--coordinator here --processes 2 --process 0", "give HOST:PORT"),
        ("--coordinator here:1 --processes 2 --process 2", "count the processes from 0"),
        ("--distributed --heartbeat 0", "--heartbeat 0: give a whole number"),
    ],
)
def test_processes_are_checked(tmp_path, words, message, capsys):
    assert main(command(FIVE, tmp_path / "out", *words.split())) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_cluster_names_its_processes_itself():
    assert Devices(distributed=True).heartbeat == 60

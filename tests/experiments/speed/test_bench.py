"""The comparison with PyTorch: turns, failures as rows, and a report that is always complete."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.speed import bench as bench_module
from experiments.speed.bench import SUITES, arguments, bench
from experiments.speed.jax_worker import torch_weights
from experiments.speed.rows import cells
from experiments.speed.worker import Worker

CHOSEN = "accelerator --pixel toy-adm --latent --states 1 --sides 8 --batches 1 2 --turns 2"


def chosen(monkeypatch, words):
    monkeypatch.setattr(sys, "argv", ["bench", *words.split()])
    return arguments()


class Answers:
    """A worker without a process: batch 2 runs out of memory, DPS dies."""

    log: list = []

    def __init__(self, python, module, patience, **environment):
        self.name = module[:-7]
        self.about = {"engines": ["svd"], "programs": ["forward", "projection"]}
        self.log.append(f"start {self.name}")

    def ask(self, build=None, run=False):
        if run:
            self.log.append(self.name)
            return {"seconds": 4.0 if self.name == "torch" else 1.0, "peak_bytes": 3e9}
        if build["batch"] == 2 or build["what"] == "dps step":
            return {"error": "RESOURCE_EXHAUSTED: | " + "x" * 500}
        return {"steps": 2, "unet": 1, "parts": ["unet"], "architecture": {"unet": {}}}

    def stop(self):
        self.log.append(f"stop {self.name}")


def test_a_failure_is_a_row_and_both_take_turns(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_module, "Worker", Answers)
    monkeypatch.setattr(Answers, "log", [])
    out = tmp_path / "new" / "bench.json"
    bench(chosen(monkeypatch, f"{CHOSEN} --torch-python {sys.executable} --out {out}"))
    rows = json.loads(out.read_text())["rows"]
    steps = [what for what in ("forward", "daps step", "dps step") for _ in (1, 2)]
    assert [row["case"]["what"] for row in rows] == ["projection", *steps]
    first = Answers.log.index("jax")
    assert Answers.log[first : first + 4] == ["jax", "torch"] * 2
    assert ["error" in row["jax"] for row in rows] == [False, False, True, False, True, True, True]
    texts = [cells(row) for row in rows]
    assert texts[0][2:5] == ("500 (500 to 500)", "2000 (2000 to 2000)", "4.00")
    assert texts[2][2].startswith("failed: RESOURCE") and texts[2][4] == "-"
    assert texts[3][3] == "-"  # no program of PyTorch's is written
    table = out.with_suffix(".md").read_text()
    assert table.count("| forward, toy-adm |") == 2 and table.splitlines()[-1] in (
        capsys.readouterr().out
    )
    assert all(len(line.split(" | ")) == 8 for line in table.splitlines() if line[0:1] == "|")
    # What failed gets new processes, and none is left behind.
    assert Answers.log.count("start jax") == Answers.log.count("stop jax") >= 5


def test_a_process_that_ends_or_hangs_is_an_answer(tmp_path, monkeypatch):
    code = "import sys,time; print('{}', flush=True); sys.stdin.readline(); "
    for ends, says in (
        ("sys.exit('no device')", "exit code 1: no device"),
        ("time.sleep(60)", "0.5 s"),
    ):
        script = tmp_path / "python"
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}{ends}"\n')
        script.chmod(0o755)
        worker = Worker(str(script), "none", 5.0)
        worker.patience = 0.5 if "sleep" in ends else 20.0
        assert says in worker.ask(run=True)["error"] and "error" in worker.ask(run=True)
        worker.stop()


def test_weights_go_by_the_checkpoints_names():
    tree = {
        "a.0": {
            "qkv": {"kernel": np.ones((2, 6)), "bias": np.ones(6)},
            "norm": {"scale": np.ones(2)},
        }
    }
    tree |= {"conv": {"kernel": np.ones((3, 5, 2, 4))}}
    shapes = {name: array.shape for name, array in torch_weights({"unet": tree}).items()}
    assert shapes == {
        "unet/a.0.qkv.weight": (6, 2),
        "unet/a.0.qkv.bias": (6,),
        "unet/a.0.norm.weight": (2,),
        "unet/conv.weight": (4, 2, 3, 5),
    }


def test_the_comparison_has_what_it_says():
    models = SimpleNamespace(pixel=["p"], latent=["l"], small=["s"])
    cases = [
        (c["what"], c["model"], c["projected"], c["batch"]) for c in SUITES["versus"](models, [])
    ]
    assert cases == [
        ("forward", "p", True, 1),
        ("daps step", "p", False, 1),
        ("daps step", "p", True, 1),
        ("gradient", "l", True, 1),
        ("decoder gradient", "l", True, 1),
        ("psld step", "l", True, 1),
        ("daps step", "s", True, 4),
    ]


@pytest.mark.slow
def test_a_bench_of_toys(tmp_path, monkeypatch):
    """In processes of its own; a prior that is not there is a row, and what comes after it runs."""
    out = tmp_path / "bench.json"
    words = f"{CHOSEN} --latent nowhere toy-ldm --out {out}".replace("--latent --", "--")
    chosen_here = chosen(monkeypatch, words)
    chosen_here.torch_python, chosen_here.batches = None, [1]
    bench(chosen_here)
    report = json.loads(out.read_text())
    rows, engines = report["rows"], report["about"]["jax"]["engines"]
    failed = {row["case"].get("model") for row in rows if "error" in row["jax"]}
    assert failed == {"nowhere"} and len(rows) == len(engines) + 3 + 2 * 5
    assert all(len(row["jax"]["seconds"]) == 2 for row in rows if "error" not in row["jax"])

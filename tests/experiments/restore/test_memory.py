"""The memory planner: what it asks the compiler, what it chooses, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.programs import planned_bytes
from experiments.restore import batch
from experiments.restore import memory as budget
from experiments.restore.compute import compute
from experiments.restore.memory import fitting_runner, widest
from experiments.restore.plan import plan
from support.gaussian_prior import gaussian_prior
from support.golden_case import tiny_latent_prior
from support.words import settings_of

CARD = {"name": "emoji", "size": 16, "size_multiple": 4, "channels": 3}
GAUSSIAN = gaussian_prior(), CARD
TASK = {"dps": "box_inpainting", "psld": "super_resolution"}


def planned_run(tmp_path, *more, solver="dps", prior=GAUSSIAN):
    words = ["--task", TASK[solver], "--solver", solver, "--steps", 4, "--out", tmp_path / "out"]
    words += ["--size", 16, "--count", 1, "--samples", 4, "--projection", "none"]
    return plan(settings_of("restore", *words, *more), prior)


def with_memory(planned, gigabytes):
    run = replace(planned.settings.run, memory=gigabytes)
    return planned._replace(settings=replace(planned.settings, run=run))


@pytest.mark.parametrize(
    ("need", "limit", "answer", "asked"),
    [
        (lambda b: 100 + 10 * b, 180, 8, {8}),
        (lambda b: 100 + 10 * b, 179, 7, {8, 1, 7}),
        (lambda b: 100 + 10 * b, 110, 1, {8, 1}),
        (lambda b: 100 + 10 * b, 109, 0, {8, 1}),
        (lambda b: 100 + 10 * b + 9 * (b == 5), 155, 4, {8, 1, 5, 4}),  # not affine
    ],
)
def test_the_largest_chunk_that_fits(need, limit, answer, asked):
    calls = set()
    assert widest(lambda b: calls.add(b) or need(b), 8, limit) == answer
    assert calls == asked


def test_a_run_that_fits_is_compiled_once_and_whole(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(budget, "_said", set())
    planned = planned_run(tmp_path, "--memory", "2")
    before = batch.program_count()
    works, _ = compute([planned])
    assert batch.program_count() - before == 1 and len(works[0].stored.records) == 4
    assert "dps, 4 samples at once" in capsys.readouterr().out
    limited = planned_run(tmp_path, "--microbatch", "3", "--memory", "1e-9")
    assert fitting_runner(limited, limited.jobs[0], 4).chunk == 2  # even ones


def test_a_backend_that_does_not_tell_runs_whole_batches(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(budget, "_said", set())
    monkeypatch.setattr(budget, "planned_bytes", lambda compiled: np.nan)
    planned = planned_run(tmp_path)
    assert fitting_runner(planned, planned.jobs[0], 4).chunk == 4
    assert "4 samples at once, which this backend's" in capsys.readouterr().out


def test_a_run_that_does_not_fit_is_cut_or_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(budget, "_said", set())
    planned = planned_run(tmp_path)
    job = planned.jobs[0]
    program = batch.program_of(job, planned.prior)
    first = batch.batch_inputs(job.seed, job.items, program.axes, 2)
    one, two = (planned_bytes(batch.compile_batch(*first, program, b).compiled) for b in (1, 2))
    assert one < two < 3 * one
    runner = fitting_runner(with_memory(planned, (one + 100) / budget.GB), job, 2)
    assert runner.chunk == 1 and runner.program.prior is planned.prior
    assert "dps, 1 sample at once" in capsys.readouterr().out
    with pytest.raises(MemoryError, match=r"one sample of dps needs .* GB.* --memory is 1e-06 GB"):
        fitting_runner(with_memory(planned, 1e-6), job, 2)


def test_blocks_are_recomputed_where_one_sample_does_not_fit(tmp_path, monkeypatch):
    planned = planned_run(tmp_path, solver="psld", prior=(tiny_latent_prior(), CARD))
    recomputing = planned.prior._replace(clock=replace(planned.prior.clock))
    needs = {id(planned.prior): 8e9, id(recomputing): 3e9}
    monkeypatch.setattr(budget, "policies", lambda prior: iter([planned.prior, recomputing]))
    runner = lambda keys, problems, program, b: batch.Runner(
        program, b * needs[id(program.prior)], None, b, None
    )
    monkeypatch.setattr(budget, "compile_batch", runner)
    monkeypatch.setattr(budget, "planned_bytes", lambda size: size)
    runner = fitting_runner(with_memory(planned, 7.0), planned.jobs[0], 4)
    assert runner.program.prior is recomputing and runner.chunk == 2
    with pytest.raises(MemoryError, match="needs 3 GB, even with its blocks recomputed"):
        fitting_runner(with_memory(planned, 2.0), planned.jobs[0], 4)


def test_what_this_machine_has_left(tmp_path, monkeypatch):
    meminfo, limit, used = (tmp_path / name for name in ("meminfo", "max", "used"))
    for name, path in (("_MEMINFO", meminfo), ("_LIMIT", limit), ("_USED", used)):
        monkeypatch.setattr(budget, name, path)
    assert budget.free_bytes() == np.inf
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable:    4000 kB\nHugePages_Total:   0\n")
    assert budget.free_bytes() == 4000 * 1024
    limit.write_text("max\n")
    assert budget.free_bytes() == 4000 * 1024
    limit.write_text("3000000\n")
    used.write_text("1000000\n")
    assert budget.free_bytes() == 2_000_000

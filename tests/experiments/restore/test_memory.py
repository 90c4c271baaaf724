"""The memory planner: what it asks the compiler, what it chooses, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.__main__ import parser
from experiments.restore import memory as budget
from experiments.restore.live import live_bytes
from experiments.restore.memory import Open, compiled_bytes, modelled_bytes, widest, within_memory
from experiments.restore.plan import plan
from support.gaussian_prior import gaussian_prior
from support.golden_case import tiny_latent_prior

CARD = {"name": "emoji", "size": 16, "size_multiple": 4, "channels": 3}
GAUSSIAN = gaussian_prior(), CARD
TASK = {"dps": "box_inpainting", "psld": "super_resolution"}


def planned_run(tmp_path, *more, solver="dps", prior=GAUSSIAN):
    given = ["restore", "--task", TASK[solver], "--solver", solver, "--steps", "4"]
    given += ["--size", "16", "--count", "1", "--samples", "4", "--projection", "none"]
    return plan(parser().parse_args([*given, "--out", str(tmp_path / "out"), *more]), prior)


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


def test_live_values_of_a_chain_and_of_a_loop():
    """sin(sin(x)) has two arrays alive; a loop adds what is alive inside it."""
    x = jnp.zeros(1000)
    chain = jax.make_jaxpr(lambda x: jnp.cos(jnp.sin(jnp.sin(x))))(x)
    assert live_bytes(chain.jaxpr) == 2 * 4000
    twice = lambda x: jax.lax.scan(lambda c, _: (jnp.sin(jnp.sin(c)), None), x, None, length=3)[0]
    assert 8000 < live_bytes(jax.make_jaxpr(twice)(x).jaxpr) <= 3 * 4000 + 100


def test_the_model_against_the_compilers_plan():
    """Of a deep gradient: above the plan, by less than five times; recomputing lowers it."""
    x, weights = jnp.zeros((64, 256)), [jnp.zeros((256, 256))] * 12

    def loss(x, block):
        for w in weights:
            x = block(x, w)
        return jnp.sum(x)

    found = []
    for wrap in (lambda f: f, jax.checkpoint):
        block = wrap(lambda x, w: jnp.tanh(jnp.sin(jnp.tanh(x @ w)) @ w))
        traced = jax.jit(jax.grad(loss), static_argnums=1).trace(x, block)
        told = traced.lower().compile().memory_analysis().temp_size_in_bytes
        found.append((live_bytes(traced.jaxpr.jaxpr), told))
    assert all(told < model < 5 * told for model, told in found), found
    assert found[1][0] < 0.6 * found[0][0]


def test_a_run_that_fits_is_not_compiled_in_advance(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(budget, "compile_batch", None)
    planned = planned_run(tmp_path, "--memory", "2")
    assert within_memory(planned, [Open(planned.jobs[0], 4)]) == (planned, None)
    assert within_memory(planned, []) == (planned, None)
    given = planned_run(tmp_path, "--microbatch", "3", "--memory", "1e-9")
    assert within_memory(given, [Open(given.jobs[0], 4)]) == (given, 3)


def test_a_run_that_does_not_fit_is_cut_or_refused(tmp_path, capsys):
    planned = planned_run(tmp_path)
    job = planned.jobs[0]
    one, two = (compiled_bytes(planned, job, 2, b) for b in (1, 2))
    assert one < two < 3 * one
    assert modelled_bytes(planned, job, 2, 1) < modelled_bytes(planned, job, 2, 2)
    planned.arguments.memory = (one + 100) / budget.GB
    fit, at_once = within_memory(planned, [Open(job, 2)])
    assert at_once == 1 and fit.prior is planned.prior
    assert "dps, 1 sample at once" in capsys.readouterr().out
    planned.arguments.memory = 1e-6
    with pytest.raises(MemoryError, match=r"one sample of dps needs .* GB.* --memory is 1e-06 GB"):
        within_memory(planned, [Open(job, 2)])


def test_blocks_are_recomputed_where_one_sample_does_not_fit(tmp_path, monkeypatch):
    planned = planned_run(tmp_path, solver="psld", prior=(tiny_latent_prior(), CARD))
    recomputing = planned.prior._replace(betas=planned.prior.betas + 0)
    needs = {id(planned.prior): 8e9, id(recomputing): 3e9}
    monkeypatch.setattr(budget, "policies", lambda prior: iter([planned.prior, recomputing]))
    monkeypatch.setattr(budget, "modelled_bytes", lambda *_: 9e9)
    monkeypatch.setattr(
        budget, "compiled_bytes", lambda planned, job, width, b: b * needs[id(planned.prior)]
    )
    planned.arguments.memory = 7.0
    fit, at_once = within_memory(planned, [Open(planned.jobs[0], 4)])
    assert fit.prior is recomputing and at_once == 2
    planned.arguments.memory = 2.0
    with pytest.raises(MemoryError, match="needs 3 GB, even with its blocks recomputed"):
        within_memory(planned, [Open(planned.jobs[0], 4)])


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

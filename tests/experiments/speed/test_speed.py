"""What the speed report times: the pieces of a step add up, and engines are compared fairly."""

import json
from argparse import Namespace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.projection import svd_engine
from dsg_jax.types import Projection
from experiments.__main__ import main
from experiments.speed import command as speed_module
from experiments.speed import engines as speed_engines
from experiments.speed import peer as speed_peer
from experiments.speed.bench_latent import EXCERPTS, PIXEL_EXCERPTS
from experiments.speed.engines import iterate, iterated_or_exact, projected, relative, states
from experiments.speed.pieces import Measured, hollow, measured, split
from experiments.speed.random_priors import PUBLISHED
from experiments.speed.report import tables
from support.golden_case import tiny_latent_prior, tiny_prior

QUICK = ("daps", "psld")
OTHERS = [name for name in (*PIXEL_EXCERPTS, *EXCERPTS) if name not in QUICK]


@pytest.mark.parametrize(
    "solver", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)
def test_pieces_of_a_step_add_up(solver):
    """Every piece is left out of a program of the same result; none is timed twice."""
    prior = tiny_prior() if solver in PIXEL_EXCERPTS else tiny_latent_prior()
    shapes = []

    def measure(calls):
        shapes.extend(jax.eval_shape(*call).shape for call in calls.values())
        times = iter((60.0, 24.0, 12.0, 6.0))
        return {name: Measured(next(times), 0.0, 0.0, 7.0) for name in calls}

    found = split(solver, prior, 32, 2, Projection(), measure)
    assert set(shapes) == {(2, 32, 32, 3)}
    pieces = ("network", "operator", "projection", "rest")
    assert sum(found[piece] for piece in pieces) == pytest.approx(found["step"])
    assert found["network"] == pytest.approx(0.6 * found["step"])
    assert found["planned_bytes"] == 7.0


def test_a_hollow_prior_has_the_shapes_and_no_network():
    """Latents of four channels, images of three: what goes up comes down."""
    context = np.zeros((1, 8), np.float32)
    prior = tiny_latent_prior("kl", context)
    z = np.ones((8, 8, 4), np.float32)
    empty = hollow(prior, z.shape)
    stage = empty.first_stage
    whole = jax.jit(lambda z: (empty.network(z, 3.0), stage.decode(z)))
    eps, x = whole(z)
    assert eps.shape == z.shape and not np.any(eps)
    assert x.shape == jax.eval_shape(prior.first_stage.decode, z).shape == (32, 32, 3)
    np.testing.assert_allclose(jax.jit(stage.encode)(x, None), z, atol=1e-6)


def test_a_call_is_measured():
    a = jnp.ones((64, 64))
    found = measured({"product": (lambda a, b: a @ b, a, a)}, 2)["product"]
    assert found.milliseconds > 0
    assert found.flops == pytest.approx(2 * 64**3, rel=0.01)
    assert found.planned_bytes >= 3 * a.nbytes and found.bytes_accessed >= 3 * a.nbytes


def test_subspace_iteration_follows_a_state():
    """Exact where nothing changed, near where the state took a step; it tells what it misses."""
    before, after = (np.moveaxis(z[0], -1, 0) for z in states(1, 24))
    g = np.random.default_rng(0).standard_normal(before.shape).astype(np.float32)

    @jax.jit
    def both(old, new):
        (left, _, _), (u, s, v) = svd_engine(old), svd_engine(new)
        found = iterate(new, left[..., :20])
        exact = projected(u[..., :20], v[..., :20], g)
        return projected(found.left, found.right, g), exact, found.missed, s**2

    result, exact, _, _ = both(before, before)
    assert relative(result[None], exact[None]) < 1e-3
    result, exact, missed, energy = both(before, after)
    assert 1e-3 < relative(result[None], exact[None]) < 0.5
    least = np.sum(energy[:, 20:], 1) / np.sum(energy, 1)
    assert np.all(missed >= least - 1e-6) and np.all(missed < least + 0.05)
    old = svd_engine(before)[0][..., :20]
    for tau, wanted in ((1 - 1.01 * missed.max(), result), (1 - 0.99 * missed.max(), exact)):
        found = iterated_or_exact(after, g, old, tau)
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_tables_show_every_row():
    state = (16, 16, 3)
    network = {"prior": "p", "state": state, "batch": 4, "what": "prediction", "milliseconds": 2.0}
    network |= {"flops_per_second": 5e9, "of_matrix_product": 0.5, "of_copy": 0.25}
    pieces = {"network": 6.0, "operator": 2.0, "projection": 1.0, "rest": 1.0, "step": 10.0}
    step = {"solver": "s", "prior": "p", "state": state, "batch": 4, "planned_bytes": 5e6} | pieces
    engine = {"case": "1 x 3 x 64 x 64", "rule": "official", "rank": 50, "engine": "gram"}
    text = tables(
        {
            "hardware": {"devices": ["cpu"], "cpu_cores": 2},
            "ceilings": {
                "matrix_product_float32_flops_per_second": 1e11,
                "matrix_product_bfloat16_flops_per_second": 2e11,
                "copy_bytes_per_second": 1e10,
            },
            "networks": [network],
            "steps": [step],
            "scaling": [{"solver": "s", "prior": "p", "batch": 8, "per_sample": 3.0, "bytes": 1e6}],
            "engines": [engine | {"milliseconds": 1.5, "error": 1e-6, "missed_energy": None}],
            "progress": [{"how": "callback", "milliseconds_per_step": 4.0}],
            "peers": [],
            "stolen": 0.25,
        }
    )
    for shown in ("100 GFLOP/s", "6.0 (60.0%)", "1.0 (10.0%)", "50%", "1.0e-06", "callback"):
        assert shown in text
    assert "25% of the processor time went to other virtual machines" in text


def test_the_time_that_others_took_is_a_share():
    before = np.array([100.0, 0, 20, 500, 0, 0, 5, 30])
    after = before + [60, 0, 10, 100, 0, 0, 10, 20]
    assert speed_module.stolen(before, after) == pytest.approx(0.1)
    assert speed_module.stolen(None, None) is None


def test_bad_arguments_are_one_line(capsys, tmp_path):
    out = str(tmp_path / "x.json")
    for given, named in (("--priors none", "'none'"), ("--batches 0 2", "--batches 0")):
        assert main(["speed", *given.split(), "--out", out]) == 2
        shown = capsys.readouterr().err
        assert named in shown and shown.count("\n") == 1
    assert "adm-ffhq" in PUBLISHED


def traced_only(calls, repeat=3):
    """In place of `measured`: every call is traced, none compiled."""
    for call in calls.values():
        jax.eval_shape(*call)
    return dict.fromkeys(calls, Measured(2.0, 1e9, 1e6, 1e6))


@pytest.mark.slow
def test_a_whole_report(tmp_path, monkeypatch):
    """Every table has its rows, on tiny priors."""
    tiny = {"pixels": tiny_prior(), "latents": tiny_latent_prior()}
    monkeypatch.setattr(speed_module, "chosen_prior", lambda name: (tiny[name], 16))
    monkeypatch.setattr(speed_module, "LARGE_LATENTS", ())
    monkeypatch.setattr(speed_engines, "CASES", ((2, 16),))
    for module in (speed_module, speed_engines, speed_peer):
        monkeypatch.setattr(module, "measured", traced_only)
    monkeypatch.setattr(speed_module, "split", partial(split, measure=traced_only))
    out = tmp_path / "report" / "speed.json"
    speed_module.speed(Namespace(priors=list(tiny), batch_size=2, batches=[1, 3], out=out))
    found = json.loads(out.read_text())
    rows = {"networks": 4, "steps": 6, "scaling": 4, "engines": 8, "progress": 2}
    assert {name: len(found[name]) for name in rows} == rows
    assert found["ceilings"]["copy_bytes_per_second"] > 1e6
    assert all(r["error"] < 0.5 for r in found["engines"])
    assert out.with_suffix(".md").read_text().count("| psld") == 3

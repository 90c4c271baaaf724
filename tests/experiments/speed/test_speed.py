"""What the speed report times: the pieces of a step add up."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.solvers import SOLVERS
from experiments.speed import command as speed_module
from experiments.speed.pieces import hollow, split
from experiments.speed.report import tables
from experiments.speed.settings import SpeedSettings
from experiments.speed.timer import Measured, measured
from support.golden_case import tiny_latent_prior, tiny_prior

QUICK = ("daps", "psld")
OTHERS = [name for name in SOLVERS if name not in QUICK]


@pytest.mark.parametrize(
    "solver", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)
def test_pieces_of_a_step_add_up(solver):
    """Every piece is left out of a program of the same result; none is timed twice."""
    prior = tiny_prior() if SOLVERS[solver].prior == "pixel" else tiny_latent_prior()
    shapes = []

    def measure(calls):
        shapes.extend(jax.eval_shape(*call).shape for call in calls.values())
        times = iter((60.0, 24.0, 12.0, 6.0))
        return {name: Measured(next(times), 0.0, 0.0, 7.0) for name in calls}

    row = split(solver, prior, (32, 32, 3), 2, measure)
    assert set(shapes) == {(2, 32, 32, 3)}
    pieces = ("network", "operator", "projection", "rest")
    assert sum(row[piece] for piece in pieces) == pytest.approx(row["step"])
    assert row["network"] == pytest.approx(0.6 * row["step"])
    assert row["planned_bytes"] == 7.0


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
    product = measured({"product": (lambda a, b: a @ b, a, a)}, 2)["product"]
    assert product.milliseconds > 0
    assert product.flops == pytest.approx(2 * 64**3, rel=0.01)
    assert product.planned_bytes >= 3 * a.nbytes and product.bytes_accessed >= 3 * a.nbytes


def test_tables_show_every_row():
    state = (16, 16, 3)
    network = {"prior": "p", "state": state, "batch": 4, "what": "prediction", "milliseconds": 2.0}
    network |= {"flops_per_second": 5e9, "of_matrix_product": 0.5, "of_copy": 0.25}
    pieces = {"network": 6.0, "operator": 2.0, "projection": 1.0, "rest": 1.0, "step": 10.0}
    step = {"solver": "s", "prior": "p", "state": state, "batch": 4, "planned_bytes": 5e6} | pieces
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
            "stolen": 0.25,
        }
    )
    for shown in ("100 GFLOP/s", "6.0 (60.0%)", "1.0 (10.0%)", "50%"):
        assert shown in text
    assert "25% of the processor time went to other virtual machines" in text


def test_the_time_that_others_took_is_a_share():
    before = np.array([100.0, 0, 20, 500, 0, 0, 5, 30])
    after = before + [60, 0, 10, 100, 0, 0, 10, 20]
    assert speed_module.stolen(before, after) == pytest.approx(0.1)
    assert speed_module.stolen(np.array([]), np.array([])) is None


def traced_only(calls, repeat=3):
    """In place of `measured`: every call is traced, none compiled."""
    for call in calls.values():
        jax.eval_shape(*call)
    return dict.fromkeys(calls, Measured(2.0, 1e9, 1e6, 1e6))


@pytest.mark.slow
def test_a_whole_report(tmp_path, monkeypatch):
    """Every table has its rows, on tiny priors."""
    tiny = {"pixels": tiny_prior(), "latents": tiny_latent_prior()}
    monkeypatch.setattr(speed_module, "prior_of", lambda name: (tiny[name], (16, 16, 3), {}, {}))
    monkeypatch.setattr(speed_module, "LARGE", 1)
    monkeypatch.setattr(speed_module, "measured", traced_only)
    monkeypatch.setattr(speed_module, "split", partial(split, measure=traced_only))
    out = tmp_path / "report" / "speed.json"
    speed_module.speed(SpeedSettings(tuple(tiny), batch_size=2, out=out))
    report = json.loads(out.read_text())
    rows = {"networks": 4, "steps": len(SOLVERS)}
    assert {name: len(report[name]) for name in rows} == rows
    assert report["ceilings"]["copy_bytes_per_second"] > 1e6
    assert out.with_suffix(".md").read_text().count("| psld") == 1

"""The same samples whatever the batch and however many devices: see mesh_cases.py for the cases."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.mesh import data_mesh, fully_sharded, over_pairs, parameter_placement, placement_of
from experiments.__main__ import main
from experiments.environment import set_cpu_flags

TOLERANCE = 1e-5
"""Of a sample, relative to the largest value: float32 rounding over a few steps."""
ADAM = 2e-4
"""The same after tens of updates of AdamW, which divides by small second moments."""
TESTS = Path(__file__).parents[1]


def on_eight_devices(script: str, *arguments: str) -> list[dict]:
    """The JSON lines that a script of this folder prints, run with eight CPU devices."""
    flags = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=8"
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    environment = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": path, "PJRT_NPROC": "16"}
    done = subprocess.run(
        [sys.executable, TESTS / "support" / script, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def assert_same(cases: list[dict], tolerance: float = TOLERANCE):
    assert len({(c["solver"], c["batch"], c["devices"], c["parameters"]) for c in cases}) >= 7
    assert {1, 5, 16} == {case["batch"] for case in cases}
    assert {1, 2, 8} == {case["devices"] for case in cases}
    for case in cases:
        assert case["scale"] > 0.1 and case["worst"] <= tolerance * case["scale"], case


@pytest.mark.slow
def test_batches_and_devices_do_not_matter_to_restore():
    one, *others = on_eight_devices("mesh_cases.py", "--restore")
    assert len(one["lines"]) == 5
    assert {case["devices"] for case in others} == {8}
    assert {case["parameters"] for case in others} == {"replicated", "sharded"}
    for other in others:
        assert other["programs"] == one["programs"] == 1
        for a, b in zip(one["lines"], other["lines"], strict=True):
            assert a[:2] == b[:2]
            np.testing.assert_allclose(a[2:], b[2:], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["dps", "daps", "psld", "resample", "latent-dps", "latent-daps"])
def test_batches_and_devices_do_not_matter(solver):
    cases = on_eight_devices("mesh_cases.py", solver)
    assert_same(cases, ADAM if solver == "resample" else TOLERANCE)


@pytest.mark.slow
def test_a_network_with_split_parameters_restores_the_same():
    cases = on_eight_devices("mesh_cases.py", "dps", "--prior=emoji")
    assert [case["parameters"] for case in cases] == ["replicated", "sharded"]
    assert cases[1]["worst"] <= 1e-4 * cases[1]["scale"], cases


@pytest.mark.slow
def test_split_parameters_are_never_whole_on_a_device():
    copied, split = on_eight_devices("mesh_cases.py", "--memory")
    assert (copied["parameters"], split["parameters"]) == ("replicated", "sharded")
    assert copied["bytes"] > copied["whole"] and split["bytes"] < split["whole"] / 2


def test_devices_made_of_one_cpu_have_two_threads_each(monkeypatch):
    """With one each, devices that gather and a batch of SVDs wait for each other forever."""
    forced = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    for variables, expected in ((forced, "16"), (forced | {"PJRT_NPROC": "40"}, "40"), ({}, None)):
        monkeypatch.setattr(os, "environ", dict(variables))
        set_cpu_flags()
        assert os.environ.get("PJRT_NPROC") == expected


def test_any_number_of_pairs_on_one_device():
    run = over_pairs(lambda pairs, gain: (gain * pairs[0], pairs[1]), data_mesh(1))
    x = jnp.arange(5.0)
    doubled, same = run((x, -x), jnp.float32(2))
    np.testing.assert_array_equal(doubled, 2 * x)
    np.testing.assert_array_equal(same, -x)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((3, 3, 8, 16), (None, None, None, "pairs")),
        ((3, 3, 16, 6), (None, None, "pairs", None)),
        ((16, 16), (None, "pairs")),
        ((3, 7), ()),
        ((), ()),
    ],
)
def test_parameters_are_split_along_the_longest_axis_that_divides(shape, expected):
    mesh = jax.sharding.AbstractMesh((8,), ("pairs",))
    leaf = jax.ShapeDtypeStruct(shape, jnp.float32)
    assert tuple(fully_sharded(mesh, leaf, least=1).spec) == expected
    assert tuple(fully_sharded(mesh, leaf).spec) == ()


def test_one_device_needs_no_mesh():
    assert placement_of({"kernel": jnp.ones(3), "size": 3}) == (None, "replicated")


def test_what_is_asked_wrongly(capsys, tmp_path):
    with pytest.raises(ValueError, match="3 devices: give 1 to 1"):
        data_mesh(3)
    with pytest.raises(ValueError, match="choose from replicated, sharded"):
        parameter_placement(data_mesh(), "cut")
    words = ["restore", "--task", "identity", "--devices", "3", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "--devices 3: 3 devices: give 1 to 1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

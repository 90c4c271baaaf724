"""An exported solver runs from its file, in a process that has none of our code."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from dsg_jax.sample import sample
from experiments import export as export_module
from experiments.__main__ import main
from experiments.cli import parse
from experiments.export import chosen_program, plan_export
from experiments.export_settings import ExportSettings, File
from experiments.programs import solver_of
from support.golden_case import tiny_prior

CARD = {"name": "emoji", "size": 16, "size_multiple": 4, "channels": 3}
COMMAND = "--task super_resolution --solver dps --steps 3 --samples 2 --out dps.npz"
PAGE = Path(__file__).parents[2] / "docs" / "export.md"

ELSEWHERE = """
import sys
{loader}
y = np.load("y.npy")
images, misfits = load("dps.npz")(key=[0, 7], y=y)
np.savez("result.npz", images=images, misfits=misfits)
ours = [name for name in sys.modules if name.split(".")[0] in ("dsg_jax", "experiments", "flax")]
assert not ours, ours
"""


def settings(words):
    return parse(ExportSettings, words.split(), "export", "")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(export_module, "load_prior", lambda name, **_: (tiny_prior(), CARD))
    return tmp_path


def loader():
    """The one in the documentation, without its use."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return code.split("restore = ")[0]


def test_the_file_alone_gives_the_same_images(folder, capsys):
    plan_export(settings(COMMAND))()
    assert "cpu, cuda, tpu" in capsys.readouterr().out
    y = np.random.default_rng(0).normal(size=(4, 4, 3)).astype(np.float32)
    np.save("y.npy", y)
    code = ELSEWHERE.format(loader=loader())
    subprocess.run([sys.executable, "-I", "-c", code], check=True, cwd=folder, timeout=200)
    program, problem = chosen_program(settings(COMMAND))
    solver = solver_of(program.solver, program.arrays, problem._replace(y=y))
    keys = jax.random.split(jax.random.wrap_key_data(np.uint32([0, 7])), 2)
    images, info = jax.jit(jax.vmap(lambda key: sample(key, solver, program.shape)))(keys)
    with np.load("result.npz") as found:
        np.testing.assert_allclose(found["images"], images, atol=2e-5)
        np.testing.assert_allclose(found["misfits"], info.misfit[:, -1], rtol=1e-4)
    with np.load("dps.npz") as stored:
        told = json.loads(stored["description"].tobytes())
        assert [a["name"] for a in told["takes"][:2]] == ["key", "y"]
        assert len(told["takes"]) == 2 + len(stored.files) - 2
        assert told["gives"][0]["shape"] == [2, 16, 16, 3]


def test_the_arithmetic_is_the_files(folder, monkeypatch):
    asked, modules = [], []

    def load_prior(name, dtype, **_):
        asked.append(dtype)
        return tiny_prior(), CARD

    monkeypatch.setattr(export_module, "load_prior", load_prior)
    for words in ("", "--matmul-precision highest", "--dtype bfloat16"):
        command = f"{COMMAND} --platforms cuda {words}"
        assert main(["export", *command.split()]) == 0
        with np.load("dps.npz") as file:
            modules.append(file["module"].tobytes())
    assert asked == ["float32", "float32", "bfloat16"]
    assert modules[0] != modules[1] and modules[0] == modules[2]  # as this prior has no dtype


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        "--solver daps --levels 2 --inner-steps 2 --task phase_retrieval",
        "--solver psld --steps 2 --task motion_deblur",
        "--solver resample --steps 20 --task box_inpainting",
        "--solver latent-daps --levels 2 --inner-steps 2 --task hdr",
    ],
)
def test_every_solver_lowers_for_every_platform(words):
    entries = export_module.exported(*chosen_program(settings(words)), File())
    assert json.loads(entries["description"].tobytes())["platforms"] == ["cpu", "cuda", "tpu"]
    assert entries["module"].size > 10_000

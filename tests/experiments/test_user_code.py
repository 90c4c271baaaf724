"""Solvers, tasks, priors and rank rules of a user's own file: the examples of docs/own.md."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from dsg_jax import Projection
from dsg_jax.operators.tasks import TASKS
from dsg_jax.solvers import SOLVERS
from dsg_jax.user_code import file_name
from experiments.__main__ import main
from experiments.pictures import show_measurement
from support.own_page import EXAMPLES, write_examples

RUN = "restore --task my/vignette.py:vignette --solver my/pnp.py:pnp --prior my/pixels.py:pixels"
RUN += " --rank-rule my/effective.py:effective --steps 3 --strength 0.4 --count 2 --out out"
AGAIN = """
[measurement]
task = ["my/vignette.py:vignette"]
[task_options]
strength = 0.4
[method]
solver = ["my/pnp.py:pnp"]
prior = "my/pixels.py:pixels"
rank_rule = ["my/effective.py:effective"]
[solver_options]
steps = 3
[images]
count = 2
[run]
out = "out"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my").mkdir()
    write_examples(Path("my"))
    write_examples(tmp_path)


def test_the_page_s_examples_restore(capsys):
    assert main(RUN.split()) == 0
    files = sorted(Path("out/vignette.py-vignette").glob("*/*_0.json"))
    records = [json.loads(file.read_bytes()) for file in files]
    assert [record["method"] for record in records] == 2 * ["pnp.py-pnp"] + 2 * ["pnp.py-pnp-dsg"]
    plain, projected = records[0], records[2]
    assert plain["psnr"] > 20 and plain["rank_mean"] == 16 and projected["rank_mean"] < 8
    hashes = {
        f"my/{name}": hashlib.sha256(text.encode()).hexdigest()[:16]
        for name, text in EXAMPLES.items()
    }
    assert projected["settings"]["code"] == hashes
    assert "my/effective.py" not in plain["settings"]["code"]
    assert projected["settings"]["projection"]["rule"] == "my/effective.py:effective"

    Path("again.toml").write_text(AGAIN)
    assert main(["restore", "--settings", "again.toml"]) == 0  # nothing is missing
    for name in EXAMPLES:
        (Path("my") / name).write_text(EXAMPLES[name] + "\n# changed\n")
        capsys.readouterr()
        assert main(["restore", "--settings", "again.toml"]) == 2
        assert f"my/{name} {hashes[f'my/{name}']} there" in capsys.readouterr().err
        (Path("my") / name).write_text(EXAMPLES[name])


CALIBRATE = "calibrate --setting gaussian:vignette.py:vignette --solver pnp.py:pnp --truths 5"
EXPORT = "export --platforms cpu --out pnp.npz --prior pixels.py:pixels --task vignette.py:vignette"
COMMANDS = {
    f"{CALIBRATE} --rules none effective.py:effective --out out": "out/rows.json",
    f"{EXPORT} --solver pnp.py:pnp --rank-rule effective.py:effective": "pnp.npz",
    "speed --priors pixels.py:pixels --solver pnp.py:pnp --batch-size 1 --out x.json": "x.json",
    "memory --model adm-ffhq --solver pnp.py:pnp --out memory.json": "memory.json",
    "reproduce table2 --prior pixels.py:pixels --solver daps --task random_inpainting --size 16"
    " --count 1 --levels 2 --out out": "out/table2",
}


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words.split()[0])
def test_commands_take_user_code(words, capsys):
    assert main(words.split()) == 0, capsys.readouterr().err
    assert Path(COMMANDS[words]).exists()
    assert not [path for path in Path().rglob("*") if ":" in path.name]


@pytest.mark.parametrize(
    "words", [w for w in COMMANDS if "pnp.py" in w], ids=lambda w: w.split()[0]
)
def test_a_mistake_is_told_with_its_line_before_the_work(words, capsys):
    Path("pnp.py").write_text(EXAMPLES["pnp.py"].replace("safe_norm(missing)", "nowhere"))
    assert main(words.split()) == 2
    assert "error: pnp.py, line 43: NameError: name 'nowhere'" in capsys.readouterr().err
    assert not Path("out").exists()
    assert main([*words.split(), "--debug"]) == 2
    assert "return x, step_info(nowhere, rank, share, x)" in capsys.readouterr().err


def test_a_file_that_does_not_run_is_told_by_its_line(capsys):
    Path("pnp.py").write_text("\nimport nowhere\n" + EXAMPLES["pnp.py"])
    assert main("restore --task hdr --solver pnp.py:pnp".split()) == 2
    assert "error: pnp.py, line 2: ModuleNotFoundError: No mod" in capsys.readouterr().err


def test_names_belong_to_one_command(capsys):
    assert main("memory --solver pnp.py:nothing".split()) == 2
    assert main("restore --task vignette.py:vignette --solver psld --strength none".split()) == 2
    assert "vignette.py:vignette" in TASKS
    assert main("restore --task vignette.py:vignette --solver dps --rate 1".split()) == 2
    assert "--rate" in capsys.readouterr().err
    main(["restore", "--task"])
    assert "vignette.py:vignette" not in TASKS and not [s for s in SOLVERS if ".py:" in s]


def test_names_of_files_and_measurements_of_any_shape():
    names = {"my/fog.py:fog": "fog.py-fog", "../a.py:b-sigma": "a.py-b-sigma", "daps": "daps"}
    assert {name: file_name(name) for name in names} == names
    y = np.arange(10, dtype=np.float32) / 10
    shown = show_measurement("hdr", y)
    assert shown.shape == (4, 4, 1) and shown.max() == y.max()
    assert show_measurement("hdr", y.reshape(1, 5, 2) * 1j).shape == (4, 4, 1)


def test_a_function_is_a_rank_rule_of_the_library():
    rule = lambda energy, tau: 2 * np.ones(len(energy))
    assert Projection(rule=rule).rule is rule
    with pytest.raises(ValueError, match="rule='foo': choose from official"):
        Projection(rule="foo")

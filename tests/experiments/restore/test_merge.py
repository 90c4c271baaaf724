"""Runs split into shards, and their folders joined."""

import csv
import json
import shutil

import pytest

from experiments.__main__ import main, parser
from experiments.papers.command import plan_reproduce
from experiments.papers.robustness import plan_robustness
from experiments.restore.batch import program_count
from support.tiny_command import FIVE, command, lines_by_hash, tiny_prior

pytestmark = pytest.mark.usefixtures("tiny")


def test_three_shards_merged_are_one_run(whole, tmp_path, capsys):
    shards = [tmp_path / name for name in "abc"]
    for i, out in enumerate(shards, start=1):
        assert main(command(FIVE, out, "--shard", f"{i}/3")) == 0
        assert not (out / "summary.md").exists()
    assert "Shard 3/3: 1 of 5 samples" in capsys.readouterr().out
    out = tmp_path / "out"
    assert main(["merge", str(out), *map(str, shards[:2])]) == 0
    said = capsys.readouterr().out
    assert "has 4 samples, 4 of them new" in said
    assert "Missing of the shards' runs: 1 (box_inpainting/dps/" in said
    assert main(["merge", str(out), *map(str, shards)]) == 0
    assert "has 5 samples, 1 of them new.\n" == capsys.readouterr().out.replace(f"{out} ", "")
    assert lines_by_hash(out) == lines_by_hash(whole)
    programs, log = program_count(), (out / "metrics.jsonl").read_bytes()
    assert main(command(FIVE, out)) == 0
    assert (program_count(), (out / "metrics.jsonl").read_bytes()) == (programs, log)
    table = lambda folder: [r.split("|")[:12] for r in (folder / "summary.md").open()]
    assert table(out) == table(whole)


def test_merge_leaves_out_what_is_damaged(whole, tmp_path, capsys):
    broken, out = tmp_path / "broken", tmp_path / "out"
    shutil.copytree(whole, broken)
    names = [line["png"] for line in lines_by_hash(whole).values()]
    (broken / names[0]).write_bytes(b"no image")
    (broken / names[1]).unlink()
    with open(broken / "metrics.jsonl", "a") as log:
        log.write("{...\n")
    assert main(["merge", str(out), str(broken)]) == 1
    said = capsys.readouterr()
    for what in (f"{names[0]} is not the image", f"{names[1]} is missing", "line 6 is damaged"):
        assert what in said.err
    assert "has 3 samples" in said.out and len(lines_by_hash(out)) == 3


def other_settings(folder, log):
    """The log of a run with another seed."""
    changed = []
    for line in map(json.loads, log.splitlines()):
        settings = line["settings"] | {"seed": 7}
        changed.append(json.dumps(line | {"hash": "x" + line["hash"], "settings": settings}) + "\n")
    (folder / "metrics.jsonl").write_text("".join(changed))


def test_what_cannot_be_merged(whole, tmp_path, capsys):
    other, out = tmp_path / "other", tmp_path / "out"
    shutil.copytree(whole, other)
    other_settings(other, (whole / "metrics.jsonl").read_text())
    assert main(["merge", str(out), str(whole), str(other)]) == 2
    assert "(seed 7 and 0): join these into different folders" in capsys.readouterr().err
    log = (whole / "metrics.jsonl").read_text()
    name = json.loads(log.splitlines()[0])["png"]
    shutil.copy(whole / name, tmp_path / "x.png")
    (other / "metrics.jsonl").write_text(log.replace(name, "../x.png"))
    assert main(["merge", str(out), str(other)]) == 2
    assert "names ../x.png, which is not in its folder" in capsys.readouterr().err
    assert main(["merge", str(out), str(tmp_path / "none")]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["merge", str(out), str(tmp_path / "empty")]) == 2
    assert "holds no metrics.jsonl" in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/", "a/b", "-1/3"])
def test_a_shard_is_one_of_several(text, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit:
        main(command(FIVE, tmp_path / "out", f"--shard={text}"))
    assert exit.value.code == 2 and f"{text}: give I/N" in capsys.readouterr().err


def rows_of(path, without=("seconds",)):
    """A table of a report but for times."""
    with path.open() as stream:
        found = csv.DictReader(stream)
        return [row for row in found if row.get("metric") not in without]


@pytest.mark.slow
def test_a_reproduced_figure_in_shards(tmp_path):
    """Two shards, joined, have the table of one run, and one bar goes over all experiments."""
    figures = "fig4 fig8 --count 2 --levels 3 --batch-size 1 --metrics ssim_skimage7"
    priors = {"pixel": tiny_prior("")}
    run = lambda out, *more: plan_reproduce(
        parser().parse_args(["reproduce", *command(figures, out, *more)]), priors
    )()
    run(tmp_path / "whole")
    for i in (1, 2):
        run(tmp_path / f"{i}", "--shard", f"{i}/2")
        assert not (tmp_path / f"{i}" / "fig8").exists()
    out = tmp_path / "out"
    assert main(["merge", str(out), str(tmp_path / "1"), str(tmp_path / "2")]) == 0
    programs = program_count()
    run(out)
    assert program_count() == programs
    for name in ("fig4", "fig8"):
        assert rows_of(out / name / "table.csv") == rows_of(tmp_path / "whole" / name / "table.csv")
    assert any(row["metric"] == "ssim_skimage7" for row in rows_of(out / "fig8" / "table.csv"))
    assert "| ssim_skimage7" in (out / "fig8" / "report.md").read_text()


@pytest.mark.slow
def test_a_grid_of_steps_in_shards(tmp_path):
    grid = "--solver dps --task box_inpainting --steps 5 --size 20 --count 3 --batch-size 2"
    grid += " --step-factors 1 32 --rules none official --metrics ssim_skimage7"
    run = lambda out, *more: plan_robustness(
        parser().parse_args(["robustness", *command(grid, out, *more)]), tiny_prior("")
    )()
    scores = run(tmp_path / "whole")
    for i in (1, 2, 3):
        assert run(tmp_path / f"{i}", "--shard", f"{i}/3") == []
    out = tmp_path / "out"
    for _ in "ab":  # the second time there is nothing to add
        assert main(["merge", str(out), *[str(tmp_path / f"{i}") for i in (1, 2, 3)]]) == 0
    again = run(out)
    timeless = lambda found: [
        {k: v for k, v in s.items() if k not in ("seconds", "png")} for s in found
    ]
    assert timeless(again) == timeless(scores) and len(again) == 12
    found = json.loads((out / "tiny-dps.json").read_text())
    assert [r.get("shard") for r in found["runs"]] == [[1, 3], [2, 3], [3, 3], None]
    assert found["runs"][-1]["programs"] == 0
    assert all(0 < row["ssim_skimage7"] < 1 for row in found["rows"])

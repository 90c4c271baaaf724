"""Whole runs of `reproduce` on tiny priors: programs, reports, cards, figures, resuming."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from experiments.papers import probe
from experiments.papers.choice import EXPERIMENTS
from experiments.papers.command import plan_reproduce
from support.gaussian_prior import gaussian_prior
from support.reproduce_cases import chosen, reproduce_settings, tiny_priors


def run(text, out, priors):
    plan_reproduce(reproduce_settings(out, text), priors)()


def card_of(folder):
    return json.loads((folder / "card.json").read_text())


@pytest.mark.slow
def test_table_1_end_to_end(tmp_path, capsys, monkeypatch):
    """Eight settings and two seeds: four programs, both numbers, and nothing to do again."""
    text = "table1 --count 2 --steps 4 --seeds 0 3"
    priors = {"psld": tiny_priors()["psld"]}
    for limit in (1.0, -1.0):
        monkeypatch.setattr(probe, "SLOW_NETWORK", limit)
        run(f"{text} --dry-run", tmp_path, priors)
        line = next(x for x in capsys.readouterr().out.splitlines() if "| table1" in x)
        cells = [cell.strip() for cell in line.split("|")]
        assert cells[2:5] == ["16", "16", "4"] and cells[5].startswith(">") == (limit < 0)
    assert not list(tmp_path.iterdir())
    run(text, tmp_path, priors)
    report = (tmp_path / "table1" / "report.md").read_text()
    assert "31.68" in report and "random matrix, large step" in report
    assert "Shortened runs: PSLD: steps 4." in report and "8 times the published one" in report
    card = card_of(tmp_path / "table1")
    assert card["seeds"] == [0, 3] and len(card["images"]) == 2
    again = "dsg-jax reproduce table1 --count 2 --seeds 0 3 --steps 4"
    assert card["command"] == again and f"`{again}`" in report
    assert card["run"]["settings"] == 16 and card["run"]["programs"] == 4
    assert card["rows"][1]["settings"]["projection"]["source"] == "random"
    lines = list(csv.DictReader((tmp_path / "table1" / "table.csv").open()))
    means = {line["row"]: float(line["mean"]) for line in lines if line["metric"] == "psnr"}
    assert len(set(means.values())) == 8 and np.isfinite(list(means.values())).all()
    assert all(line["images"] == "2" and line["runs"] == "4" for line in lines)
    assert card["run"]["peak_memory_mib"]["process"] > 100
    run(text, tmp_path, priors)  # computes nothing, and keeps what computing took
    assert card_of(tmp_path / "table1")["run"] == card["run"]


@pytest.mark.slow
def test_figures_end_to_end(tmp_path):
    """A pixel prior only: rows on latents keep the paper's values; a sweep is two programs."""
    pytest.importorskip("matplotlib")
    text = "fig3 fig4 fig8 --count 2 --levels 3"
    run(text, tmp_path, {"daps": chosen(gaussian_prior(), size=16)})
    assert "Here: nothing was run." in (tmp_path / "fig3" / "report.md").read_text()
    assert not (tmp_path / "fig3" / "figure.png").exists()
    for name in ("fig4", "fig8"):
        assert "![" in (tmp_path / name / "report.md").read_text()
        with Image.open(tmp_path / name / "figure.png") as figure:
            assert figure.width > 300
    runs = [card_of(tmp_path / name)["run"] for name in ("fig4", "fig8")]
    assert [run["settings"] for run in runs] == [2, 2 * (1 + 5)]
    assert sum(run["programs"] for run in runs) == 2
    assert "not run: no latent prior is given" in (tmp_path / "fig8" / "table.csv").read_text()


@pytest.mark.slow
def test_the_map_counts_its_calls(tmp_path, monkeypatch):
    """The counted calls, the table of what to take, and the picture; PiGDM takes linear tasks."""
    pytest.importorskip("matplotlib")
    lengths = dict.fromkeys(("dps", "pigdm"), {n: {"steps": n // 50 + 4} for n in (50, 200, 1000)})
    sweep = EXPERIMENTS["map"].sweep._replace(lengths=lengths)
    monkeypatch.setitem(EXPERIMENTS, "map", EXPERIMENTS["map"]._replace(sweep=sweep))
    text = "map --task random_inpainting phase_retrieval --solver dps pigdm --count 2"
    run(text, tmp_path, dict.fromkeys(lengths, chosen(gaussian_prior(), size=16)))
    lines = list(csv.DictReader((tmp_path / "map" / "table.csv").open()))
    assert {(line["x"], line["calls"]) for line in lines} == {
        ("50.0", "10"), ("200.0", "16"), ("1000.0", "48"), ("", "")
    }  # fmt: skip
    report = (tmp_path / "map" / "report.md").read_text()
    assert "If you have so many calls" in report and "| random inpainting | " in report
    with Image.open(tmp_path / "map" / "figure.png") as figure:
        assert figure.width > 300
    with pytest.raises(ValueError, match="--steps .*: drop it"):
        plan_reproduce(reproduce_settings(tmp_path, f"{text} --steps 5"))

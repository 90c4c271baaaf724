"""`--fid`: each row's images against a folder, by a small network in place of Inception."""

import numpy as np
import pytest
from PIL import Image

from dsg_jax.metrics import fid as distances
from dsg_jax.metrics.fid import PROTOCOL, frechet_distance, resized, statistics
from experiments.__main__ import main
from experiments.decode import read_image
from experiments.papers.command import plan_reproduce
from experiments.restore import fid
from support.gaussian_prior import gaussian_prior
from support.reproduce_cases import chosen, reproduce_settings
from support.tiny_command import FIVE, command, stand_in


def few_features(params, x):
    """(b, 299, 299, 3) -> (b, 6)."""
    return np.asarray(x)[:, 40::150, 40::250].reshape(len(x), -1)[:, :6]


@pytest.fixture
def real(tmp_path, monkeypatch):
    """A folder of twelve images, and everything that `--fid` reads beside it."""
    stand_in(monkeypatch.setattr)
    monkeypatch.setattr(fid, "read_card", lambda *_: {})
    monkeypatch.setattr(fid, "load_inception", lambda _: ({}, {"tensors_sha256": "few"}))
    monkeypatch.setattr(distances, "_pool3", few_features)
    monkeypatch.setenv("DSG_JAX_INCEPTION", "network")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "real").mkdir()
    for i in range(12):
        levels = np.random.RandomState(i).randint(0, 256, (18 + i % 2, 20, 3), np.uint8)
        Image.fromarray(levels).save(tmp_path / "real" / f"{i}.png")
    return tmp_path / "real"


def distance(files, real):
    of = lambda paths: statistics(
        [few_features({}, np.stack([resized(read_image(p)) for p in paths]))]
    )
    return frechet_distance(of(files), of(real.iterdir()))


def test_restore_adds_a_column(real, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    assert main(command(FIVE, out)) == 0
    plain = (out / "summary.md").read_text()
    assert "FID" not in plain
    assert main(command(FIVE, out, "--fid", real)) == 2
    assert "12 images there, and FID of fewer than 100" in capsys.readouterr().err
    monkeypatch.setattr(fid, "LEAST", 5)  # which the five samples just reach
    seen = []
    monkeypatch.setattr(fid, "read_image", lambda path: seen.append(path) or read_image(path))
    for _ in range(2):
        assert main(command(FIVE, out, "--fid", real)) == 0
        summary = (out / "summary.md").read_text()
        cells = summary.splitlines()[2].split("|")
        expected = distance(sorted((out / "box_inpainting" / "dps").glob("*_0.png")), real)
        assert cells[-2].strip() == f"{expected:.2f} (5)"
        assert f"the 12 images of {real}: {PROTOCOL}" in summary
    assert [path.parent.name for path in seen] == ["real"] * 12 + ["dps"] * 10
    (real / "3.png").write_bytes(b"damaged")
    assert main(command(FIVE, out, "--fid", real)) == 2
    assert f"{real / '3.png'}" in capsys.readouterr().err


def test_best_of_several_and_what_is_not_finite(real):
    """Rows of too few finite images have none; files that are equal count each."""
    least = fid.RealImages(real, {}, statistics([np.eye(6)]), 3)
    scores = fid.FIDScores(least, {"a": np.zeros(6), "b": np.ones(6)})
    line = lambda name, finite=True: {"png_sha256": name, "finite": finite}
    assert scores([line("a"), line("b"), line("c", False)]) == {"fid": None, "fid_images": 2}
    three = scores([line("a"), line("b"), line("b")])
    stack = statistics([np.stack([np.zeros(6), np.ones(6), np.ones(6)])])
    assert three["fid"] == pytest.approx(frechet_distance(stack, least.statistics), rel=1e-6)
    assert [fid.fid_text(row) for row in ({}, {"fid": None, "fid_images": 2}, three)] == [
        *("-", "- (2)", f"{three['fid']:.2f} (3)")
    ]


def test_reproduce_reports_it(real, tmp_path):
    out, priors = tmp_path / "out", {"daps": chosen(gaussian_prior(), size=16)}
    text = f"table2 --row DAPS --task box_inpainting --count 3 --levels 2 --fid {real}"
    with pytest.raises(ValueError, match="12 images there, and FID of fewer than 100"):
        plan_reproduce(reproduce_settings(out, text), priors)
    plan_reproduce(reproduce_settings(out, f"{text} --fid-few"), priors)()
    report = (out / "table2" / "report.md").read_text()
    assert "| FID " in report and PROTOCOL in report and "(3)" in report
    assert f"--fid {real} --fid-few" in report
    assert "box_inpainting,DAPS,,,fid," in (out / "table2" / "table.csv").read_text()

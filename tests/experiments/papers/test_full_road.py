"""The road of a user with images and published checkpoints, from files to tables and figures."""

import csv
import json
import shutil
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from experiments.__main__ import main
from support.golden_case import GOLDEN
from support.golden_models import LDM_FILE, MODELS, TINY, TINY_VQ, architecture

ADM_FILE = GOLDEN / "networks" / "adm_ffhq_like.pt"
SMALL = "--prior priors --steps 20 --size 32 --count 1"
TABLES = f"reproduce table1 table2 table4 fig6 --task random_inpainting hdr {SMALL} --batch-size 1"
TABLES += " --levels 2 --limit 3"


def dsg_jax(words, *more):
    assert main([*words.split(), *map(str, more)]) == 0


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Small checkpoints in the published formats, architectures, and faces on two machines."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ADM_FILE, "ffhq_10m.pt")
    shutil.copy(LDM_FILE, "model.ckpt")
    rng = np.random.default_rng(0)
    for number in range(3):
        coarse = Image.fromarray(rng.integers(0, 255, (4, 5, 3)).astype(np.uint8))
        for machine in ("a", "b"):
            (tmp_path / machine).mkdir(exist_ok=True)
            coarse.resize((50, 40)).save(tmp_path / machine / f"{number:05d}.png")
    return tmp_path


def convert(folder):
    """Both published files to folders of priors, which are checked."""
    adm = architecture(folder, "adm-ffhq", unet=MODELS["adm-ffhq"].parts["unet"])
    dsg_jax("convert ffhq_10m.pt --out priors/adm-ffhq --kind adm-ffhq", *adm)
    ldm = architecture(folder, "ldm-ffhq", unet=TINY, first_stage=TINY_VQ)
    dsg_jax("convert model.ckpt --out priors/ldm-ffhq --kind ldm-ffhq --weights both", *ldm)
    for prior in ("adm-ffhq", "ldm-ffhq/ema", "ldm-ffhq/raw"):
        dsg_jax(f"convert verify priors/{prior}")


def test_from_checkpoints_to_tables(files, capsys):
    convert(files)
    options = "--task super_resolution --solver dps --steps 2 --size 32 --prior priors/adm-ffhq"
    dsg_jax(f"restore {options} --images a --count 1 --out restored")
    assert len(list((files / "restored").rglob("*_0.png"))) == 2
    dsg_jax(f"export {options} --platforms cpu --out solver.npz")
    assert (files / "solver.npz").is_file()
    capsys.readouterr()
    dsg_jax(
        f"reproduce fig6 --task super_resolution {SMALL} --images a --row PSLD --dry-run --out dry"
    )
    assert "PSLD: ldm-ffhq-" in capsys.readouterr().out and not (files / "dry").exists()
    for number, machine in enumerate("ab", start=1):
        dsg_jax(f"{TABLES} --images {machine} --shard {number}/2 --save-every 10 --out s{number}")
        shutil.copytree(f"s{number}/runs", "joined/runs", dirs_exist_ok=True)
    images = {path: path.stat().st_mtime_ns for path in (files / "joined").rglob("*.png")}
    capsys.readouterr()
    dsg_jax(f"{TABLES} --images a --out joined")
    assert {path: path.stat().st_mtime_ns for path in images} == images  # nothing is made again
    check_reports(files / "joined")
    assert "--save-every" not in capsys.readouterr().out
    dsg_jax("calibrate --setting gaussian:box_inpainting --solver dps --rules none --truths 5"
            " --steps 3 --out calibrated")  # fmt: skip


def check_reports(folder):
    """Of both shards every row is there, with finite numbers, the paper's, and its prior."""
    priors = {}
    for name, rows in (("table1", 8), ("table2", 8), ("table4", 4), ("fig6", 2 * 5)):
        card = json.loads((folder / name / "card.json").read_text())
        priors |= card["priors"]
        lines = list(csv.DictReader((folder / name / "table.csv").open()))
        psnr = {(n["row"], n["x"]): float(n["mean"]) for n in lines if n["metric"] == "psnr"}
        assert len(psnr) == rows and np.isfinite(list(psnr.values())).all()
        assert {line["runs"] for line in lines} == {"1"} and len(card["images"]) == 1
        report = (folder / name / "report.md").read_text()
        assert card["priors"]["psld" if name != "table4" else "daps"] in report
    assert "Left out by choice.** box_inpainting." in (folder / "table2" / "report.md").read_text()
    words = [priors[solver] for solver in ("psld", "resample")]
    assert "(EMA), as its reference" in words[0] and "(raw), as its reference" in words[1]
    assert all(a != b for a, b in pairwise(sorted(priors.values())))

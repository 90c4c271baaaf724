"""What the user may get wrong, and the files that `restore` reads and writes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsg_jax.operators.tasks import TASKS
from dsg_jax.priors.samples import SAMPLES, sample_images
from experiments.__main__ import main
from experiments.arguments import TASK_NAMES
from experiments.files import append_records, read_records
from experiments.images import crop_and_resize, image_files, png, read_image
from experiments.pictures import Cell, error_map, grid, show_measurement
from experiments.restore import plan as plan_module
from support.gaussian_prior import gaussian_prior

CARD = {"name": "emoji", "size": 16, "size_multiple": 4, "channels": 3}
BOX = "--task box_inpainting "
MEASURED = BOX + "--measured y.png --mask mask.png "


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with good and bad input, and a toy prior in place of the bundled ones."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plan_module, "load_prior", lambda name, **placed: (gaussian_prior(), CARD))
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
    for name in ("y.png", "twice/x.png", "twice/x.bmp"):
        Path(name).parent.mkdir(exist_ok=True)
        picture.save(name)
    picture.resize((18, 16)).save("odd.png")
    picture.resize((8, 8)).save("tiny.png")
    Image.new("L", (20, 16)).save("mask.png")
    Image.new("L", (3, 3)).save("black.png")
    Image.new("L", (4, 4), "white").save("even.png")
    Path("torn.png").write_bytes(Path("y.png").read_bytes()[:300])
    Path("text.png").write_text("not an image")
    Path("empty").mkdir()
    np.save("nan.npy", np.full((16, 16, 3), np.nan))
    np.save("grey.npy", np.zeros((16, 16)))
    np.save("bytes.npy", np.full((16, 16, 3), 200.0))
    np.save("names.npy", np.array(["a"]))
    Path("bad.npy").write_bytes(b"\x93NUMPY but no more")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("--task foo", "'foo'"),
        (BOX + "--tau 0", "tau=0.0"),
        (BOX + "--tau 1.5", "tau=1.5"),
        (BOX + "--tau x", "--tau"),
        (BOX + "--rank-rule best", "'best'"),
        (BOX + "--period 0", "period=0"),
        (BOX + "--sigma nan", "--sigma nan"),
        (BOX + "--sigma -1", "--sigma -1"),
        (BOX + "--samples 0", "--samples 0"),
        (BOX + "--seed -1", "--seed -1"),
        (BOX + "--seed 4294967296", "--seed"),
        (BOX + "--count 99", "99"),
        (BOX + "--size 18", "divisible by 4"),
        (BOX + "--box 99", "99"),
        (BOX + "--steps 10", "--steps is an option of dps or psld"),
        (BOX + "--solver dps --levels 10", "--levels is an option of daps or latent-daps"),
        (BOX + "--solver dps --steps 2000", "2000"),
        (BOX + "--factor 2", "--factor is no option"),
        (BOX + "--out y.png", "y.png is a file"),
        (BOX + "--mask mask.png", "--measured"),
        (BOX + "--images missing.png", "missing.png does not exist"),
        (BOX + "--images torn.png", "torn.png is not a readable image"),
        (BOX + "--images text.png", "text.png is not a readable image"),
        (BOX + "--images empty", "empty holds no image"),
        (BOX + "--images twice", "two images are called 'x'"),
        (BOX + "--images odd.png --fit none", "odd.png is 16 x 18"),
        (BOX + "--images tiny.png --fit none", "tiny.png is 8 x 8"),
        ("--task super_resolution --factor 3", "factor 3"),
        ("--task nonlinear_deblur", "GOPRO"),
        ("--task gaussian_deblur --kernel-size 4", "4"),
        (MEASURED, "mask.png is 16 x 20, but the measurement is 16 x 16"),
        (MEASURED + "--images y.png", "give one"),
        (MEASURED + "--kernel black.png", "--kernel does not belong"),
        (MEASURED + "--box 4", "--box does not belong"),
        (BOX + "--measured y.png", "also needs --mask"),
        (BOX + "--measured nan.npy --mask mask.png", "nan.npy holds NaN"),
        (BOX + "--measured grey.npy --mask mask.png", "(16, 16, 1)"),
        (BOX + "--measured bytes.npy --mask mask.png", "scale it to [-1, 1]"),
        (BOX + "--measured names.npy --mask mask.png", "names.npy"),
        (BOX + "--measured bad.npy --mask mask.png", "bad.npy"),
        (BOX + "--measured y.png --mask absent.png", "absent.png"),
        ("--task all --measured y.png", "one task"),
        ("--task motion_deblur --measured y.png --kernel black.png", "black.png sums to 0"),
        ("--task motion_deblur --measured y.png --kernel even.png", "(4, 4)"),
        ("--task phase_retrieval --measured y.png", ".npy"),
        ("--task phase_retrieval --measured bytes.npy", "(24, 24, 3)"),
        ("--task super_resolution --measured tiny.png --factor 0", "factor 0"),
    ],
)
def test_one_clear_line(folder, capsys, given, named):
    before = sorted(folder.rglob("*"))
    out = [] if "--out" in given else ["--out", "out"]
    try:
        code = main(["restore", *given.split(), *out])
    except SystemExit as exit:
        code = exit.code
    printed = capsys.readouterr()
    assert code == 2 and named in printed.err and not printed.out
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


def test_the_log_of_another_program_is_refused(folder, capsys):
    Path("out").mkdir()
    Path("out/metrics.jsonl").write_text('{"loss": 1.0}\n')
    assert main(["restore", *BOX.split(), "--out", "out"]) == 2
    assert "metrics.jsonl is the log of another program" in capsys.readouterr().err


def test_a_prior_that_does_not_exist(tmp_path, capsys):
    given = [
        "restore",
        *BOX.split(),
        "--prior",
        str(tmp_path / "none"),
        "--out",
        str(tmp_path / "o"),
    ]
    assert main(given) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err and not (tmp_path / "o").exists()


def test_help_names_every_task_without_importing_jax():
    assert TASK_NAMES == tuple(TASKS)
    code = "import sys; from experiments.__main__ import parser; parser().format_help()"
    code += "; assert not {'jax', 'PIL', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", SAMPLES)
def test_bundled_samples(name):
    names, images = sample_images(name)
    assert images.shape == (len(names), SAMPLES[name], SAMPLES[name], 3)
    assert images.dtype == np.float32 and images.min() >= -1 and images.max() <= 1
    assert names == sorted(set(names)) and sample_images(name, 2)[0] == names[:2]
    licences = (
        Path(plan_module.__file__).parents[2] / "dsg_jax/bundled/samples/LICENCES.md"
    ).read_text()
    assert all(f"| {n}.png |" in licences for n in names)
    with pytest.raises(ValueError, match="count=0"):
        sample_images(name, 0)


def test_formats_that_are_read(tmp_path):
    grey = np.arange(0, 256, 16, dtype=np.uint8).reshape(4, 4)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    clear = np.zeros((4, 4, 4), np.uint8)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    Image.new("RGB", (8, 4)).save(tmp_path / "turned.jpg", exif=exif)
    expected = np.repeat(grey[..., None], 3, axis=2) / 127.5 - 1
    for name in ("grey.png", "deep.png"):
        np.testing.assert_allclose(read_image(tmp_path / name), expected, atol=1e-6)
    np.testing.assert_array_equal(read_image(tmp_path / "clear.png"), 1)
    assert read_image(tmp_path / "turned.jpg").shape == (8, 4, 3)
    assert read_image(tmp_path / "grey.png", 1).shape == (4, 4, 1)
    assert [f.name for f in image_files([tmp_path])] == [
        "clear.png",
        "deep.png",
        "grey.png",
        "turned.jpg",
    ]


def test_png_keeps_every_grey_level(tmp_path):
    x = np.linspace(-1, 1, 256, dtype=np.float32).reshape(16, 16, 1)
    (tmp_path / "x.png").write_bytes(png(x))
    np.testing.assert_allclose(read_image(tmp_path / "x.png", 1), x, atol=1e-6)
    assert png(np.full((2, 2, 3), np.nan)) == png(np.full((2, 2, 3), -1.0))


def test_crop_takes_the_centre():
    x = np.zeros((8, 20, 3), np.float32)
    x[:, 6:14] = 1
    np.testing.assert_array_equal(crop_and_resize(x, 8), 1)
    assert crop_and_resize(x, 5).shape == (5, 5, 3)


def test_a_torn_line_is_left_out_and_overwritten(tmp_path):
    log = tmp_path / "log.jsonl"
    append_records(log, [{"hash": 1}, {"hash": 2}])
    with open(log, "ab") as stream:
        stream.write(b'{"hash": 3')
    assert read_records(log, {"hash"}) == ([{"hash": 1}, {"hash": 2}], [])
    append_records(log, [{"hash": 4}])
    assert [json.loads(line)["hash"] for line in log.read_text().splitlines()] == [1, 2, 4]
    with pytest.raises(ValueError, match="of another program"):
        read_records(log, {"png"})


def test_grid_shows_measurements_of_any_shape():
    low, wide = np.zeros((4, 4, 3), np.uint8), np.full((24, 24, 3), (200, 100, 50), np.uint8)
    drawn = grid(
        ["low", "wide", "last"], [[Cell(low), Cell(wide), Cell(low.repeat(4, 0).repeat(4, 1))]]
    )
    assert drawn.shape[0] > 192 and drawn.shape[1] > 3 * 192
    assert (drawn == (200, 100, 50)).all(axis=2).sum() == 192 * 192
    magnitude = show_measurement("phase_retrieval", np.array([[[0.0], [85.0]]]))
    np.testing.assert_allclose(magnitude, [[[-1], [1]]], atol=1e-6)
    error = error_map(np.zeros((1, 2, 3)), np.array([[[0.5] * 3, [0.0] * 3]]))
    assert error.tolist() == [[[255] * 3, [0] * 3]]

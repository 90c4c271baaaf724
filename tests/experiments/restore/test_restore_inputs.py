"""What the user may get wrong, and the files that `restore` reads and writes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tifffile import imwrite

from dsg_jax.priors.samples import SAMPLES, sample_images
from experiments.__main__ import main
from experiments.decode import read_image
from experiments.images import crop_and_resize, image_files, png
from experiments.pictures import Panel, error_map, grid, show_measurement
from experiments.restore import plan as plan_module
from experiments.settings import as_table
from support.errors_commands_inputs import deep_png
from support.gaussian_prior import gaussian_prior
from support.words import settings_of

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
    picture.save("y.png")
    picture.resize((8, 8)).save("tiny.png")
    Image.new("L", (20, 16)).save("mask.png")
    Image.new("L", (4, 4), "white").save("even.png")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (BOX + "--tau x", "--tau"),
        (BOX + "--rank-rule best", "'best'"),
        (BOX + "--count 99", "99"),
        (BOX + "--box 99", "99"),
        (BOX + "--solver dps --levels 10", "--levels is an option of daps or latent-daps"),
        ("--task super_resolution --factor 3", "factor 3"),
        ("--task gaussian_deblur --kernel-size 4", "4"),
        (MEASURED + "--box 4", "--box does not belong"),
        (BOX + "--measured y.png --mask absent.png", "absent.png"),
        ("--task motion_deblur --measured y.png --kernel even.png", "4 x 4"),
        ("--task super_resolution --measured tiny.png --factor 0", "factor=0"),
    ],
)
def test_one_clear_line(folder, capsys, words, named):
    """Of those that `test_errors` does not provoke; nothing is written."""
    before = sorted(folder.rglob("*"))
    code = main(["restore", *words.split(), "--out", "out"])
    printed = capsys.readouterr()
    assert code == 2 and named in printed.err and not printed.out
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


def test_a_prior_that_does_not_exist(tmp_path, capsys):
    words = [
        "restore",
        *BOX.split(),
        "--prior",
        str(tmp_path / "none"),
        "--out",
        str(tmp_path / "o"),
    ]
    assert main(words) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err and not (tmp_path / "o").exists()


def test_help_knows_every_task_and_option_without_importing_jax():
    code = """
import contextlib, io, sys
from experiments.__main__ import main
shown = io.StringIO()
for command in ("restore", "reproduce", "calibrate", "train-prior"):
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        main([command, "--help"])
from dsg_jax.operators.tasks import TASKS
from dsg_jax.solvers import SOLVERS
entries = (*TASKS.values(), *SOLVERS.values())
names = [option for entry in entries for option in entry.options]
assert all(f"--{name.replace('_', '-')} " in shown.getvalue() for name in names)
assert all(entry.name in shown.getvalue() for entry in entries)
assert not {"jax", "PIL"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_settings_file_is_what_run_json_shows(folder, capsys):
    """The command line wins over the file; what is unknown or of another type is one line."""
    words = (
        "--task super_resolution hdr --solver dps --steps 4 --tau 0.9 0.99 --factor 2 --sigma 0.1"
    )
    settings = settings_of("restore", *words.split())
    Path("run.toml").write_text(toml(as_table(settings)))
    assert settings_of("restore", "--settings", "run.toml") == settings
    changed = settings_of("restore", "--settings", "run.toml", "--steps", "5", "--sigma", "0.2")
    assert changed.solver_options == {"steps": 5} and changed.measurement.sigma == 0.2
    assert changed.method == settings.method
    for text, message in {
        "[run]\nsede = [1]": "no 'sede' there; known: samples, seed",
        "run = 1": "run is a table, write [run]",
        "[run]\nsamples = 'many'": "run.toml: samples = 'many' is not of its type",
        "[run]\nsamples = 0": "run.toml: --samples 0: give a whole number from 1 to 65,536",
        "[run": "run.toml cannot be read",
    }.items():
        Path("run.toml").write_text(text)
        assert main(["restore", "--settings", "run.toml"]) == 2
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1
    assert main(["restore", "--settings"]) == 2
    assert "--settings names no file" in capsys.readouterr().err


def toml(table) -> str:
    """Tables of JSON values as TOML."""
    entries = {name: rows for name, rows in table.items()}
    lines = [
        f"[{name}]\n" + "\n".join(f"{k} = {json.dumps(v)}" for k, v in rows.items())
        for name, rows in entries.items()
    ]
    return "\n".join(lines)


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


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_16_bits_are_kept(tmp_path, channels):
    levels = np.random.default_rng(1).integers(0, 65536, (7, 5, channels), np.uint16)
    levels[0, 0, 3:] = 65535
    (tmp_path / "x.png").write_bytes(deep_png(levels))
    for order in "<>":
        alpha = ["unassalpha"] if channels == 4 else None
        imwrite(
            tmp_path / f"{order}.tif",
            levels,
            byteorder=order,
            photometric="rgb",
            extrasamples=alpha,
        )
    opacity = levels[..., 3:] / 65535 if channels == 4 else 1
    x = 2 * (levels[..., :3] / 65535 * opacity + 1 - opacity) - 1
    for file in tmp_path.iterdir():
        np.testing.assert_allclose(read_image(file), x, atol=1e-6)
        grey = x @ (0.299, 0.587, 0.114)
        np.testing.assert_allclose(read_image(file, 1)[..., 0], grey, atol=1e-6)


@pytest.mark.parametrize(
    ("task", "shape", "camera", "restored"),
    [
        ("super_resolution", (4, 5, 3), ("--factor", 4), (16, 20, 3)),
        ("motion_deblur", (16, 20, 3), ("--kernel", "kernel.npy"), (16, 20, 3)),
        ("phase_retrieval", (24, 24, 3), (), (16, 16, 3)),
        ("hdr", (16, 20, 3), (), (16, 20, 3)),
    ],
)
def test_measured_arrays_fit_their_task(tmp_path, monkeypatch, task, shape, camera, restored):
    monkeypatch.chdir(tmp_path)
    np.save("y.npy", np.random.default_rng(2).random(shape))
    np.save("kernel.npy", np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]]))
    words = "--task", task, "--out", "out", "--measured", "y.npy", *camera
    job = plan_module.plan(settings_of("restore", *words), (gaussian_prior(), CARD)).jobs[0]
    assert job.shape == restored
    flat = job.items[0].problem.operator.forward(np.ones(restored, np.float32))
    assert flat.shape == shape
    if task == "motion_deblur":
        np.testing.assert_allclose(flat, 1, atol=1e-5)


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


def test_grid_shows_measurements_of_any_shape():
    low, wide = np.zeros((4, 4, 3), np.uint8), np.full((24, 24, 3), (200, 100, 50), np.uint8)
    drawn = grid(
        ["low", "wide", "last"], [[Panel(low), Panel(wide), Panel(low.repeat(4, 0).repeat(4, 1))]]
    )
    assert drawn.shape[0] > 192 and drawn.shape[1] > 3 * 192
    assert (drawn == (200, 100, 50)).all(axis=2).sum() == 192 * 192
    magnitude = show_measurement("phase_retrieval", np.array([[[0.0], [85.0]]]))
    np.testing.assert_allclose(magnitude, [[[-1], [1]]], atol=1e-6)
    error = error_map(np.zeros((1, 2, 3)), np.array([[[0.5] * 3, [0.0] * 3]]))
    assert error.tolist() == [[[255] * 3, [0] * 3]]

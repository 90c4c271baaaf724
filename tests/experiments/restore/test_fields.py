"""Priors of one and two channels through `restore`: what is read, measured, drawn and written."""

import json
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from jax.tree_util import Partial
from PIL import Image

from dsg_jax.clock import table_clock
from dsg_jax.metrics import psnr
from dsg_jax.networks.edm import EDMConfig
from dsg_jax.schedule import scaled_linear_betas
from dsg_jax.solvers import SOLVERS
from dsg_jax.types import FirstStage
from experiments.__main__ import main
from experiments.decode import read_image
from experiments.fields import Units, cubehelix
from experiments.restore.command import restore
from experiments.restore.plan import plan
from support.gaussian_prior import gaussian_prior, native_gaussian
from support.golden_case import GOLDEN
from support.state_files import entries, random_state, write_state
from support.words import settings_of

SCALING = {"mean": 3.0, "std": 2.0}
UNITS = Units(2, True, **SCALING)
TWO_CHANNELS = GOLDEN / "checkpoints" / "inversebench_2ch_net_only.pt"
SHORT = {
    "dps": "--steps 4",
    "daps": "--levels 2 --inner-steps 2",
    "psld": "--steps 4 --step-factor 2",
    "resample": "--steps 40 --pixel-limit 2 --latent-limit 2",
    "latent-dps": "--steps 4 --zeta 0.2",
    "latent-daps": "--levels 2 --inner-steps 2",
    "fast-dips": "--levels 2",
    "latent-fast-dips": "--levels 2 --passes 2",
    "flowdps": "--steps 4 --step-size 0.1",
    "flowchef": "--steps 4 --step-size 0.1",
    "pnpdm": "--levels 2 --reverse-steps 8 --inner-steps 2 --likelihood langevin",
    "sitcom": "--steps 2 --inner-steps 2",
    "pigdm": "--steps 3",
    "diffpir": "--steps 4",
    "red-diff": "--steps 4",
    "spgd": "--levels 2 --inner-steps 2",
}
# An autoencoder of pairs of pixels, whatever their channels.
STAGE = FirstStage(
    Partial(lambda z: z.repeat(2, axis=0).repeat(2, axis=1)),
    Partial(lambda x, noise: (x[::2, ::2] + x[1::2, 1::2]) / 2),
    2,
)


def card(channels: int, **more) -> dict:
    facts = {"name": "tiny", "samples": "emoji", "size": 16, "size_multiple": 4}
    return facts | {"channels": channels} | more


def field(path: Path, channels: int, side: int = 16) -> np.ndarray:
    """Values around 3, (h, w) of one channel, saved in a file."""
    places = np.arange(side * side * channels, dtype=np.float32).reshape(side, side, channels)
    values = 3 + 3 * np.sin(places / 9)
    np.save(path, values[..., 0] if channels == 1 else values)
    return values


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_restores_fields_plain_and_projected(solver, channels, tmp_path):
    truth = field(tmp_path / "a.npy", channels)
    prior = gaussian_prior(0.0, 0.3)
    if SOLVERS[solver].prior == "latent":
        latent = native_gaussian(table_clock(scaled_linear_betas()), 0.0, 0.3, STAGE)
        prior = latent._replace(network=Partial(latent.network))
    words = f"--task super_resolution --factor 2 --solver {solver} {SHORT[solver]}".split()
    settings = settings_of("restore", *words, "--images", tmp_path / "a.npy", "--out", tmp_path)
    records = restore(settings, (prior, card(channels, scaling=SCALING)))
    assert [record["method"] for record in records] == [solver, f"{solver}-dsg"]
    for record in records:
        values = np.load((tmp_path / record["png"]).with_suffix(".npy"))
        assert record["finite"] and values.shape == (16, 16, channels) and record["lpips"] is None
        expected = 10 * np.log10(8**2 / np.mean((values - truth) ** 2))  # 8 = 4 standard deviations
        np.testing.assert_allclose(record["psnr"], expected, atol=1e-3)
        assert read_image(tmp_path / record["png"]).shape == (16, 16 * channels, 3)
        assert 0 < record["rank_mean"] <= 16
    assert records[1]["settings"]["projection"]["rule"] == "per_channel"


def test_what_a_run_of_fields_writes_is_read_again(tmp_path, capsys):
    """Arrays in the prior's units, of samples, truths and measurements; pictures beside them."""
    truth, fields = field(tmp_path / "a.npy", 2), (gaussian_prior(), card(2, scaling=SCALING))
    task = "--task", "box_inpainting", "--solver", "dps", "--steps", 5, "--projection", "none"
    words = *task, "--sigma", 0, "--samples", 2, "--out", tmp_path / "out"
    settings = settings_of("restore", *words, "--images", tmp_path / "a.npy")
    records, folder = restore(settings, fields), tmp_path / "out" / "box_inpainting"
    table = (tmp_path / "out" / "summary.md").read_text()
    assert "from -1 (black) to 7 (white). PSNR's peak and SSIM's range are 8" in table
    np.testing.assert_allclose(np.load(folder / "truth" / "a.npy"), truth, atol=1e-6)
    pair = [np.load((tmp_path / "out" / r["png"]).with_suffix(".npy")) for r in records]
    np.testing.assert_allclose(np.load(folder / "dps/a_mean.npy"), np.mean(pair, axis=0), atol=1e-5)
    np.testing.assert_allclose(np.load(folder / "dps/a_std.npy"), np.std(pair, axis=0), atol=1e-5)
    measured = np.load(folder / "measurement" / "a.npy")
    known = read_image(folder / "mask" / "a.png", 1)[..., 0] > 0
    np.testing.assert_allclose(measured[known], truth[known], atol=1e-5)
    np.testing.assert_allclose(measured[~known], 3)  # the mean
    assert read_image(folder / "measurement/a.png", 3).shape == (16, 32, 3)  # side by side
    again = "--measured", folder / "measurement", "--mask", folder / "mask", "--out", tmp_path
    (job,) = plan(settings_of("restore", *task, *again), fields).jobs
    np.testing.assert_allclose(job.items[0].problem.y, UNITS.state(measured), atol=1e-6)
    # One that was changed or deleted is made again.
    path = (tmp_path / "out" / records[0]["png"]).with_suffix(".npy")
    content = path.read_bytes()
    path.write_bytes(content + b"0")
    assert restore(settings, fields)[0]["npy_sha256"] == records[0]["npy_sha256"]
    assert path.read_bytes() == content and "is not the image that" in capsys.readouterr().err


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_coefficients_of_a_field_are_read_again(channels, tmp_path):
    """They are of states; those of two channels are of one complex image."""
    field(tmp_path / "a.npy", channels)
    fields = gaussian_prior(), card(channels, scaling=SCALING)
    task = "--task", "fourier_subsampling", "--solver", "dps", "--steps", 3, "--projection", "none"
    first = "--images", tmp_path / "a.npy", "--sigma", 0, "--out", tmp_path / "out"
    restore(settings_of("restore", *task, *first), fields)
    folder = tmp_path / "out" / "fourier_subsampling"
    again = "--measured", folder / "measurement", "--mask", folder / "mask", "--out", tmp_path
    (job,) = plan(settings_of("restore", *task, *again), fields).jobs
    parts = 2 if channels == 2 else 2 * channels
    assert job.shape == (16, 16, channels) and job.items[0].problem.y.shape == (16, 16, parts)
    np.testing.assert_allclose(job.items[0].problem.y, np.load(folder / "measurement/a.npy"))


@pytest.mark.parametrize("channels", [1, 2])
def test_converted_checkpoints_of_fields_restore_by_the_command(channels, tmp_path, monkeypatch):
    """InverseBench's file of two channels, and one of its form and of random weights."""
    monkeypatch.chdir(tmp_path)
    file = TWO_CHANNELS
    if channels == 1:
        config = EDMConfig("dhariwal", 16, 16, (1, 1), 1, (8,), 1, 1)
        file = write_state(tmp_path / "own.pt", entries(random_state("edm", {"unet": config})))
    words = "--preconditioning", "vp", "--mean", "0", "--std", "5"
    assert main(["convert", str(file), "--out", "prior", *words]) == 0
    truth = 10 * np.sin(np.arange(16 * 16 * channels, dtype=np.float32)).reshape(16, 16, channels)
    np.save("w.npy", truth)
    words = "--task random_inpainting --levels 2 --inner-steps 1 --images w.npy --out out".split()
    assert main(["restore", "--prior", "prior", *words]) == 0
    records = [json.loads(line) for line in Path("out/metrics.jsonl").read_text().splitlines()]
    assert [r["settings"]["shape"] for r in records] == [[16, 16, channels]] * 2
    restored = UNITS._replace(mean=0.0, std=5.0).state(
        np.load(Path("out", records[1]["png"]).with_suffix(".npy"))
    )
    value = psnr(restored, truth / 10, clip=False)
    np.testing.assert_allclose(records[1]["psnr"], value, atol=1e-3)


def test_colour_files_become_grey_and_it_is_said_once(tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    for name in ("a.png", "b.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    words = "--task", "hdr", "--images", tmp_path, "--out", tmp_path / "out"
    (job, _) = plan(settings_of("restore", *words), (gaussian_prior(), card(1))).jobs
    grey = (pixels @ np.float32((0.299, 0.587, 0.114)))[..., None]
    np.testing.assert_allclose((job.items[0].picture.pixels + 1) * 127.5, grey, atol=0.51)
    assert capsys.readouterr().err.count("luminance is taken, 0.299 R + 0.587 G + 0.114 B") == 1


def test_the_colours_of_fields_are_cubehelix():
    shares = np.arange(256) / 255
    expected = matplotlib.colormaps["cubehelix"](shares)[:, :3]
    np.testing.assert_allclose(cubehelix(shares), expected, atol=1e-3)
    assert np.diff(cubehelix(shares) @ (0.30, 0.59, 0.11)).min() > 0
    assert cubehelix(np.array([np.nan, -1.0, 2.0])).tolist() == [[0] * 3, [0] * 3, [1] * 3]


def test_a_larger_field_is_cut_and_never_resampled(tmp_path):
    values = field(tmp_path / "a.npy", 2, side=20)
    words = "--task", "identity", "--images", tmp_path / "a.npy", "--out", tmp_path / "out"
    (job, _) = plan(settings_of("restore", *words), (gaussian_prior(), card(2))).jobs
    np.testing.assert_array_equal(job.items[0].picture.pixels, values[2:18, 2:18])

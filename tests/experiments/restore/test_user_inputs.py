"""What the user's files mean: ranges, partners, sizes, and what a run saves to be read again."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dsg_jax.operators.tasks import TASKS, operator_for, reference_operator
from experiments.__main__ import main
from experiments.decode import read_image
from experiments.fields import PHOTOGRAPHS, Units
from experiments.images import image_files, load_pictures
from experiments.restore.gallery import write_camera, write_problems
from experiments.restore.measured import read_measurement
from experiments.restore.plan import chosen_pictures, plan
from experiments.settings import Images
from support.gaussian_prior import gaussian_prior
from support.tiny_command import CARD, command
from support.words import settings_of

RNG = np.random.default_rng(0)
SHAPE = (16, 16, 3)
ANY_SIZE = {"architecture": {"attention_factors": [], "middle_attention": False}}


def items_of(*words):
    """The items of a planned `restore`, with a prior of 16 x 16 pixels."""
    planned = plan(settings_of("restore", "--out", "out", *words), (gaussian_prior(), CARD))
    return planned.jobs[0].items


def saved(path, pixels):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("ends", [(-1, 1), (0, 1), (0, 255), (16, 235)])
def test_a_range_says_what_black_and_white_are(tmp_path, ends):
    black, white = ends
    x = RNG.uniform(-1, 1, SHAPE)
    np.save(tmp_path / "y.npy", (x + 1) / 2 * (white - black) + black)
    np.testing.assert_allclose(
        read_measurement(tmp_path / "y.npy", PHOTOGRAPHS, "hdr", ends), x, atol=1e-5
    )


def test_every_measured_image_has_its_partner(tmp_path, monkeypatch):
    """A folder has one mask for each, by name; a file serves all."""
    monkeypatch.chdir(tmp_path)
    masks = {name: RNG.integers(0, 2, SHAPE[:2]).astype(bool) for name in ("a", "b")}
    for name, mask in masks.items():
        saved(Path(f"measured/{name}.png"), RNG.integers(0, 255, SHAPE, np.uint8))
        saved(Path(f"masks/{name}.bmp"), mask)
    words = "--task", "box_inpainting", "--measured", "measured", "--mask"
    for file in ("masks", "masks/b.bmp"):
        for item in items_of(*words, file):
            known = item.problem.operator.forward(jnp.ones(SHAPE))[..., 0]
            name = item.picture.name if file == "masks" else "b"
            np.testing.assert_array_equal(known, masks[name])


@pytest.mark.parametrize(
    "task", ["random_inpainting", "motion_deblur", "gaussian_deblur", "fourier_subsampling"]
)
def test_saved_masks_and_kernels_are_read_again(tmp_path, task):
    words = "--task", task, "--size", 32, "--count", 2
    planned = plan(settings_of("restore", *words), (gaussian_prior(), CARD))
    write_problems(tmp_path, "measurement", planned.jobs, PHOTOGRAPHS)
    write_camera(tmp_path, "", planned.jobs)
    need = TASKS[task].needs
    measured = sorted((tmp_path / "measurement").glob("*.npy"))
    again = items_of("--task", task, f"--{need}", tmp_path / need, "--measured", *measured)
    x = jnp.asarray(RNG.uniform(-1, 1, (32, 32, 3)), jnp.float32)
    for item, read in zip(planned.jobs[0].items, again):
        degraded = (one.problem.operator.forward(x) for one in (item, read))
        np.testing.assert_allclose(*degraded, atol=1e-6)


@pytest.mark.parametrize("task", ["box_inpainting", "random_inpainting", "motion_deblur"])
def test_one_operator_for_all_images(task):
    x = jnp.asarray(RNG.uniform(-1, 1, (32, 32, 3)), jnp.float32)
    expected = {"reference": reference_operator(task, x.shape), "7": operator_for(task, x.shape, 7)}
    for seed, operator in expected.items():
        words = "--task", task, "--size", "32", "--count", "3", "--operator-seed", seed
        for item in items_of(*words):
            np.testing.assert_array_equal(item.problem.operator.forward(x), operator.forward(x))


def test_poisson_noise_is_measured_and_guides(tmp_path, tiny):
    """Photons are counted; a hole, which is 0, does not make the guidance infinite."""
    words = "--task hdr --solver dps --noise poisson --peak 20 --count 2".split()
    for item in items_of(*words):
        photons = (np.asarray(item.problem.y) + 1) * 10
        np.testing.assert_allclose(photons, np.round(photons), atol=1e-4)
        clean = np.asarray(item.problem.operator.forward(jnp.asarray(item.picture.pixels)))
        assert 0.5 < np.mean((item.problem.y - clean) ** 2) * 20 / np.mean(2 * (clean + 1)) < 1.5
    saved(tmp_path / "y.png", RNG.integers(0, 255, SHAPE, np.uint8))
    saved(tmp_path / "mask.png", np.eye(16, dtype=bool))
    words = "restore --solver dps --steps 2 --projection none --task box_inpainting --noise poisson"
    files = "--mask", tmp_path / "mask.png", "--measured", tmp_path / "y.png"
    assert main(command(words, tmp_path / "out", *files)) == 0
    assert '"finite": true' in (tmp_path / "out/metrics.jsonl").read_text()


def test_a_prior_that_only_convolves_keeps_the_size(tmp_path):
    """Of the user's own images, cut to the multiple; other priors, and --size, have squares."""
    path = saved(tmp_path / "a.png", RNG.integers(0, 255, (45, 30, 3), np.uint8))
    shape = lambda card, **chosen: chosen_pictures(Images((path,), **chosen), CARD | card)[0].pixels
    np.testing.assert_array_equal(shape(ANY_SIZE), read_image(path)[:44, 1:29])
    assert shape({}).shape == shape(ANY_SIZE, fit="crop").shape == (16, 16, 3)
    assert shape(ANY_SIZE, size=20).shape == (20, 20, 3)


def test_hidden_files_are_no_images(tmp_path):
    path = saved(tmp_path / "a.png", np.zeros((16, 16), np.uint8))
    for name in ("._a.png", ".a.png", "._b.jpg"):
        (tmp_path / name).write_bytes(b"Mac OS X")
    assert image_files([tmp_path]) == [path]
    common = dict(fit="none", chosen=True, size=16, multiple=4, units=Units(1, False))
    assert [p.name for p in load_pictures([tmp_path], count=1, **common)] == ["a"]

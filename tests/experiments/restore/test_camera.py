"""Masks and kernels as users have them: conventions, formats, and what is said of doubtful ones."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import convolve, correlate

from dsg_jax.operators.linear import blur
from dsg_jax.types import Problem
from experiments.decode import Unreadable, read_image
from experiments.images import readable
from experiments.restore.camera import read_kernel, read_mask
from experiments.restore.orientation import warn_if_turned

RNG = np.random.default_rng(0)
COMET = np.array([[0, 0, 0, 9, 5, 3, 2], [0, 0, 1, 0, 5, 4, 1], [0, 0, 0, 0, 0, 2, 1]], float)


def saved(path, array):
    np.save(path, array) if path.suffix == ".npy" else Image.fromarray(array).save(path)
    return path


@pytest.mark.parametrize(
    ("convention", "filtered"), [("psf", convolve), ("correlation", correlate)]
)
@pytest.mark.parametrize("suffix", [".npy", ".png"])
def test_a_kernel_is_what_its_convention_says(tmp_path, convention, filtered, suffix):
    weights = RNG.integers(0, 256, (5, 3)).astype(np.uint8)
    path = saved(tmp_path / f"kernel{suffix}", weights)
    x = RNG.uniform(-1, 1, (12, 14, 3)).astype(np.float32)
    y = blur(x.shape, read_kernel(path, convention)).forward(x)
    expected = filtered(x, weights[..., None] / weights.sum(dtype=float), mode="mirror")
    np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("turned", "kernel", "noise"),
    [
        *[(turned, COMET, noise) for turned in (False, True) for noise in (0, 0.03)],
        (True, np.outer(*[np.hanning(9)[1:-1]] * 2), 0.01),
    ],
)
def test_a_kernel_that_is_turned_is_said(capsys, turned, kernel, noise):
    """But no right and no symmetric one; what lay beyond the border is not known."""
    scene = np.kron(RNG.uniform(-1, 1, (10, 10, 1)), np.ones((8, 8, 1)))
    wide = blur(scene.shape, kernel / kernel.sum()).forward(scene)[8:-8, 8:-8]
    y = np.asarray(wide) + noise * RNG.normal(size=wide.shape)
    stated = kernel[::-1, ::-1] if turned else kernel
    problem = Problem(blur(y.shape, stated / kernel.sum()), np.float32(y), noise)
    warn_if_turned(problem, "y.png", "correlation")
    said = capsys.readouterr().err
    assert ("is it meant by --kernel-is correlation?" in said) == (turned and kernel is COMET)


def test_masks_are_cut_alike_in_all_formats(tmp_path, capsys):
    levels = RNG.integers(0, 256, (8, 6)).astype(np.uint8)
    levels[0, :2] = 0, 255
    files = {
        "a.png": levels,
        "deep.png": levels.astype(np.uint16) * 257,
        "colours.png": np.repeat(levels[..., None], 3, axis=2),
        "a.npy": levels / 255,
    }
    for name, array in files.items():
        mask = read_mask(saved(tmp_path / name, array), (8, 6, 3))
        assert np.array_equal(mask, levels > 127)
        count = int(np.sum((levels > 0) & (levels < 255)))
        assert f"has {count} grey pixels of 48" in capsys.readouterr().err
    binary = saved(tmp_path / "binary.png", levels > 127)
    assert np.array_equal(read_mask(binary, (8, 6)), levels > 127)
    assert not capsys.readouterr().err


def test_doubtful_inputs_are_said(tmp_path, capsys):
    read_kernel(saved(tmp_path / "flat.npy", np.ones((3, 3))), "psf")
    assert "is flat: the mean over 3 x 3" in capsys.readouterr().err
    dark = RNG.integers(0, 4096, (4, 4)).astype(np.uint16)
    x = read_image(saved(tmp_path / "dark.png", dark), 1)
    np.testing.assert_allclose(x[..., 0], dark / 32767.5 - 1, atol=1e-6)
    assert "uses 12 of its 16 bits" in capsys.readouterr().err


def test_metadata_does_not_decide_over_pixels(tmp_path, monkeypatch, capsys):
    def broken(picture):
        raise ValueError("argument out of range")

    path = saved(tmp_path / "a.png", RNG.integers(0, 256, (4, 4, 3)).astype(np.uint8))
    whole = read_image(path)
    monkeypatch.setattr("experiments.decode.ImageOps.exif_transpose", broken)
    np.testing.assert_array_equal(read_image(path), whole)
    assert "its EXIF orientation is damaged and not applied" in capsys.readouterr().err


def test_a_decoder_may_raise_anything(tmp_path, monkeypatch):
    """One bad file of several never costs the others."""
    good = saved(tmp_path / "good.png", np.zeros((4, 4), np.uint8))
    bad = saved(tmp_path / "bad.tif", np.zeros((4, 4), np.int32))
    assert [path for path, _ in readable([bad, good], read_image)] == [good]
    monkeypatch.setattr("experiments.decode.full_scale", lambda *_: 1 / 0)
    with pytest.raises(Unreadable, match="division by zero"):
        read_image(good)

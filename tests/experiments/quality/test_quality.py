"""The quality report compares like with like."""

import numpy as np
import pytest

from dsg_jax.operators.linear import blur
from dsg_jax.types import Problem
from experiments.images import Picture
from experiments.quality.bars import Bar, blur_kernel
from experiments.quality.command import (
    compare,
    markdown,
    phase_rows,
    psnr_where,
)
from experiments.restore.plan import Item


@pytest.mark.parametrize("size", [(64, 64, 3), (63, 80, 1)])
def test_the_kernel_is_read_off_the_operator(size):
    kernel = np.zeros((9, 9))
    kernel[2, 1:7] = 1 / 6
    item = Item(Picture("x", 0, np.zeros(size)), 0, Problem(blur(size, kernel), 0, 0.05), "", "")
    response = blur_kernel(item)
    margin = (response.shape[0] - 9) // 2
    np.testing.assert_allclose(response[margin:-margin, margin:-margin], kernel, atol=1e-6)
    assert response.sum() == pytest.approx(1, abs=1e-5)


def test_psnr_of_a_region():
    truth = np.zeros((4, 4, 1))
    x = truth + 0.2
    x[0, 0] = 1.0
    where = np.ones((4, 4), bool)
    where[0, 0] = False
    assert psnr_where(x, truth, where) == pytest.approx(20.0)
    assert psnr_where(x, truth) < 20


def test_phase_retrieval_counts_the_best_of_each_image():
    psnrs = {"a": (10.0, 25.0), "b": (None, 12.0)}
    records = [
        {"method": "daps", "image": image, "psnr": psnr}
        for image, pair in psnrs.items()
        for psnr in pair
    ]
    (row,) = phase_rows(records, 20.0)
    assert row["success_best"] == 0.5 and row["success_single"] == 0.25
    assert row["psnr_best"] == pytest.approx((25 + 12) / 2)


def test_a_mean_of_samples_gains_on_each_sample():
    """Two opposite errors: each sample is 20 dB away, their mean is exact."""
    truth = np.zeros((4, 4, 1), np.float32)
    item = Item(Picture("x", 0, truth), 0, Problem(None, 0, 0), "", "")
    bar = Bar("super_resolution", "off by 0.4", lambda items: [truth + 0.4], 10.0)
    row = compare(bar, [item], {"daps": [np.stack([truth + 0.2, truth - 0.2 + 1e-3])]})
    assert row["daps one"] == pytest.approx(20.0, abs=0.05) and not row["met one"]
    assert row["gain one"] == pytest.approx(6.02, abs=0.05)
    assert row["daps mean"] > 70 and row["met mean"]


def test_a_missed_bar_is_shown_as_missed():
    row = {"task": "t", "opponent": "o", "opponent_psnr": 20.0, "bar": 1.5}
    row |= {"daps one": 21.0, "gain one": 1.0, "daps mean": 23.0, "gain mean": 3.0}
    row["lpips"] = {"o": 0.5, "daps": 0.25}
    phase = {"method": "daps", "best_of": 4, "psnr_best": 1.0, "psnr_single": 1.0}
    phase |= {"success_best": 0.0, "success_single": 0.0}
    missed = markdown("emoji", [row | {"met one": False, "met mean": True}], [phase], "")
    line = next(line for line in missed.splitlines() if "**no**" in line)
    cells = [cell.strip() for cell in line.split("|")]
    assert cells[4:10] == ["21.00", "+1.00", "**no**", "23.00", "+3.00", "yes"]
    assert "LPIPS of one sample, t: o 0.500, daps 0.250" in missed

"""The quality report and the benchmark compare like with like."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.operators.kernels import gaussian_kernel, motion_kernel
from dsg_jax.operators.linear import blur, gaussian_blur
from dsg_jax.types import Problem
from experiments.images import Picture
from experiments.quality.command import Bar, blur_kernel, compare, decibels, markdown, phase_rows
from experiments.restore import report
from experiments.restore.plan import Item
from experiments.restore.report import summary, summary_rows
from experiments.speed.bench import depthwise
from support.report_lines import line

MOTION = motion_kernel(np.random.RandomState(0), 61, 0.5)


@pytest.mark.parametrize("size", [(64, 64, 3), (63, 80, 1)])
def test_the_kernel_is_read_off_the_operator(size):
    kernel = np.zeros((9, 9))
    kernel[2, 1:7] = 1 / 6
    item = Item(Picture("x", 0, np.zeros(size)), 0, Problem(blur(size, kernel), 0, 0.05), "", "")
    found = blur_kernel(item)
    margin = (found.shape[0] - 9) // 2
    np.testing.assert_allclose(found[margin:-margin, margin:-margin], kernel, atol=1e-6)
    assert found.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kernel", [gaussian_kernel(61, 3.0), MOTION], ids=["gaussian", "motion"])
def test_the_benchmark_times_equal_results(kernel):
    x = jax.random.normal(jax.random.key(0), (64, 64, 3))
    fast = blur(x.shape, kernel) if kernel is MOTION else gaussian_blur(x.shape, 61, 3.0)
    np.testing.assert_allclose(fast.forward(x), depthwise(kernel, x), atol=1e-5)


def test_decibels_of_a_region():
    truth = np.zeros((4, 4, 1))
    x = truth + 0.2
    x[0, 0] = 1.0
    where = np.ones((4, 4), bool)
    where[0, 0] = False
    assert decibels(x, truth, where) == pytest.approx(20.0)
    assert decibels(x, truth) < 20


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
    row = compare(
        bar, [item], bar.restore([item]), {"daps": [np.stack([truth + 0.2, truth - 0.2 + 1e-3])]}
    )
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
    assert "| 21.00 | +1.00 | **no** | 23.00 | +3.00 | yes |" in missed
    assert "LPIPS of one sample, t: o 0.500, daps 0.250" in missed


def test_jnp_problem_is_a_pytree():
    problem = Problem(blur((64, 64, 3), MOTION), jnp.zeros((64, 64, 3)), 0.05)
    doubled = jax.tree.map(lambda leaf: 2 * leaf, problem)
    x = jax.random.normal(jax.random.key(0), (64, 64, 3))
    np.testing.assert_allclose(
        doubled.operator.forward(x), 2 * problem.operator.forward(x), atol=1e-5
    )


def test_summary_counts_what_is_not_finite_as_failure():
    records = [line("a", 0, 30, 1.0), line("b", 0, 10, 2.0), line("c", 0, None, None, finite=False)]
    row = summary_rows(records, 20)[0]
    assert row[:7] == ("t", "m", "3", "20.00 (10.00)", "10.00", "0.200 (0.100)", "0.250")
    assert row[7:] == ("2/3 (67 %)", "1.500", "5.0", "0.500", "1.00")
    assert summary_rows(records[2:], 20)[0][3:8] == ("-", "-", "-", "-", "1/1 (100 %)")


def test_best_of_by_psnr_and_by_misfit():
    first = [line("a", 0, 30, 3.0), line("a", 1, 20, 1.0)]
    records = [*first, line("b", 0, None, None, finite=False), line("b", 1, 25, 2.0)]
    rows = {row[1]: row[3] for row in summary_rows(records, 20)}
    assert rows == {
        "m": "25.00 (4.08)",
        "m, best of 2 by PSNR": "27.50 (2.50)",
        "m, best of 2 by misfit": "22.50 (2.50)",
    }
    assert len({len(text) for text in summary(records, 20).splitlines()[:5]}) == 1
    assert "No LPIPS" not in summary(records, 20)


def test_a_table_without_lpips_says_why(monkeypatch):
    monkeypatch.setattr(report, "installed_weights", lambda: (None, "install the package"))
    assert "No LPIPS: install the package." in summary(
        [line("a", 0, 30, 3.0) | {"lpips": None}], 20
    )

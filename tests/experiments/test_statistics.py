"""Numbers over many restorations count what failed, and pair what both restored."""

import numpy as np
import pytest

from experiments.statistics import (
    bootstrap_interval,
    finite_samples,
    lowest_misfit,
    paired,
    worst_tenth,
)


def score(image, psnr, lpips=0.25):
    return {"image": image, "psnr": psnr, "lpips": lpips, "finite": psnr is not None}


def test_the_worst_tenth_is_rounded_up_and_keeps_what_failed():
    scores = [score(str(i), float(i)) for i in range(1, 22)]
    assert worst_tenth(scores) == 2.0  # of 1, 2, 3
    assert worst_tenth(scores[:10]) == 1.0
    scores[20] = score("21", None)
    assert worst_tenth(scores) is None


def test_differences_pair_the_images_that_both_restored():
    plain = [score("a", 10.0), score("b", 20.0), score("c", None)]
    ours = [score("c", 40.0), score("b", 23.0), score("a", 11.0)]
    gain = paired(ours, plain, "psnr")
    assert gain["mean"] == pytest.approx(2.0) and gain["pairs"] == 2
    assert gain["interval"] == [pytest.approx(1.0), pytest.approx(3.0)]
    assert paired(ours[:1], plain, "psnr") == {"mean": None, "interval": None, "pairs": 0}
    assert paired(ours, [s | {"lpips": None} for s in plain], "lpips")["pairs"] == 0


def test_the_interval_covers_the_mean_as_often_as_it_says():
    samples = np.random.default_rng(1).normal(3.0, 2.0, (80, 24))
    intervals = [bootstrap_interval(values) for values in samples]
    covered = np.mean([low <= 3.0 <= high for low, high in intervals])
    assert 0.85 <= covered <= 0.99
    assert bootstrap_interval(np.ones(5)) == (1.0, 1.0)
    assert bootstrap_interval(np.ones(1)) is None


def test_the_sample_is_chosen_by_misfit_among_the_finite():
    samples = [
        {"finite": False, "misfit": 0.1},
        {"finite": True, "misfit": 3.0},
        {"finite": True, "misfit": 2.0},
    ]
    assert lowest_misfit(finite_samples(samples))["misfit"] == 2.0
    assert finite_samples(samples[:1]) == samples[:1]

"""The metrics of the papers' released codes, against scikit-image and plain numpy."""

import jax
import numpy as np
import pytest
from scipy.ndimage import uniform_filter
from skimage.metrics import structural_similarity

from dsg_jax.metrics.compat import lpips_piq_avgpool, lpips_vgg_unscaled, ssim_skimage7
from experiments.restore import metrics as perceptual
from experiments.restore.report import summary
from experiments.settings import EXTRA_METRICS
from support.lpips_cases import pair, plain_lpips, small_weights
from support.metric_cases import distorted, on_unit_range, smooth_image
from support.report_lines import line


def plain_ssim(a, b):
    """scikit-image's formula for float64 images in [0, 1]: means over 7 x 7, sample covariance."""
    values = []
    for x, y in zip(np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0), strict=True):
        mean = lambda z: uniform_filter(z, 7)[3:-3, 3:-3]
        covariance = lambda u, v, mean=mean: 49 / 48 * (mean(u * v) - mean(u) * mean(v))
        above = (2 * mean(x) * mean(y) + 1e-4) * (2 * covariance(x, y) + 9e-4)
        below = (mean(x) ** 2 + mean(y) ** 2 + 1e-4) * (covariance(x, x) + covariance(y, y) + 9e-4)
        values.append(np.mean(above / below))
    return np.mean(values)


@pytest.mark.parametrize("shape", [(7, 7, 1), (32, 20, 3)])
@pytest.mark.parametrize("kind", ["noise", "far outside the range", "shifted", "dark", "constant"])
def test_ssim_equals_scikit_image(kind, shape):
    reference = smooth_image(shape, 0.4)
    x = distorted(kind, reference)
    b, a = on_unit_range(x, reference)
    theirs = structural_similarity(a, b, channel_axis=2, data_range=1.0)
    assert plain_ssim(a, b) == pytest.approx(theirs, abs=1e-12)
    np.testing.assert_allclose(ssim_skimage7(x, reference), theirs, atol=3e-6)


def test_ssim_of_images_it_cannot_take():
    with pytest.raises(ValueError, match="at least 7x7"):
        ssim_skimage7(np.zeros((6, 9, 3)), np.zeros((6, 9, 3)))
    with pytest.raises(ValueError, match="two of one shape"):
        ssim_skimage7(np.zeros((9, 9, 3)), np.zeros((9, 9, 1)))


def test_lpips_as_other_codes_feed_it():
    """Random small weights: [0, 1] for [-1, 1], and the mean of four pixels for their maximum."""
    weights, (x, y) = small_weights("vgg"), np.clip(1.2 * pair(19, 34), -1, 1)
    unscaled = float(jax.jit(lpips_vgg_unscaled)(weights, 1.2 * x, y))
    x, y = (np.clip(a, -1, 1) for a in (1.2 * x, y))
    assert unscaled == pytest.approx(plain_lpips(weights, (x + 1) / 2, (y + 1) / 2), rel=1e-4)
    averaged = float(jax.jit(lpips_piq_avgpool)(weights, x, y))
    assert averaged == pytest.approx(plain_lpips(weights, x, y, np.mean), rel=1e-4)
    assert len({round(v, 4) for v in (unscaled, averaged, plain_lpips(weights, x, y))}) == 3


def test_extra_metrics_without_weights_or_truth(monkeypatch):
    monkeypatch.setattr(perceptual, "installed_weights", lambda: (None, "install the package"))
    x = smooth_image((16, 16, 3), 0.4)
    values = perceptual.extra_metrics(list(EXTRA_METRICS), 0.5 * x, x)
    assert 0 < values["ssim_skimage7"] < 1
    assert values["lpips_vgg_unscaled"] is None and values["lpips_piq_avgpool"] is None
    assert perceptual.extra_metrics(["ssim_skimage7"], x, None) == {"ssim_skimage7": None}
    assert perceptual.extra_metrics([], x, x) == {}


def test_tables_have_a_column_for_each_on_request():
    lines = [line("a", 0, 30, 1.0), line("b", 0, 20, 1.0)]
    more = [one | {"ssim_skimage7": 0.5 + i / 4} for i, one in enumerate(lines)]
    header, _, row, *_ = summary(more, 20).splitlines()
    assert (
        header.split("|")[-2].strip() == "ssim_skimage7" and row.split("|")[-2].strip() == "0.625"
    )
    assert "other codes' metrics" in summary(more, 20) and "skimage" not in summary(lines, 20)

"""PSNR and SSIM against scikit-image under the documented settings."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dsg_jax.metrics import psnr, ssim
from support.metric_cases import distorted, on_unit_range, smooth_image


@pytest.mark.parametrize("shape", [(11, 11, 1), (32, 20, 3), (64, 48, 3)])
@pytest.mark.parametrize(
    "kind", ["noise", "far outside the range", "shifted", "dark", "inverted", "constant"]
)
def test_equals_scikit_image(kind, shape):
    reference = smooth_image(shape, 0.4)
    x = distorted(kind, reference)
    b, a = on_unit_range(x, reference)
    expected = peak_signal_noise_ratio(a, b, data_range=1.0)
    np.testing.assert_allclose(psnr(x, reference), expected, atol=1e-4)
    expected = structural_similarity(
        a,
        b,
        channel_axis=2,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    # In float32, E[x^2] - E[x]^2 of a flat region is known to 1e-7, against K2^2 = 9e-4.
    np.testing.assert_allclose(ssim(x, reference), expected, atol=3e-5)


def test_known_values():
    reference = jnp.zeros((16, 16, 3))
    np.testing.assert_allclose(psnr(reference + 0.2, reference), 20.0, atol=1e-4)
    assert jnp.isposinf(psnr(reference, reference))
    np.testing.assert_allclose(ssim(reference, reference), 1.0, atol=1e-6)
    # equal structure: only the luminance term is left, for means 0.5 and 0.75
    luminance = (2 * 0.5 * 0.75 + 1e-4) / (0.5**2 + 0.75**2 + 1e-4)
    np.testing.assert_allclose(ssim(reference + 0.5, reference), luminance, atol=1e-5)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_clipped_jitted_mapped_and_not_finite(metric):
    references = np.stack([smooth_image((24, 16, 3), phase) for phase in (0.0, 1.0)])
    xs = np.stack([distorted("noise", reference) for reference in references])
    mapped = jax.jit(jax.vmap(metric))(xs, references)
    alone = jnp.stack([metric(x, r) for x, r in zip(xs, references, strict=True)])
    chex.assert_trees_all_close(mapped, alone, rtol=1e-5)
    far = 20 * references
    chex.assert_trees_all_close(metric(far[0], xs[0]), metric(np.clip(far[0], -1, 1), xs[0]))
    assert jnp.isnan(metric(np.where(xs[0] > 0.5, np.nan, xs[0]), references[0]))


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_refused_shapes(metric):
    with pytest.raises(ValueError, match=r"\(16, 16, 3\) and \(16, 16, 1\)"):
        metric(jnp.zeros((16, 16, 3)), jnp.zeros((16, 16, 1)))
    with pytest.raises(ValueError, match="vmap"):
        metric(jnp.zeros((2, 16, 16, 3)), jnp.zeros((2, 16, 16, 3)))


def test_image_smaller_than_the_window():
    with pytest.raises(ValueError, match="at least 11x11"):
        ssim(jnp.zeros((10, 64, 3)), jnp.zeros((10, 64, 3)))

"""Noise levels, domains and statistics."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.operators.linear import hdr, identity, inpainting
from dsg_jax.operators.noise import measure, noise_level, poisson_noise
from dsg_jax.operators.tasks import TASKS, operator_for

KEY = jax.random.key(0)
X = jnp.full((64, 64, 3), 0.25)


def test_gaussian_noise_has_the_level_asked_for_and_fills_the_holes():
    mask = np.zeros((64, 64), np.float32)
    mask[:, 32:] = 1
    y = measure(KEY, inpainting(mask), X, 0.05)
    hole, seen = y[:, :32], y[:, 32:] - 0.25
    for noise in (hole, seen):
        assert float(noise.std()) == pytest.approx(0.05, rel=0.03)
        assert abs(float(noise.mean())) < 0.003


def test_noise_is_not_clipped_and_sigma_zero_is_clean():
    y = measure(KEY, hdr(), jnp.ones((8, 8, 3)), 0.1)
    assert float(y.max()) > 1
    chex.assert_trees_all_equal(measure(KEY, hdr(), X, 0.0), jnp.full(X.shape, 0.5))


@pytest.mark.parametrize(
    ("noise_domain", "output_domain", "factor"),
    [("symmetric", "symmetric", 1), ("symmetric", "unit", 1), ("unit", "symmetric", 2)]
    + [("unit", "unit", 1)],
)
def test_noise_domains(noise_domain, output_domain, factor):
    assert noise_level(0.01, noise_domain, output_domain) == factor * 0.01
    domains = {"noise_domain": noise_domain, "output_domain": output_domain}
    plain = measure(KEY, identity(), X, 0.01) - X
    noise = measure(KEY, identity(), X, 0.01, **domains) - X
    chex.assert_trees_all_close(noise, factor * plain, atol=1e-6)


def test_output_domains_of_the_tasks():
    """Phase retrieval sees [0, 1]: the magnitudes of white are twice those of mid-grey."""
    units = {name: task.output_domain for name, task in TASKS.items()}
    assert [name for name, domain in units.items() if domain == "unit"] == ["phase_retrieval"]
    operator = operator_for("phase_retrieval", (16, 16, 1), 0)
    white, grey = (operator.forward(jnp.full((16, 16, 1), v)) for v in (1.0, 0.0))
    chex.assert_trees_all_close(white, 2 * grey, atol=1e-6)


def test_sigma_may_be_traced_and_measurements_batched():
    keys = jax.random.split(KEY, 3)
    batch = jax.jit(jax.vmap(lambda k, s: measure(k, identity(), X, s)))(keys, jnp.arange(3.0))
    chex.assert_trees_all_equal(batch[0], X)
    chex.assert_trees_all_close(batch[2], measure(keys[2], identity(), X, 2.0), atol=1e-6)


@pytest.mark.parametrize("rate", [0.5, 4.0])
def test_poisson_noise_has_the_mean_and_variance_of_photon_counts(rate):
    y = jnp.full((100, 100), 0.2)
    noisy = jax.jit(poisson_noise)(KEY, y, rate)
    variance = 4 * 0.6 / (255 * rate)
    assert float(noisy.mean()) == pytest.approx(0.2, abs=4 * np.sqrt(variance) / 100)
    assert float(noisy.var()) == pytest.approx(variance, rel=0.08)
    counts = (np.float64(noisy) + 1) / 2 * 255 * rate
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-3)


def test_poisson_noise_stays_in_range():
    y = jnp.array([-3.0, -1.0, 1.0, 3.0])
    noisy = poisson_noise(KEY, jnp.tile(y, (50, 1)), 0.1)
    assert float(noisy.min()) == -1 and float(noisy.max()) == 1
    chex.assert_trees_all_equal(noisy[:, :2], jnp.full((50, 2), -1.0))


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: measure(KEY, identity(), X, -0.1), "-0.1"),
        (lambda: measure(KEY, identity(), X, 0.1, noise_domain="uint8"), "uint8"),
        (lambda: noise_level(0.1, output_domain="decibel"), "decibel"),
        (lambda: poisson_noise(KEY, X, 0.0), "0.0"),
    ],
)
def test_bad_settings_are_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()

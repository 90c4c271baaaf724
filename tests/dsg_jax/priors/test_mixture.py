"""Mixtures of Gaussians say the truth: noise prediction, posterior and samples agree."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.diffusion import denoise
from dsg_jax.operators.linear import gaussian_blur
from dsg_jax.priors.mixture import (
    Mixture,
    covariance,
    draw_images,
    mixture_latent_prior,
    mixture_prior,
    pixel_std,
    smooth_basis,
    smooth_mixture,
)
from dsg_jax.priors.mixture_posterior import (
    draw_posterior,
    exact_posterior,
    least_known,
    operator_matrix,
    posterior_moments,
)

SHAPE = (8, 8, 3)
BRIGHT = np.full(SHAPE, 0.1)
BRIGHT[3:5, 3:5] = 0.4
MIXTURES = {
    "one mode": smooth_mixture([0.5, 0.5], np.zeros((2, *SHAPE)), 0.25),
    "two modes": smooth_mixture([0.6, 0.4], np.stack([BRIGHT, -BRIGHT]), 0.2),
}
TWO = Mixture(
    weights=np.array([0.3, 0.7]),
    means=np.array([[0.8, -0.2], [-0.5, 0.3]]).reshape(2, 2, 1, 1),
    basis=np.array([[0.6], [0.8]]),
    variances=np.array([[0.3], [0.1]]),
    floor=np.array(0.2),
)
"""Two components on images of two pixels, small enough to integrate over a grid."""


def log_density(mixture: Mixture, alpha_bar: float, x: np.ndarray) -> float:
    """log p_t of a flat x by dense algebra in float64."""
    terms = []
    for k, weight in enumerate(mixture.weights):
        spread = alpha_bar * covariance(mixture, k) + (1 - alpha_bar) * np.eye(len(x))
        off = x - np.sqrt(alpha_bar) * mixture.means[k].ravel()
        distance = off @ np.linalg.solve(spread, off)
        terms.append(np.log(weight) - 0.5 * (distance + np.linalg.slogdet(spread)[1]))
    return float(np.logaddexp.reduce(terms))


def test_the_noise_prediction_is_the_score_of_the_noisy_mixture():
    """eps = -sqrt(1 - a) grad log p_t, by central differences, between the two modes."""
    mixture, random = MIXTURES["two modes"], np.random.default_rng(0)
    prior = mixture_prior(mixture)
    network = jax.jit(lambda x, t: (prior.network(x, t), prior.clock.alpha_bar(t)))
    for time in (3.0, 300.0, 900.0):
        x = np.float32(0.2 * draw_images(random, mixture, 1)[0] + random.standard_normal(SHAPE))
        eps, a = (np.asarray(v, np.float64) for v in network(x, time))
        flat, eps = x.ravel().astype(np.float64), eps.ravel()
        for direction in (eps / np.linalg.norm(eps), mixture.means[0].ravel(), np.eye(192)[7]):
            ends = [log_density(mixture, a, flat + s * 1e-5 * direction) for s in (1, -1)]
            slope = (ends[0] - ends[1]) / 2e-5
            assert eps @ direction == pytest.approx(-np.sqrt(1 - a) * slope, rel=3e-3, abs=3e-3)


def test_the_clocks_give_the_denoiser_its_own_noise_level():
    """E[x0 | x] of the Gaussian prior by dense algebra, as DAPS asks for it."""
    mixture = MIXTURES["one mode"]
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    spread, denoised = covariance(mixture, 0), jax.jit(denoise)
    for clock, sigma in itertools.product(("table", "closed form"), (0.1, 5.0)):
        exact = spread @ np.linalg.solve(spread + sigma**2 * np.eye(x.size), x.ravel())
        image = denoised(mixture_prior(mixture, clock), x, sigma)
        np.testing.assert_allclose(image.ravel(), exact, atol=2e-4)


@pytest.mark.parametrize("name", MIXTURES)
def test_samples_have_the_priors_moments_and_latents_variance_one(name):
    mixture = MIXTURES[name]
    images = draw_images(np.random.default_rng(1), mixture, 4000)
    expected = np.tensordot(mixture.weights, mixture.means, axes=1)
    np.testing.assert_allclose(images.mean(axis=0), expected, atol=0.035)
    assert images.reshape(4000, -1).std(axis=0).mean() == pytest.approx(
        pixel_std(mixture), rel=0.06
    )
    stage = mixture_latent_prior(mixture).first_stage
    x = jnp.asarray(images[:200], jnp.float32)
    latents = np.asarray(stage.encode(x, None))
    np.testing.assert_allclose(stage.decode(latents), x, atol=1e-6)
    assert np.sqrt(((latents - latents.mean(axis=0)) ** 2).mean()) == pytest.approx(1, rel=0.1)


def test_the_basis_is_orthonormal():
    basis, variances = smooth_basis(SHAPE)
    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-12)
    assert (variances > 0).all() and variances.argmax() == 0


def test_the_posterior_is_bayes_rule_on_a_grid():
    """Mean, variance and the share of a mode, by adding up prior times likelihood."""
    matrix, sigma, y = np.array([[1.0, 0.5], [0.0, 0.0]]), 0.3, np.array([[0.1, 0.4]])
    axis = np.linspace(-4, 4, 401)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    likelihood = np.exp(-np.sum((y - points @ matrix.T) ** 2, axis=1) / (2 * sigma**2))
    shares = []
    for k, weight in enumerate(TWO.weights):
        spread = covariance(TWO, k)
        off = points - TWO.means[k].ravel()
        distance = np.sum(off * np.linalg.solve(spread, off.T).T, axis=1)
        density = weight * np.exp(-0.5 * distance) / np.sqrt(np.linalg.det(spread))
        shares.append(density * likelihood)
    mass = sum(shares)
    mean = points.T @ mass / mass.sum()
    variance = (points**2).T @ mass / mass.sum() - mean**2
    posterior = exact_posterior(TWO, matrix, y, sigma)
    exact_mean, exact_variance = posterior_moments(posterior)
    np.testing.assert_allclose(exact_mean[0], mean, atol=1e-6)
    np.testing.assert_allclose(exact_variance[0], variance, atol=1e-6)
    np.testing.assert_allclose(posterior.weights[0], [s.sum() / mass.sum() for s in shares])
    off = points - mean
    values, vectors = np.linalg.eigh((off * mass[:, None]).T @ off)
    assert abs(least_known(posterior) @ vectors[:, values.argmax()]) == pytest.approx(1, abs=1e-6)


def test_exact_samples_have_the_posteriors_moments():
    y = np.array([[0.1, 0.0], [0.6, 0.0]])
    posterior = exact_posterior(TWO, np.array([[1.0, 0.5], [0.0, 0.0]]), y, 0.3)
    samples = draw_posterior(np.random.default_rng(0), posterior, 40_000)
    mean, variance = posterior_moments(posterior)
    np.testing.assert_allclose(samples.mean(axis=1), mean, atol=0.015)
    np.testing.assert_allclose(samples.var(axis=1), variance, rtol=0.03)


def test_the_matrix_of_an_operator():
    operator = gaussian_blur((8, 9, 1), 5, 1.0)
    x = jax.random.normal(jax.random.key(0), (8, 9, 1))
    matrix = operator_matrix(operator, x.shape)
    np.testing.assert_allclose(matrix @ np.ravel(x), np.ravel(operator.forward(x)), atol=1e-5)

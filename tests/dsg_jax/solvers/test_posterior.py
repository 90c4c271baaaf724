"""Samplers on a Gaussian prior, whose posterior and whose every step are known in closed form."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.diffusion import denoise, score
from dsg_jax.engines import ENGINES
from dsg_jax.operators.linear import identity, inpainting
from dsg_jax.sample import sample
from dsg_jax.schedule import linear_betas
from dsg_jax.solvers.daps import DAPSSettings, daps, daps_steps
from dsg_jax.solvers.dps import DPSSettings, dps, dps_steps
from dsg_jax.types import Problem, Projection
from support.gaussian_prior import gaussian_prior

SHAPE = (8, 8, 1)
MEAN, STD, Y = 0.2, 0.7, 0.9
STEPS = daps_steps(
    levels=25, ode_steps=12, sigma_max=20.0, sigma_min=0.05, lr=1e-3, lr_min_ratio=0.5
)
INNER = 60
PIXELS = 3200


def posterior_pixels(tau_y: float = 0.4, *, shape=SHAPE, **options) -> np.ndarray:
    """Pixels of many samples: with a constant y each one is a draw of the same scalar posterior."""
    problem = Problem(identity(), jnp.full(shape, Y), tau_y)
    prior = gaussian_prior(MEAN, STD)
    options = {"steps": STEPS, "tau_y": tau_y, "inner_steps": INNER} | options
    solver = daps(prior, problem, None, DAPSSettings(**options))
    keys = jax.random.split(jax.random.key(3), PIXELS // np.prod(shape))
    return np.asarray(jax.jit(jax.vmap(lambda key: sample(key, solver, shape)[0]))(keys)).ravel()


def langevin_recursion(tau_y: float) -> tuple[float, float]:
    """Exact mean and variance of DAPS' output here: every step is affine in Gaussian variables."""
    mean, variance = 0.0, STEPS.sigma[0].astype(float) ** 2
    for at in zip(*(np.asarray(a, float) for a in STEPS)):
        _, sigma, sigma_next, ode_sigma, ode_move, lr = at
        for s, move in zip(ode_sigma, ode_move):  # D(x) = (std^2 x + s^2 mean) / (std^2 + s^2)
            pull = s**2 / (STD**2 + s**2)
            mean, variance = mean + move * pull * (MEAN - mean), variance * (1 - move * pull) ** 2
        # x <- x - lr (curvature x - (y / tau_y^2 + x0_hat / sigma^2)) + sqrt(2 lr) noise
        curvature = 1 / tau_y**2 + 1 / sigma**2
        decay = (1 - lr * curvature) ** INNER
        gain = decay + (1 - decay) / (curvature * sigma**2)  # d x_y / d x0_hat
        noise = 2 * lr * (1 - decay**2) / (1 - (1 - lr * curvature) ** 2)
        mean = gain * mean + (1 - decay) * Y / tau_y**2 / curvature
        variance = gain**2 * variance + noise + sigma_next**2
    return mean, variance


def test_daps_langevin_follows_its_exact_recursion():
    pixels = posterior_pixels()
    mean, variance = langevin_recursion(0.4)
    error = np.sqrt(variance / len(pixels))
    assert abs(pixels.mean() - mean) < 5 * error
    assert abs(pixels.var() / variance - 1) < 5 * np.sqrt(2 / len(pixels))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"inner": "hmc", "momentum": 0.5},
        # One acceptance for the whole image: it mixes in few dimensions only.
        pytest.param(
            {"inner": "mh", "shape": (2, 1, 1), "inner_steps": 200}, marks=pytest.mark.slow
        ),
    ],
    ids=["langevin", "hmc", "mh"],
)
def test_daps_samples_the_known_posterior(options):
    """Against N(y | x, tau_y^2) N(x | mean, std^2).

    DAPS replaces p(x0 | x_t) by N(x0_hat, sigma^2), which is wider than the truth. With a precise
    measurement it samples the posterior; with a vague one it is overdispersed by a quarter.
    """
    for tau_y, tolerance in ((0.15, 0.08), (0.4, 0.35)):
        pixels = posterior_pixels(tau_y, **options)
        precision = 1 / STD**2 + 1 / tau_y**2
        mean = (MEAN / STD**2 + Y / tau_y**2) / precision
        assert abs(pixels.mean() - mean) * np.sqrt(precision) < 2 * tolerance
        assert abs(pixels.std() * np.sqrt(precision) - 1) < tolerance


@pytest.mark.parametrize("prior_score", ["score-t", "score-min", "exact"])
@pytest.mark.slow
def test_daps_other_prior_scores_agree_with_the_gaussian_one(prior_score):
    reference = posterior_pixels(variant="main")
    pixels = posterior_pixels(variant="main", prior_score=prior_score)
    assert np.isfinite(pixels).all()
    assert abs(pixels.mean() - reference.mean()) < 0.15 * STD


def test_denoiser_and_score_are_exact_for_a_gaussian():
    prior, x = gaussian_prior(MEAN, STD), jnp.linspace(-2, 2, 64).reshape(SHAPE)
    for sigma in (0.05, 1.0, 30.0):
        exact = (STD**2 * x + sigma**2 * MEAN) / (STD**2 + sigma**2)
        np.testing.assert_allclose(denoise(prior, x, jnp.float32(sigma)), exact, atol=3e-5)
        expected = -(x - MEAN) / (STD**2 + sigma**2)
        np.testing.assert_allclose(
            score(prior, x, jnp.float32(sigma)), expected, rtol=2e-2, atol=1e-3
        )


def test_dps_without_measurement_samples_the_prior():
    problem = Problem(inpainting(jnp.zeros(SHAPE[:2])), jnp.zeros(SHAPE), 0.05)
    prior = gaussian_prior(0.1, 0.2)  # narrow, for DPS clips x0_hat to [-1, 1]
    solver = dps(prior, problem, None, DPSSettings(steps=dps_steps(linear_betas())))
    keys = jax.random.split(jax.random.key(0), 50)
    pixels = np.asarray(jax.jit(jax.vmap(lambda key: sample(key, solver, SHAPE)[0]))(keys)).ravel()
    assert abs(pixels.mean() - 0.1) < 0.01
    assert abs(pixels.std() / 0.2 - 1) < 0.05


def test_dps_guidance_reduces_the_misfit():
    problem = Problem(identity(), jnp.full(SHAPE, Y), 0.05)
    steps = dps_steps(linear_betas(), np.arange(0, 1000, 10))

    def last_misfit(scale):
        settings = DPSSettings(steps=steps, scale=scale)
        solver = dps(gaussian_prior(MEAN, STD), problem, None, settings)
        return sample(jax.random.key(1), solver, SHAPE)[1].misfit[-1]

    assert last_misfit(0.3) < 0.5 * last_misfit(0.0)


SETTINGS = {
    dps: lambda i: DPSSettings(steps=dps_steps(linear_betas(), [0, 300, 900]), scale=0.1 * (i + 1)),
    daps: lambda i: DAPSSettings(steps=daps_steps(levels=4, lr=1e-4 * (i + 1)), inner_steps=2),
}


@pytest.mark.parametrize("build", SETTINGS)
def test_one_compile_serves_every_image_mask_tau_and_step_size(build):
    """Traces are counted: new arrays of the same shape reuse the compiled sampler."""
    traces = []

    @jax.jit
    def restore(key, problem, projection, prior, settings):
        traces.append(1)
        return sample(key, build(prior, problem, projection, settings), (8, 8, 3))[0]

    outputs = []
    for i, tau in enumerate((0.5, 0.9, 0.99)):
        mask = (jax.random.uniform(jax.random.key(i), (8, 8)) < 0.5).astype(jnp.float32)
        y = jax.random.normal(jax.random.key(i), (8, 8, 3)) * mask[..., None]
        problem, settings = Problem(inpainting(mask), y, jnp.float32(0.05)), SETTINGS[build](i)
        inputs = (problem, Projection(tau), gaussian_prior(), settings)
        outputs.append(restore(jax.random.key(i), *inputs))
    assert len(traces) == 1
    assert not np.allclose(outputs[0], outputs[1])


def test_a_diverging_sample_is_flagged_and_leaves_its_neighbours_alone():
    y = jnp.stack([jnp.full(SHAPE, Y), jnp.full(SHAPE, jnp.nan), jnp.full(SHAPE, Y)])

    def restore(y):
        problem = Problem(identity(), y, 0.05)
        settings = DAPSSettings(steps=STEPS, inner_steps=3, tau_y=0.4)
        solver = daps(gaussian_prior(), problem, None, settings)
        return sample(jax.random.key(0), solver, SHAPE)

    images, info = jax.jit(jax.vmap(restore))(y)
    assert info.finite[:, -1].tolist() == [True, False, True]
    assert np.isfinite(images[0]).all() and np.allclose(images[0], images[2])


def test_period_skips_the_projection():
    problem = Problem(identity(), jnp.full((8, 8, 3), Y), 0.05)
    settings = DPSSettings(steps=dps_steps(linear_betas(), [0, 200, 400, 600, 800]))
    solver = dps(gaussian_prior(), problem, Projection(2, period=2, rule="rank"), settings)
    _, info = sample(jax.random.key(0), solver, (8, 8, 3))
    assert np.asarray(info.rank)[:, 0].tolist() == [2, 8, 2, 8, 2]
    assert np.allclose(info.share[1::2], 1) and (info.share[::2] < 1).all()


@pytest.mark.parametrize("solve", [dps, daps])
def test_period_0_is_the_plain_method(solve):
    """And so it is reported; the released code has the same meaning."""
    problem = Problem(identity(), jnp.full((8, 8, 3), Y), 0.05)
    steps = dps_steps(linear_betas(), [0, 200, 400, 600, 800])
    settings = DPSSettings(steps=steps) if solve is dps else DAPSSettings(steps=STEPS, tau_y=0.4)
    results = [
        sample(jax.random.key(0), solve(gaussian_prior(), problem, projection, settings), (8, 8, 3))
        for projection in (None, Projection(0.5, period=0), Projection(0.5))
    ]
    chex.assert_trees_all_close(results[0], results[1], rtol=1e-5, atol=1e-5)
    assert not np.allclose(results[0][1].rank, results[2][1].rank)


def test_period_0_decomposes_nothing(monkeypatch):
    counted, svd = [], ENGINES["svd"]
    monkeypatch.setitem(
        ENGINES, "svd", lambda z: jax.debug.callback(lambda: counted.append(1)) or svd(z)
    )
    problem = Problem(identity(), jnp.full((8, 8, 3), Y), 0.05)
    settings = DAPSSettings(steps=STEPS, tau_y=0.4)

    @jax.jit
    def run(projection):
        solver = daps(gaussian_prior(), problem, projection, settings)
        return sample(jax.random.key(0), solver, (8, 8, 3))

    for period, decompositions in ((0, 0), (2, len(STEPS.sigma))):
        run(Projection(jnp.float32(0.5), jnp.int32(period), engine="svd"))
        jax.effects_barrier()
        assert len(counted) == decompositions


@pytest.mark.parametrize(
    "options, message",
    [
        ({"inner": "gibbs"}, "inner='gibbs'"),
        ({"prior_score": "flat"}, "prior_score='flat'"),
        ({"inner": "mh"}, "no gradient"),
    ],
)
def test_bad_options_name_the_value(options, message):
    problem = Problem(identity(), jnp.zeros(SHAPE), 0.05)
    with pytest.raises(ValueError, match=message):
        daps(gaussian_prior(), problem, Projection(), DAPSSettings(steps=STEPS, **options))

"""What the options of the latent solvers change, on linear maps where it can be written down."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.clock import table_clock
from dsg_jax.operators.linear import blur, hdr, identity, inpainting, super_resolution
from dsg_jax.sample import run
from dsg_jax.schedule import scaled_linear_betas
from dsg_jax.solvers.ddim import ddim_steps
from dsg_jax.solvers.latent_daps import (
    LatentDAPSSettings,
    latent_daps,
    latent_daps_steps,
    timed,
)
from dsg_jax.solvers.latent_dps import LatentDPSSettings, latent_dps
from dsg_jax.solvers.psld import PSLDSettings, psld
from dsg_jax.types import FirstStage, Prior, Problem, Projection
from support.gaussian_prior import gaussian_prior
from support.golden_case import load, pattern_draws
from support.linear_stage import EPS_GAIN, IMAGE, LATENT, linear_prior, matrix

BETAS = scaled_linear_betas()
STEPS = ddim_steps(BETAS, 4, eta=1.0)
DRAW = pattern_draws(16, 64)


RANDOM = np.random.RandomState(1)
Z = jnp.asarray(RANDOM.randn(*LATENT), jnp.float32)


def small_problem(operator=None) -> Problem:
    operator = super_resolution(IMAGE, 2) if operator is None else operator
    y = operator.forward(jnp.asarray(RANDOM.uniform(-1, 1, IMAGE), jnp.float32))
    return Problem(operator, y + 0.1 * RANDOM.randn(*y.shape).astype(np.float32), 0.1)


@jax.jit
def psld_step(prior, problem, z, position, settings):
    at = jax.tree.map(lambda values: values[position], settings.steps)
    return psld(prior, problem, None, settings).step(DRAW, z, at)


def psld_step_by_hand(problem, z, position, gamma, omega, glue, norm, renoise, sample_encoding):
    """The same step from matrices in float64: (next latent, misfit)."""
    prior, operator = linear_prior(), problem.operator
    wide = lambda x: np.asarray(x, np.float64).ravel()
    first = position * (1 + renoise + sample_encoding)
    noise = [wide(DRAW(first, LATENT)), wide(DRAW(first + 1, problem.y.shape))]
    a, a_prev, sigma = (float(v[position]) for v in (STEPS.a, STEPS.a_prev, STEPS.sigma))
    shrink = (1 - np.sqrt(1 - a) * EPS_GAIN) / np.sqrt(a)  # z0_hat = shrink z
    decode = matrix(prior.first_stage.decode, LATENT)
    encode = matrix(lambda x: prior.first_stage.encode(x, None), IMAGE)
    forward = matrix(operator.forward, IMAGE)
    back = matrix(getattr(operator, glue), problem.y.shape)
    y, z = wide(problem.y), wide(z)
    predict = forward @ decode * shrink
    glued = encode @ (np.eye(64) - back @ forward) @ decode * shrink - shrink * np.eye(16)
    measured = predict @ z - y + 0.1 * renoise * noise[1]
    left_over = encode @ back @ y + glued @ z
    if sample_encoding:
        left_over = left_over + wide(DRAW(first + 1 + renoise, LATENT))
    sizes = np.linalg.norm(measured), np.linalg.norm(left_over)
    m, g = (1 / sizes[0], 1 / sizes[1]) if norm == "plain" else (2, 2)
    gradient = omega * m * predict.T @ measured + gamma * g * glued.T @ left_over
    eps = EPS_GAIN * z
    ddim = np.sqrt(a_prev) * shrink * z + np.sqrt(1 - a_prev - sigma**2) * eps + sigma * noise[0]
    return (ddim - gradient).reshape(LATENT), np.linalg.norm(predict @ z - y)


@pytest.mark.parametrize(
    "glue, norm, renoise, sample_encoding",
    [
        ("transpose", "plain", True, True),
        ("adjoint", "squared", False, True),
        ("pseudo_inverse", "plain", False, False),
    ],
)
def test_psld_step_is_the_one_derived_by_hand(glue, norm, renoise, sample_encoding):
    problem = small_problem()
    options = {"glue": glue, "norm": norm, "renoise": renoise, "sample_encoding": sample_encoding}
    settings = PSLDSettings(steps=STEPS, gamma=0.2, omega=0.7, **options)
    value, info = psld_step(linear_prior(), problem, Z, 2, settings)
    expected, misfit = psld_step_by_hand(problem, Z, 2, 0.2, 0.7, **options)
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(info.misfit, misfit, rtol=1e-5)


def test_the_adjoint_keeps_the_noise_of_the_hole_out():
    mask = np.ones(IMAGE[:2])
    mask[2:6, 2:6] = 0
    problem = small_problem(operator=inpainting(mask))
    inside = problem._replace(y=jnp.where(mask[..., None] == 0, problem.y + 1, problem.y))
    moves = {}
    for glue in ("transpose", "adjoint"):
        settings = PSLDSettings(steps=STEPS, gamma=1.0, omega=0.0, glue=glue)
        one, other = (psld_step(linear_prior(), p, Z, 2, settings)[0] for p in (problem, inside))
        moves[glue] = np.max(np.abs(one - other))
    assert moves["adjoint"] == 0
    assert moves["transpose"] > 1e-3


@pytest.mark.parametrize("build, kind", [(psld, PSLDSettings), (latent_dps, LatentDPSSettings)])
def test_a_perfect_fit_has_gradient_zero(build, kind):
    stage = FirstStage(lambda z: z, lambda x, noise: x, 1)
    prior = Prior(linear_prior().network, table_clock(BETAS), stage)
    problem = Problem(identity(), jnp.zeros(LATENT), 0.0)
    solver = build(prior, problem, None, kind(steps=ddim_steps(BETAS, 4)))
    at = jax.tree.map(lambda values: values[0], solver.steps)
    z, info = jax.jit(solver.step)(DRAW, jnp.zeros(LATENT), at)
    assert not np.any(z) and info.misfit == 0 and info.finite


SETTINGS = {
    psld: PSLDSettings(steps=STEPS, gamma=0.01, omega=0.01),
    latent_dps: LatentDPSSettings(steps=STEPS, zeta=0.01),
    latent_daps: LatentDAPSSettings(steps=latent_daps_steps(levels=3, lr=1e-6), inner_steps=4),
}


@pytest.mark.parametrize("build", SETTINGS)
def test_samples_of_a_batch_are_those_of_single_runs(build):
    projection = Projection(0.9, rule="per_channel", period=2)
    solver = build(linear_prior(), small_problem(), projection, SETTINGS[build])
    starts = jnp.stack([Z, -Z, 2 * Z])
    one = lambda start: run(DRAW, solver, solver.init(start))
    last, infos = jax.jit(jax.vmap(one))(starts)
    single = jax.jit(one)
    for i, start in enumerate(starts):
        alone, info = single(start)
        np.testing.assert_allclose(last[i], alone, rtol=1e-4, atol=1e-4)
        assert np.array_equal(infos.rank[i], info.rank)
    assert infos.finite.all() and infos.share.min() < 1


def test_refusals():
    prior, problem = linear_prior(), small_problem()
    exposed = Problem(hdr(), jnp.zeros(IMAGE), 0.1)
    blurred = small_problem(operator=blur(IMAGE, np.full((3, 3), 1 / 9)))
    inverse = replace(SETTINGS[psld], glue="pseudo_inverse")
    with pytest.raises(ValueError, match="linear.*HDR.*resample or latent-daps"):
        psld(prior, exposed, None, SETTINGS[psld])
    with pytest.raises(ValueError, match="no pseudo_inverse.*transpose, adjoint"):
        psld(prior, blurred, None, inverse)
    for build, settings in SETTINGS.items():
        with pytest.raises(ValueError, match="works on latents"):
            build(gaussian_prior(), problem, None, settings)
    for build, name, wrong in (
        (psld, "glue", "inverse"),
        (psld, "norm", "l1"),
        (latent_daps, "inner", "mh"),
        (latent_daps, "time_map", "ldm"),
    ):
        with pytest.raises(ValueError, match=f"{name}='{wrong}': choose from"):
            replace(SETTINGS[build], **{name: wrong})


SD_BETAS = scaled_linear_betas(0.00085, 0.012)


def test_time_map_of_stable_diffusion():
    _, arrays = load("schedules/daps_sd_time_map")
    time = timed(table_clock(SD_BETAS), "sd").time(jnp.asarray(arrays["sigma"]))
    np.testing.assert_allclose(time, arrays["network_time"], rtol=2e-6, atol=2e-4)


def test_time_maps_of_latent_daps():
    """With lr = 0 a level returns z0_hat, which a network that predicts its time reveals."""
    log_alpha_bar = np.cumsum(np.log1p(-SD_BETAS))
    log_sigmas = 0.5 * np.log(np.expm1(-log_alpha_bar))
    b, end = np.sqrt(0.85), np.sqrt(12)
    expected = {
        "table": lambda s: np.interp(np.log(s), log_sigmas, np.arange(1000)),
        "adm": lambda s: 999 * (np.sqrt(0.01 + 39.8 * np.log1p(s**2)) - 0.1) / 19.9,
        "sd": lambda s: 1e3 * (np.cbrt(b**3 + 3 * (end - b) * np.log1p(s**2)) - b) / (end - b),
    }
    stage = FirstStage(lambda z: z, lambda x, noise: x, 1)
    network = lambda z, t: jnp.full(z.shape, t / 1000)
    prior = Prior(network, table_clock(SD_BETAS), stage)
    problem = Problem(identity(), jnp.zeros(LATENT), 0.1)
    steps = latent_daps_steps(levels=1, lr=0.0)
    at = jax.tree.map(lambda values: values[0], steps)

    @jax.jit
    def all_maps(z, at):
        settings = (LatentDAPSSettings(steps=steps, inner_steps=1, time_map=n) for n in expected)
        solvers = (latent_daps(prior, problem, None, choice) for choice in settings)
        return {name: solver.step(DRAW, z, at)[0] for name, solver in zip(expected, solvers)}

    sigma = at.ode_sigma.astype(float)
    for name, z in all_maps(jnp.zeros(LATENT), at).items():
        value = -np.sum(at.ode_move * sigma * expected[name](sigma) / 1000)
        np.testing.assert_allclose(z, np.full(LATENT, value), rtol=1e-4, err_msg=name)

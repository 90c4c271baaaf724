"""PSLD, Latent-DPS and LatentDAPS against whole trajectories of the reference code."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.diffusion import predict, time_of_sigma
from dsg_jax.sample import run
from dsg_jax.solvers.daps import ode
from dsg_jax.solvers.ddim import ddim_step, ddim_steps
from dsg_jax.solvers.inner import Level, guide, hmc, langevin, shared_subspace
from dsg_jax.solvers.latent_daps import latent_daps, latent_daps_steps, latent_gradient
from dsg_jax.solvers.latent_dps import latent_dps
from dsg_jax.solvers.psld import psld, psld_loss
from support.golden_case import (
    GOLDEN,
    assert_close,
    hwc,
    load,
    pattern_draws,
    problem_of,
    projection_of,
    tiny_latent_prior,
)

TRAJECTORIES = sorted(p.stem for p in (GOLDEN / "trajectories").glob("*.json"))
SLOW = {  # a compile each, and the others have every part of them
    "psld_inpaint",
    "psld_dsg_inpaint_per_channel",
    "psld_dsg_kl_official_flat",
    "latent_daps_blur",
}
IMAGE = (32, 32, 3)
STEPS = 10  # every case is run for as many, so that those of one shape share a program

vq_prior = lru_cache(tiny_latent_prior)


def cases(start: str) -> list:
    names = (c for c in TRAJECTORIES if c.startswith(start) and "end_to_end" not in c)
    return [pytest.param(c, marks=pytest.mark.slow) if c in SLOW else c for c in names]


def prior_of(config: dict, arrays: dict):
    """Guided by the very same embedding, where the reference makes one pass of the network."""
    if "context" not in arrays:
        return vq_prior()
    context = arrays["context"][0]
    uncond = arrays["uncond"][0] if "uncond" in arrays else context
    return tiny_latent_prior("kl", context, uncond, config["cfg_scale"])


def steps_of(config: dict, prior):
    """The reverse steps, or the few of a case, cut or repeated to `STEPS`."""
    steps = ddim_steps(np.asarray(prior.betas, np.float64), config["S"], eta=config["eta"])
    positions = len(steps.index) - 1 - np.asarray(config.get("indices", steps.index))
    steps = jax.tree.map(lambda values: np.resize(values[positions], STEPS), steps)
    return steps._replace(index=np.arange(STEPS)[::-1])


def loss_as_misfit(*arguments, **weights):
    """`psld_loss`, with the loss itself where a step reports the misfit."""
    loss, (z_next, _) = psld_loss(*arguments, **weights)
    return loss, (z_next, loss)


def record(state, info):
    return state, info


@partial(jax.jit, static_argnames="sample_encoding")
def psld_run(prior, problem, projection, draw, start, steps, weights, sample_encoding):
    choices = {"steps": steps, "sample_encoding": sample_encoding} | weights
    return run(draw, psld(prior, problem, projection, **choices), start, record=record)[1]


@jax.jit
def latent_dps_run(prior, problem, draw, start, steps, zeta):
    return run(draw, latent_dps(prior, problem, steps=steps, zeta=zeta), start, record=record)[1]


@jax.jit
def unguided(prior, z, at):
    """A DDIM step that no gradient corrects, and z0_hat."""
    return ddim_step(z, predict(prior, z, at.time)[0], jnp.zeros(z.shape), at)


@jax.jit
def decode(prior, z):
    return prior.first_stage.decode(z)


def shifted(values, by: int):
    return jax.tree.map(lambda v: np.roll(v, -by, axis=0), values)


def at_step(i: int, steps):
    return jax.tree.map(lambda values: values[i], steps)


def check_steps(arrays, manifest, prior, steps, states, info, gradient="grads_0_1") -> None:
    """States, image, ranks; of the first two steps z0_hat and what the gradient took away."""
    count = len(arrays["states"])
    assert np.array_equal(steps.time[:count], arrays["steps_time_index"][:, 0])
    assert_close("a", steps.a[:count], arrays["a"], manifest)
    assert_close("a_prev", steps.a_prev[:count], arrays["a_prev"], manifest)
    assert_close("states", states, hwc(arrays["states"]), manifest)
    assert_close("final_latent", states[-1], hwc(arrays["final_latent"]), manifest)
    assert_close("final_image", decode(prior, states[-1]), hwc(arrays["final_image"]), manifest)
    starts = np.stack([hwc(arrays["x_init"]), states[0]])
    first = [unguided(prior, z, at_step(i, steps)) for i, z in enumerate(starts)]
    z_next, z0_hat = (np.stack(values) for values in zip(*first))
    assert_close("z0_hat_0_1", z0_hat, hwc(arrays["z0_hat_0_1"]), manifest)
    assert_close(gradient, z_next - states[:2], hwc(arrays[gradient]), manifest)
    check_ranks(arrays, states, info)


def check_ranks(arrays, states, info) -> None:
    assert info.finite.all()
    if "ranks" not in arrays:
        assert (info.kept == 1).all()
        return
    assert np.array_equal(info.rank, np.minimum(arrays["ranks"], states.shape[1]))
    assert ((info.kept > 0) & (info.kept <= 1 + 1e-5)).all()


@pytest.mark.parametrize("case", cases("psld"))
def test_psld_trajectory(case, monkeypatch):
    monkeypatch.setitem(psld.__globals__, "psld_loss", loss_as_misfit)
    manifest, arrays = load(f"trajectories/{case}")
    config = manifest["config"]
    prior, projection = prior_of(config, arrays), projection_of(manifest)
    problem = problem_of(manifest, arrays, IMAGE)
    sampled = "sampled" in config["first_stage"]
    weights = {"gamma": config["gamma"], "omega": config["omega"]}
    steps, start = steps_of(config, prior), jnp.asarray(hwc(arrays["x_init"]))
    draw = pattern_draws((2 + sampled) * STEPS, 32 * 32 * 3)
    replay = partial(psld_run, prior, problem, weights=weights, sample_encoding=sampled)

    count = len(arrays["states"])
    rows = replay(projection, draw, start, steps)
    states, info = jax.tree.map(lambda row: np.asarray(row[:count]), rows)
    assert_close("losses", info.misfit, arrays["losses"], manifest)
    if projection is None:
        check_steps(arrays, manifest, prior, steps, states, info)
        return
    check_steps(arrays, manifest, prior, steps, states, info, "projected_0_1")
    gradients = []
    for i, z in enumerate([start, states[0]]):  # what was projected, from the plain method
        later = shifted(steps, i)._replace(index=steps.index)
        (plain, *_), _ = replay(None, shifted(draw, i * (2 + sampled)), z, later)
        gradients.append(unguided(prior, z, at_step(i, steps))[0] - plain)
    assert_close("grads_0_1", jnp.stack(gradients), hwc(arrays["grads_0_1"]), manifest)


def test_latent_dps_trajectory():
    manifest, arrays = load("trajectories/latent_dps_blur")
    config, prior = manifest["config"], vq_prior()
    steps, problem = steps_of(config, prior), problem_of(manifest, arrays, IMAGE)
    start, zeta = jnp.asarray(hwc(arrays["x_init"])), config["omega"]
    rows = latent_dps_run(prior, problem, pattern_draws(STEPS, 192), start, steps, zeta)
    states, info = jax.tree.map(np.asarray, rows)
    assert_close("losses", zeta * info.misfit, arrays["losses"], manifest)
    check_steps(arrays, manifest, prior, steps, states, info)


@partial(jax.jit, static_argnames=("inner", "inner_steps"))
def latent_daps_run(prior, problem, projection, draw, start, steps, **inner):
    solver = latent_daps(prior, problem, projection, steps=steps, time_map="adm", **inner)
    return run(draw, solver, start, record=record)[1]


@jax.jit
def adm_ode(prior, z, at):
    return ode(prior, z, at, time_of_sigma)


@jax.jit
def descent(prior, problem, level, tau_y, z):
    return latent_gradient(prior.first_stage, problem, level, tau_y, z)


@pytest.mark.parametrize("case", cases("latent_daps"))
def test_latent_daps_trajectory(case):
    manifest, arrays = load(f"trajectories/{case}")
    config, prior, projection = manifest["config"], vq_prior(), projection_of(manifest)
    inner, problem = config["inner"], problem_of(manifest, arrays, IMAGE)
    steps = latent_daps_steps(
        levels=config["annealing"]["num_steps"],
        ode_steps=config["ode"]["num_steps"],
        lr=inner["lr"],
        lr_min_ratio=inner["lr_min_ratio"],
    )
    assert_close("lr", steps.lr, arrays["lr"], manifest)
    assert_close("sigma_steps", np.append(steps.sigma, 0), arrays["sigma_steps"], manifest)
    count, momentum = inner["num_steps"], inner.get("momentum")
    draws = count + (1 if momentum is None else 2)
    draw = pattern_draws(draws * len(steps.level), 192)
    start = jnp.asarray(hwc(arrays["x_init"]))
    choices = {"inner_steps": count, "inner": inner["mc_algo"], "momentum": momentum}
    choices["tau_y"] = inner["tau"]
    rows = latent_daps_run(prior, problem, projection, draw, start, steps, **choices)
    states, info = jax.tree.map(np.asarray, rows)
    assert_close("states", states, hwc(arrays["states"]), manifest)
    assert_close("final", decode(prior, states[-1]), hwc(arrays["final"]), manifest)
    check_ranks(arrays, states, info)

    z0_hat = [adm_ode(prior, z, at_step(i, steps)) for i, z in enumerate([start, states[0]])]
    assert_close("x0hat_0_1", jnp.stack(z0_hat), hwc(arrays["x0hat_0_1"]), manifest)
    noise = np.stack([draw((i + 1) * draws - 1, start.shape) for i in range(2)])
    z_y = states[:2] - steps.sigma_next[:2, None, None, None] * noise
    assert_close("x0y_0_1", z_y, hwc(arrays["x0y_0_1"]), manifest)
    level = Level(start, z0_hat[0], steps.sigma[0], steps.lr[0], 0)
    gradient = partial(descent, prior, problem, level, inner["tau"])
    first = gradient(level.x0_hat)
    space = shared_subspace(projection, draw, level.first_draw, level.x0_hat)
    g, *_ = guide(projection, space, 0, first)
    if momentum is None:
        moved, _ = langevin(level.lr)(level.x0_hat, 0, g, draw(0, start.shape))
    else:
        velocity, noise = (draw(k, start.shape) for k in range(2))
        moved, _ = hmc(level.lr, momentum)(level.x0_hat, velocity, g, noise)
    scores = -jnp.stack([first, gradient(moved)])
    assert_close("first_scores", scores, hwc(arrays["first_scores"]), manifest)

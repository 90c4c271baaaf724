"""PSLD, Latent-DPS and LatentDAPS against whole trajectories of the reference code."""

from dataclasses import replace
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.diffusion import predict
from dsg_jax.plug_ins import begin, follow
from dsg_jax.sample import run
from dsg_jax.solvers.daps import ode
from dsg_jax.solvers.ddim import ddim_step, ddim_steps
from dsg_jax.solvers.inner import Level, hmc, langevin
from dsg_jax.solvers.latent_daps import (
    LatentDAPSSettings,
    latent_daps,
    latent_daps_steps,
    latent_gradient,
    timed,
)
from dsg_jax.solvers.latent_dps import LatentDPSSettings, latent_dps
from dsg_jax.solvers.psld import PSLDSettings, psld, psld_loss
from support.golden_case import (
    GOLDEN,
    assert_close,
    hwc,
    load,
    pattern_draws,
    problem_of,
    projection_of,
    relative,
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


def loss_as_misfit(*arguments):
    """`psld_loss`, with the loss itself where a step reports the misfit."""
    loss, (z_next, _) = psld_loss(*arguments)
    return loss, (z_next, loss)


def record(state, info):
    return state, info


@partial(jax.jit, static_argnames="build")
def replay(build, prior, problem, projection, settings, draw, start):
    """Every state and info, with the golden noise pattern in place of random draws."""
    return run(draw, build(prior, problem, projection, settings), start, record=record)[1]


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
    check_image(prior, states[-1], hwc(arrays["final_image"]), manifest)
    starts = np.stack([hwc(arrays["x_init"]), states[0]])
    first = [unguided(prior, z, at_step(i, steps)) for i, z in enumerate(starts)]
    z_next, z0_hat = (np.stack(values) for values in zip(*first))
    assert_close("z0_hat_0_1", z0_hat, hwc(arrays["z0_hat_0_1"]), manifest)
    assert_close(gradient, z_next - states[:2], hwc(arrays[gradient]), manifest)
    check_ranks(arrays, states, info)


def check_image(prior, z, golden, manifest) -> None:
    """D(z) is the golden image, where a pixel of z that lies between two codes may take either.

    In psld_blur one of 64 latent pixels is 3e-7 from the plane between its nearest codes, whose
    squared distances 0.231227 differ by a rounding, 5e-7, so that the CPU decides; no other one of
    any case is nearer than 1e-3. Moved towards the one code and the other by what a latent is
    allowed to be off (4e-5 to 7e-5), that pixel alone takes another code; all of the image still
    has to agree to its own tolerance.
    """
    codes, step = prior.first_stage.decode.args[0].get("quantize.embedding.weight"), 0.0
    if codes is not None:
        nearest = lambda z: np.argsort(np.sum((z[..., None, :] - codes) ** 2, axis=-1), axis=-1)
        first, second = np.moveaxis(np.asarray(codes)[nearest(z)[..., :2]], -2, 0)
        step = manifest["tolerance"]["atol"]["final_latent"] * np.sign(second - first)
        assert np.sum(nearest(z - step)[..., 0] != nearest(z + step)[..., 0]) <= 1
    images = [decode(prior, z + way * step) for way in (0, -1, 1)]
    image = min(images, key=lambda image: relative(image, golden))
    assert_close("final_image", image, golden, manifest)


def check_ranks(arrays, states, info) -> None:
    assert info.finite.all()
    if "ranks" not in arrays:
        assert (info.share == 1).all()
        return
    assert np.array_equal(info.rank, np.minimum(arrays["ranks"], states.shape[1]))
    assert ((info.share > 0) & (info.share <= 1 + 1e-5)).all()


@pytest.mark.parametrize("case", cases("psld"))
def test_psld_trajectory(case, monkeypatch):
    monkeypatch.setitem(psld.__globals__, "psld_loss", loss_as_misfit)
    manifest, arrays = load(f"trajectories/{case}")
    config = manifest["config"]
    prior, projection = prior_of(config, arrays), projection_of(manifest)
    problem = problem_of(manifest, arrays, IMAGE)
    sampled = "sampled" in config["first_stage"]
    steps, start = steps_of(config, prior), jnp.asarray(hwc(arrays["x_init"]))
    weights = {"gamma": config["gamma"], "omega": config["omega"]}
    settings = PSLDSettings(steps=steps, sample_encoding=sampled, **weights)
    draw = pattern_draws((2 + sampled) * STEPS, 32 * 32 * 3)

    count = len(arrays["states"])
    rows = replay(psld, prior, problem, projection, settings, draw, start)
    states, info = jax.tree.map(lambda row: np.asarray(row[:count]), rows)
    assert_close("losses", info.misfit, arrays["losses"], manifest)
    if projection is None:
        check_steps(arrays, manifest, prior, steps, states, info)
        return
    check_steps(arrays, manifest, prior, steps, states, info, "projected_0_1")
    gradients = []
    for i, z in enumerate([start, states[0]]):  # what was projected, from the plain method
        later = shifted(steps, i)._replace(index=steps.index)
        settings, moved = replace(settings, steps=later), shifted(draw, i * (2 + sampled))
        (plain, *_), _ = replay(psld, prior, problem, None, settings, moved, z)
        gradients.append(unguided(prior, z, at_step(i, steps))[0] - plain)
    assert_close("grads_0_1", jnp.stack(gradients), hwc(arrays["grads_0_1"]), manifest)


def test_latent_dps_trajectory():
    manifest, arrays = load("trajectories/latent_dps_blur")
    config, prior = manifest["config"], vq_prior()
    steps, problem = steps_of(config, prior), problem_of(manifest, arrays, IMAGE)
    start, zeta = jnp.asarray(hwc(arrays["x_init"])), config["omega"]
    settings = LatentDPSSettings(steps=steps, zeta=zeta)
    rows = replay(latent_dps, prior, problem, None, settings, pattern_draws(STEPS, 192), start)
    states, info = jax.tree.map(np.asarray, rows)
    assert_close("losses", zeta * info.misfit, arrays["losses"], manifest)
    check_steps(arrays, manifest, prior, steps, states, info)


@jax.jit
def adm_ode(prior, z, at):
    return ode(prior._replace(clock=timed(prior.clock, "adm")), z, at)


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
    choices = {"inner": inner["mc_algo"], "inner_steps": count, "momentum": momentum}
    settings = LatentDAPSSettings(steps=steps, tau_y=inner["tau"], time_map="adm", **choices)
    rows = replay(latent_daps, prior, problem, projection, settings, draw, start)
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
    space = begin(projection, draw, level.first_draw, level.x0_hat)
    g, *_ = follow(projection, space, 0, first)
    if momentum is None:
        moved, _ = langevin(level.lr)(level.x0_hat, 0, g, draw(0, start.shape))
    else:
        velocity, noise = (draw(k, start.shape) for k in range(2))
        moved, _ = hmc(level.lr, momentum)(level.x0_hat, velocity, g, noise)
    scores = -jnp.stack([first, gradient(moved)])
    assert_close("first_scores", scores, hwc(arrays["first_scores"]), manifest)

"""ReSample against whole trajectories of the reference code, replayed draw by draw.

The plain trajectories run with the real stopping rules, the projected ones with the recorded
counts: their limits are too low for either rule to act.
"""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from dsg_jax.operators.linear import blur, hdr, inpainting
from dsg_jax.plug_ins import begin
from dsg_jax.projection import Subspace
from dsg_jax.sample import run
from dsg_jax.schedule import scaled_linear_betas
from dsg_jax.solvers.resample import LATENT, PIXEL, PRESETS, projection_defaults, resample
from dsg_jax.solvers.resample.fit import fit
from dsg_jax.solvers.resample.stages import (
    Inputs,
    ReSampleSettings,
    stochastic_resampling,
    time_travel,
)
from dsg_jax.solvers.resample.steps import even_counts, resample_steps
from dsg_jax.types import Operator, Problem, Projection
from support.golden_case import GOLDEN, assert_close, hwc, load, pattern_draws, tiny_latent_prior

CASES = sorted(p.stem for p in (GOLDEN / "trajectories").glob("resample*.json"))
CASES.remove("resample_checkpoint_end_to_end")  # networks of its own: test_latent_end_to_end
SHAPE = (32, 32, 3)
KINDS = ("blur", "inpainting", "high_dynamic_range")
OFFICIAL = {k: v for k, v in PRESETS["official"].items() if k not in projection_defaults()}


DRAW = pattern_draws(46, 8 * 8 * 3)  # all that a trajectory takes

prior = lru_cache(tiny_latent_prior)


def one_of(kind, forwards, x):
    return jax.lax.switch(kind, forwards, x)


def problem_of(config: dict, arrays: dict) -> Problem:
    """All operators in one structure, so that the cases share their compiled programs."""
    delta = np.pad(np.ones((1, 1), np.float32), 4)
    mask = arrays.get("mask", np.ones(SHAPE[:2])).reshape(SHAPE[:2])
    operators = (blur(SHAPE, arrays.get("kernel", delta)), inpainting(mask), hdr())
    kind = jnp.int32(KINDS.index(config["operator"]["name"]))
    forward = Partial(one_of, kind, tuple(o.forward for o in operators))
    return Problem(Operator(forward), jnp.asarray(hwc(arrays["y"])), config["sigma"])


def projection_of(config: dict) -> Projection | None:
    chosen = config.get("projection")
    return chosen and Projection(chosen["tau"], period=chosen["period"])


def descents(config: dict) -> dict:
    stop = config["eps_stop"]
    pixel = PIXEL._replace(lr=config["pixel_lr"], limit=config["max_iters_pixel"], eps_stop=stop)
    latent = LATENT._replace(lr=config["latent_lr"], limit=config["max_iters_latent"])
    return {"pixel": pixel, "latent": latent._replace(eps_stop=stop)}


@jax.jit
def trajectory(prior, problem, projection, settings, x):
    solver = resample(prior, problem, projection, settings)
    record = lambda state, info: (state, info)
    last, (states, info) = run(DRAW, solver, x, record=record)
    return states, info, solver.image(last)


@pytest.mark.parametrize("case", CASES)
def test_trajectory(case):
    manifest, arrays = load(f"trajectories/{case}")
    config, stages = manifest["config"], manifest["stages"]
    steps = resample_steps(scaled_linear_betas(), config["S"])
    index, counts = steps.ddim.index, np.zeros(config["N"] + 1, int)
    for stage in stages:
        where = -1 if stage["index"] is None else config["N"] - 1 - stage["index"]
        counts[where] = stage["inner_iterations"]
    projection = projection_of(config)
    frozen = None if projection is None else counts
    x = jnp.asarray(hwc(arrays["x_init"]))
    settings = ReSampleSettings(steps=steps, frozen=frozen, **descents(config), **OFFICIAL)
    states, info, image = jax.device_get(
        trajectory(prior(), problem_of(config, arrays), projection, settings, x)
    )
    assert_close("states", states, hwc(arrays["states"]), manifest)
    assert_close("dps_norms", info.misfit, arrays["dps_norms"], manifest)
    assert_close("final_image", image, hwc(arrays["final_image"]), manifest)
    assert np.array_equal(info.inner_steps, counts[:-1]) and info.finite.all()
    ranks = {s["index"]: s.get("rank", 32 if s["stage"] == "pixel" else 8) for s in stages}
    assert (info.rank == [[ranks.get(i, 8)] for i in index]).all()
    optimised = np.isin(index, list(ranks)) & (projection is not None)
    assert (info.share[~optimised] == 1).all() and (info.share[optimised] < 1).all()
    assert (info.share > 0.5).all()
    assert steps.first_draw[-1] + 1 == manifest["draws_total"]
    assert np.array_equal(counts, even_counts(steps, *(d.limit for d in descents(config).values())))


@jax.jit
def surroundings(prior, golden, at):
    """What happens before and after the optimisation, each part from the reference's own input."""
    inputs = Inputs(prior, None, None, ReSampleSettings(steps=None))
    decode, encode, _ = prior.first_stage
    state, start = time_travel(inputs, DRAW, golden["x_t"], at)
    noise = DRAW(at.first_draw + 6, state.shape)
    resampled = stochastic_resampling(golden["encoded"], golden["x_t"], noise, at)
    latents = {"resampled": resampled, "state": state, "start": start}
    images = {"state": decode(state), "start": decode(start)}
    return latents, images | {"encoded": encode(golden["image"], None)}


@partial(jax.jit, static_argnames="in_pixels")
def optimised(prior, problem, projection, plain, state, start, descent, *, in_pixels):
    """A plain optimisation runs through the same program with I as both projectors."""
    space = begin(projection, DRAW, jnp.int32(0), state)
    full = space.left.shape[-1]
    whole = Subspace(jnp.eye(full), jnp.eye(full), full)
    space = jax.tree.map(lambda each, all_of: jnp.where(plain, all_of, each), space, whole)
    render = (lambda x: x) if in_pixels else prior.first_stage.decode
    return fit(problem, render, start, descent, projection=projection, space=space)


def golden_parts(name: str, arrays: dict) -> dict:
    """The recorded arrays of one optimisation, unbatched.

    The final one's recorded state shares its memory with the latent that was then optimised in
    place, and so is the result; what was decomposed is the start.
    """
    parts = {k.removeprefix(f"{name}__"): v for k, v in arrays.items() if k.startswith(f"{name}__")}
    parts = {part: hwc(value) if value.ndim > 1 else value for part, value in parts.items()}
    return parts | {"state": parts["start"]} if name == "final" else parts


@pytest.mark.parametrize("case", CASES)
def test_every_inner_optimisation(case):
    manifest, arrays = load(f"trajectories/{case}")
    config = manifest["config"]
    projection = projection_of(config)
    for stage in manifest["stages"]:
        name, kind = stage["name"], stage["stage"]
        golden = golden_parts(name, arrays)
        result = optimised(
            prior(),
            problem_of(config, arrays),
            projection or Projection(0.99, 1),
            projection is None,
            golden.get("state", golden["start"]),
            golden["start"],
            descents(config)[kind],
            in_pixels=kind == "pixel",
        )
        assert_close(f"{name}__result", result.w, golden["result"], manifest)
        assert result.iterations == stage["inner_iterations"] == len(golden["losses"])
        losses = result.losses[: result.iterations]
        assert_close(f"{name}__losses", losses, golden["losses"], manifest)
        np.testing.assert_allclose(result.first_loss, stage["loss_first"], rtol=1e-6)
        np.testing.assert_allclose(result.last_loss, stage["loss_last"], rtol=2e-6)
        assert (result.rank == stage.get("rank", result.w.shape[0])).all()
    assert_close("final_latent", result.w, hwc(arrays["final_latent"]), manifest)


@pytest.mark.parametrize("case", CASES)
def test_what_surrounds_the_optimisations(case):
    manifest, arrays = load(f"trajectories/{case}")
    config = manifest["config"]
    steps = resample_steps(scaled_linear_betas(), config["S"])
    for stage in manifest["stages"][:-1]:
        name, in_pixels = stage["name"], stage["stage"] == "pixel"
        golden = golden_parts(name, arrays)
        number = config["N"] - 1 - stage["index"]
        at = jax.tree.map(lambda a, n=number: a[n], steps)
        np.testing.assert_allclose([at.s, at.ddim.a_prev], [stage["sigma"], stage["a_prev"]], 1e-6)
        inputs = {"x_t": golden["x_t"], "encoded": golden["encoded"]}
        inputs["image"] = golden["result"] if in_pixels else np.zeros(SHAPE, np.float32)
        values, images = surroundings(prior(), inputs, at)
        values |= images if in_pixels else {}
        for part in values.keys() & golden.keys():
            assert_close(f"{name}__{part}", values[part], golden[part], manifest)


def test_which_steps_are_optimised_and_with_what():
    _, arrays = load("schedules/resample")
    steps = resample_steps(scaled_linear_betas(), 500)
    chosen = np.flatnonzero(steps.stage)
    rows = np.stack(
        [
            steps.ddim.index,
            steps.ddim.a,
            steps.ddim.a_prev,
            steps.s,
            steps.stage == 1,
        ],
        axis=1,
    )[chosen]
    np.testing.assert_allclose(rows, arrays["ffhq_S500_time_travel"], rtol=1e-6)
    expected = {
        330: (0.02466414, 0.02522193, 0.8841105),
        170: (0.33064285, 0.33420750, 0.4243684),
        160: (0.36709517, 0.37083550, 0.4010652),
        10: (0.96573204, 0.96895540, 0.1205495),
    }
    for row in rows:
        if int(row[0]) in expected:
            np.testing.assert_allclose(row[1:4], expected.pop(int(row[0])), rtol=1e-6)
    assert not expected and len(rows) == 33 and rows[:, 4].sum() == 17
    assert steps.first_draw[-1] + 1 == 698 == 500 + 33 * 6
    assert steps.s.dtype == steps.travel.a.dtype == np.float32
    travel = jax.tree.map(lambda a: a[chosen[0]], steps.travel)
    assert travel.index.tolist() == [330, 329, 328, 327, 326, 325]
    assert travel.time.tolist() == [661, 659, 657, 655, 653, 651]
    at = jax.tree.map(lambda a: a[chosen[17]], steps)
    weights = [stochastic_resampling(*parts, at) for parts in np.eye(3, dtype=np.float32)]
    np.testing.assert_allclose(weights, [0.2370673, 0.6107031, 0.4949058], rtol=1e-6)
    with pytest.raises(ValueError, match="every=4"):
        resample_steps(scaled_linear_betas(), 500, every=4)

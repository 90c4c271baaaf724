"""ReSample's options and batches on a prior whose networks are formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from dsg_jax.clock import table_clock
from dsg_jax.operators.linear import inpainting
from dsg_jax.plug_ins import begin
from dsg_jax.sample import end, normal_draws, run, with_ending
from dsg_jax.schedule import scaled_linear_betas
from dsg_jax.solvers.ddim import ddim_step
from dsg_jax.solvers.resample import LATENT, PIXEL, guided_ddim, resample
from dsg_jax.solvers.resample.fit import fit
from dsg_jax.solvers.resample.stages import (
    Inputs,
    ReSampleSettings,
    hard_consistency,
    time_travel,
)
from dsg_jax.solvers.resample.steps import even_counts, resample_steps
from dsg_jax.types import FirstStage, Info, Prior, Problem, Projection

KINDS = ("none", "no_jacobian", "full_jacobian")
LATENT_SHAPE, SHAPE = (8, 8, 3), (16, 16, 3)
BETAS = scaled_linear_betas()
STEPS = resample_steps(BETAS, 20, every=5)  # the image at index 10, the latent at 5


def gaussian_eps(alpha_bar, z, t):
    """The exact noise prediction for z0 ~ N(0.3, 0.25 I)."""
    a = alpha_bar[t]
    return jnp.sqrt(1 - a) * (z - 0.3 * jnp.sqrt(a)) / (0.25 * a + 1 - a)


def decode(z):
    """Twice the size, with a mild nonlinearity."""
    return jnp.repeat(jnp.repeat(jnp.tanh(z), 2, axis=0), 2, axis=1)


def encode(x, noise):
    return jnp.arctanh(jnp.clip(x, -0.99, 0.99).reshape(8, 2, 8, 2, 3).mean((1, 3)))


def toy_prior() -> Prior:
    alpha_bar = jnp.asarray(np.cumprod(1 - BETAS), jnp.float32)
    network = Partial(gaussian_eps, alpha_bar)
    return Prior(network, table_clock(BETAS), FirstStage(decode, encode, 2))


def toy_problem(seed: int = 0, seen: float = 0.6) -> Problem:
    rng = np.random.default_rng(seed)
    mask = (rng.random(SHAPE[:2]) < seen).astype(np.float32)
    truth = decode(jnp.asarray(0.3 + 0.5 * rng.normal(size=LATENT_SHAPE), jnp.float32))
    operator = inpainting(mask)
    noise = jnp.asarray(rng.normal(size=SHAPE), jnp.float32)
    return Problem(operator, operator.forward(truth + 0.05 * noise), 0.05)


def inputs(projection: Projection | None = None, **options) -> Inputs:
    settings = ReSampleSettings(steps=STEPS, **options)
    return Inputs(toy_prior(), toy_problem(), projection, settings)


def at(index: int):
    return jax.tree.map(lambda a: a[19 - index], STEPS)


def start(seed: int = 0):
    return jax.random.normal(jax.random.key(seed), LATENT_SHAPE)


DRAW = normal_draws(jax.random.key(9))
EARLY = {
    "pixel": PIXEL._replace(limit=150, eps_stop=0.1),
    "latent": LATENT._replace(limit=150, eps_stop=0.2),
}


def test_the_final_optimisation_is_told_of():
    """How many updates it made and whether it diverged, in the last step's `Info`."""
    for rate, diverges in ((5e-3, False), (1e20, True)):
        settings = inputs(latent=LATENT._replace(lr=rate, limit=3)).settings
        solver = resample(toy_prior(), toy_problem(), None, settings)
        z = start()
        ending = end(solver, z)
        nothing = Info(*[jnp.zeros(2)] * 3, jnp.ones(2, bool), jnp.zeros(2, int), jnp.ones(2))
        info = with_ending(nothing, ending)
        assert info.inner_steps.tolist() == [0, 3]
        assert (not info.loss_ratio[-1] <= 1) == diverges and info.loss_ratio[0] == 1


@jax.jit
def restore(problems, seeds, projection, settings):
    def one(problem, seed):
        solver = resample(toy_prior(), problem, projection, settings)
        last, info = run(normal_draws(jax.random.key(seed)), solver, start(seed))
        return last, info, solver.image(last)

    return jax.vmap(one)(problems, seeds)


def batch(*problems):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *problems)


@pytest.mark.slow
def test_early_stops_of_others_change_nothing():
    """The same program on other companions, one of which has nothing to fit, and on copies."""
    nothing, hard, other = toy_problem(0, 0.0), toy_problem(1), toy_problem(2)
    projection, settings = Projection(period=2), ReSampleSettings(steps=STEPS, **EARLY)
    mixed = restore(batch(nothing, hard, other), jnp.array([1, 2, 3]), projection, settings)
    copies = restore(batch(hard, hard, hard), jnp.array([2, 2, 2]), projection, settings)
    for together, alone in zip(jax.tree.leaves(mixed), jax.tree.leaves(copies), strict=True):
        np.testing.assert_array_equal(together[1], alone[0])
    info, pixel, latent = mixed[1], STEPS.stage == 1, STEPS.stage == 2
    assert (info.inner_steps[:, ~(pixel | latent)] == 0).all()
    assert (info.inner_steps[0, pixel | latent] == 1).all()
    assert len(set(info.inner_steps[:, latent].ravel().tolist())) == 3
    assert (info.inner_steps[:, latent] < 150).all()
    assert (info.misfit[0] == 0).all() and info.finite.all()  # the norm's gradient at 0 is 0
    assert (info.rank[:, pixel] == 16).all() and (info.share[:, ~latent] == 1).all()
    assert (info.rank[:, latent] < 8).all() and (info.share[1:, latent] < 1).all()


def test_a_batch_keeps_its_branches_and_even_counts_its_loops():
    """Steps without an optimisation skip it; with frozen counts no sample waits or is masked."""
    problems, seeds = batch(toy_problem(0), toy_problem(1)), jnp.array([1, 2])
    for frozen in (None, even_counts(STEPS, 7, 3)):
        settings = ReSampleSettings(steps=STEPS, frozen=frozen, **EARLY)
        with jax.default_prng_impl("rbg"):  # whose draws have no branch of their own
            program = str(jax.make_jaxpr(restore)(problems, seeds, None, settings))
        assert program.count("branches=") == 2
        assert program.count("while[") == 3
        assert ("bool[2] = and" in program) == (frozen is None)  # a sample's own "go on"


def test_frozen_counts():
    counts = even_counts(STEPS, 7, 3)
    assert {int(i): int(counts[i]) for i in np.flatnonzero(counts)} == {9: 7, 14: 3, 20: 3}
    for index, in_pixels in ((10, True), (5, False)):
        this, z = inputs(frozen=counts, **EARLY), start()
        _, result = hard_consistency(this, DRAW, z, (z, z), at(index), in_pixels=in_pixels)
        assert result.iterations == counts[19 - index]


def test_gradient_of_the_norm():
    z, here = start(), at(12)
    a = here.ddim.a
    after = {kind: guided_ddim(inputs(dps_step=kind), DRAW, z, here)[0] for kind in KINDS}
    eps = toy_prior().network(z, here.ddim.time)
    np.testing.assert_allclose(after["none"], ddim_step(z, eps, 0, here.ddim)[0], rtol=1e-6)
    held = after["no_jacobian"] - after["none"]
    through = after["full_jacobian"] - after["none"]
    slope = np.sqrt(1 - a) / (0.25 * a + 1 - a)  # of the noise prediction
    np.testing.assert_allclose(through, (1 - (1 - a) * slope) * held, atol=1e-6)
    assert jnp.max(jnp.abs(held)) > 1e-3
    z_hat = (z - (1 - a) * eps) / np.sqrt(a)
    problem = toy_problem()

    def norm(z_hat):
        return jnp.linalg.norm(problem.y - problem.operator.forward(decode(z_hat)))

    np.testing.assert_allclose(held, -np.sqrt(a) / 2 * jax.grad(norm)(z_hat), atol=1e-6)


@pytest.mark.parametrize("tweedie", ["code", "exact"])
@pytest.mark.parametrize("index_fix", [False, True])
def test_time_travel(tweedie, index_fix):
    network, table = toy_prior().network, STEPS.ddim
    z = start()
    travelled, z_hat = time_travel(inputs(tweedie=tweedie, index_fix=index_fix), DRAW, z, at(10))
    for j in range(5):
        lag = 0 if index_fix else 1
        time, n = table.time[19 - (9 - j)], 19 - (9 - j + lag)
        a, p = np.float64(table.a[n]), np.float64(table.a_prev[n])
        eps = network(z, time)
        expected = (z - (1 - a if tweedie == "code" else np.sqrt(1 - a)) * eps) / np.sqrt(a)
        z = np.sqrt(p) * (z - np.sqrt(1 - a) * eps) / np.sqrt(a) + np.sqrt(1 - p) * eps
    np.testing.assert_allclose(travelled, z, atol=2e-6)
    np.testing.assert_allclose(z_hat, expected, atol=2e-6)


def test_which_state_is_decomposed_and_where():
    """The latent stage follows ``state``; the image is projected on demand only."""
    x_t, z_travelled, z_hat = start(1), start(2), start(3)
    projection = Projection(jnp.int32(2), rule="rank")
    common = {"projection": projection, "frozen": jnp.full(21, 4), **EARLY}
    moved = {}
    for state in ("post_travel", "pre_travel"):
        _, result = hard_consistency(
            inputs(state=state, **common), DRAW, x_t, (z_travelled, z_hat), at(5), in_pixels=False
        )
        moved[state] = result.w
    for state, matrix in (("post_travel", z_travelled), ("pre_travel", x_t)):
        space = begin(projection, DRAW, jnp.int32(0), matrix)
        direct = fit(
            toy_problem(),
            decode,
            z_hat,
            EARLY["latent"],
            projection=projection,
            space=space,
            frozen=4,
        )
        np.testing.assert_allclose(moved[state], direct.w, atol=1e-6)
    assert jnp.max(jnp.abs(moved["post_travel"] - moved["pre_travel"])) > 1e-3
    for project_pixel in (False, True):
        this = inputs(project_pixel=project_pixel, **common)
        _, result = hard_consistency(this, DRAW, x_t, (z_travelled, z_hat), at(10), in_pixels=True)
        assert result.rank.tolist() == [2 if project_pixel else 16] * 3
        assert (result.share < 1) == project_pixel


def test_final_projection():
    z, counts = start(), np.full(21, 4)
    image = {}
    for name, projection, options in (
        ("plain", None, {}),
        ("off", Projection(0.9), {"project_final": False}),
        ("on", Projection(0.9), {}),
        ("random", Projection(0.9, source="random"), {}),
    ):
        solver = resample(*inputs(projection, frozen=counts, **options))
        image[name] = solver.image(z)
    np.testing.assert_array_equal(image["plain"], image["off"])
    assert len({float(jnp.sum(x)) for x in image.values()}) == 3


def test_refusals():
    for name, wrong in (("state", "mid"), ("dps_step", "half"), ("tweedie", "score")):
        with pytest.raises(ValueError, match=f"{name}='{wrong}': choose from"):
            inputs(**{name: wrong})
    pixel = inputs()._replace(prior=toy_prior()._replace(first_stage=None))
    with pytest.raises(ValueError, match="resample works on latents"):
        resample(*pixel)

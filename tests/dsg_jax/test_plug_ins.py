"""Plug-ins: what they do to gradients, alone and together, and which solvers take them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from dsg_jax.operators.linear import inpainting
from dsg_jax.plug_ins import PlugIn, begin, follow, smoothing, unprojected
from dsg_jax.projection import project, subspace
from dsg_jax.sample import sample
from dsg_jax.solvers import SOLVERS, settings_for
from dsg_jax.types import Problem, Projection
from support.gaussian_prior import gaussian_prior
from support.linear_stage import LATENT, linear_prior

SHORT = {
    "steps": 20,
    "levels": 3,
    "inner_steps": 3,
    "ode_steps": 1,
    "pixel_limit": 3,
    "latent_limit": 3,
    "reverse_steps": 8,
    "likelihood": "langevin",
}
RANK_3 = Projection(3, rule="rank")
randn = lambda seed: jnp.asarray(np.random.RandomState(seed).randn(8, 8, 3), jnp.float32)


def clipped(limit, state, gradient, memory):
    return gradient * jnp.minimum(1, limit / jnp.linalg.norm(gradient)), memory, None


def program(solver: str, **options):
    """A function of key and plug-in that samples an 8 x 8 inpainting: (image, info)."""
    latent = SOLVERS[solver].prior == "latent"
    prior, shape = (linear_prior(), LATENT) if latent else (gaussian_prior(), (8, 8, 1))
    options |= {n: v for n, v in SHORT.items() if n in SOLVERS[solver].options}
    settings = settings_for(solver, "inpainting", prior, **options)
    problem = Problem(inpainting(np.eye(8)), 0.3 * jnp.eye(8)[..., None], 0.05)

    def restore(key, plug_in):
        return sample(key, SOLVERS[solver].solve(prior, problem, plug_in, settings), shape)

    return restore, jax.random.key(0)


def followed(guidance, gradients):
    memory = begin(guidance, None, jnp.int32(0), randn(0))
    for i, g in enumerate(gradients):
        g, memory, rank = follow(guidance, memory, jnp.int32(i), g)
        yield g, rank


def test_smoothing_weighs_the_earlier_gradients_by_their_cosine():
    g = randn(1)
    cases = {1.0: 2 * g, -1.0: -g, 0.0: jnp.cross(g, randn(2), axis=-1)}
    for cosine, later in cases.items():
        a = 0.8 * (1 + cosine) / 2
        first, second = (h for h, _ in followed(smoothing(0.8), [g, later]))
        np.testing.assert_array_equal(first, g)
        np.testing.assert_allclose(second, a * g + (1 - a) * later, atol=1e-5)
    ((_, _), (unchanged, _)) = followed(smoothing(0.0), [g, randn(2)])
    np.testing.assert_array_equal(unchanged, randn(2))


def test_several_are_applied_in_their_order():
    gradients = [randn(1), randn(2)]
    space = subspace(RANK_3, randn(0))
    inside = [h for h, _ in followed(smoothing(), [project(space, g) for g in gradients])]
    for (h, rank), expected in zip(followed((RANK_3, smoothing()), gradients), inside, strict=True):
        np.testing.assert_allclose(h, expected, atol=1e-6)
        assert (rank == 3).all()
    clip = PlugIn(Partial(clipped, 1.0))
    orders = (RANK_3, clip), (clip, RANK_3)
    last, first = (np.linalg.norm(next(followed(order, gradients))[0]) for order in orders)
    assert last == pytest.approx(1) and first < 0.9


@pytest.mark.parametrize("solver", ["dps", "daps"])
def test_a_plug_in_of_ones_own(solver):
    """Gradients are clipped to a length, or to one so long that none is clipped."""
    restore, key = program(solver)
    restore = jax.jit(restore)
    plain, _ = restore(key, None)
    loose, info = restore(key, PlugIn(Partial(clipped, 1e9)))
    np.testing.assert_allclose(loose, plain, atol=1e-6)
    assert (info.rank == 8).all() and (info.share == 1).all()
    tight, info = restore(key, PlugIn(Partial(clipped, 0.1)))
    assert info.share[-1] < 1 and np.abs(tight - plain).max() > 0.01  # early ones may be short


@pytest.mark.parametrize("solver", SOLVERS)
def test_only_solvers_with_an_inner_loop_can_remember(solver):
    restore, key = program(solver)
    if SOLVERS[solver].inner_loop:
        traces = []
        counted = jax.jit(lambda key, plug_in: (traces.append(1), restore(key, plug_in))[1])
        both = lambda tau, beta: (Projection(tau, rule="per_channel"), smoothing(beta))
        results = [counted(key, both(*numbers))[0] for numbers in ((0.9, 0.5), (0.99, 0.9))]
        assert len(traces) == 1 and np.isfinite(results).all()
        assert not np.array_equal(*results)
    else:
        with pytest.raises(ValueError, match="a plug-in that remembers gradients"):
            jax.eval_shape(restore, key, smoothing())


def test_resample_smooths_where_it_does_not_project():
    """The paper's preset leaves images unprojected; smoothing is of every inner loop."""
    restore, key = program("resample", preset="paper")
    off = Projection(0.9, period=0)
    images = [jax.jit(restore)(key, p)[0] for p in ((off, smoothing()), smoothing(), None)]
    np.testing.assert_allclose(images[0], images[1], atol=1e-5)
    assert not np.array_equal(images[1], images[2])
    assert unprojected((off, smoothing())) and not unprojected(off)

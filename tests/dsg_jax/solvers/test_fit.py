"""The inner optimisation of ReSample: AdamW, its stopping rules, projection, and vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from dsg_jax.operators.linear import identity
from dsg_jax.plug_ins import begin
from dsg_jax.projection import project
from dsg_jax.solvers.resample.fit import WINDOW, Descent, fit
from dsg_jax.types import Problem, Projection

SHAPE = (4, 8, 2)
LR, EPS = 1e-6, 2.0**-10  # an exact square, so that "equal" can be tested
LIMIT = 420


def scripted(script, w):
    """An image whose squared error is script[i] in iteration i, with a gradient of 1.

    AdamW moves w by -LR in every iteration, which therefore counts them.
    """
    value = jnp.sqrt(script[jnp.round(-w[0, 0, 0] / LR).astype(int)])
    return value + (w - jax.lax.stop_gradient(w)) / (2 * value)


def script(*pieces):
    """Losses of iterations from (first iteration, value or function of the iteration) pairs."""
    losses = np.zeros(LIMIT + 1)
    for first, value in pieces:
        i = np.arange(first, LIMIT + 1)
        losses[first:] = value(i) if callable(value) else value
    return losses.astype(np.float32)


falling = lambda i: 1 - 1e-3 * i
SCRIPTS = {  # losses, whether the window rule is on, updates expected
    "falling": (script((0, falling)), True, LIMIT),
    "equal losses are no rise": (script((0, 1)), True, LIMIT),
    "risen over the first window": (script((0, 1), (200, 1.5)), True, 201),
    "no window rule": (script((0, 1), (200, 1.5)), False, LIMIT),
    "risen later": (script((0, falling), (310, 0.95)), True, 311),
    "risen within the window only": (script((0, 1), (50, 2), (200, 0.5)), True, LIMIT),
    "small": (script((0, 1), (5, EPS**2 / 2)), True, 6),
    "small at once, without the window rule": (script((0, EPS**2 / 2)), False, 1),
    "equal to the square is not below": (script((0, EPS**2)), True, LIMIT),
    "nan": (script((0, 1), (3, np.nan)), True, LIMIT),
}


def test_stopping_rules_and_independence_under_vmap():
    """All scripts in one batch: whoever stops early neither stops nor delays another."""
    scripts, windows, expected = map(np.array, zip(*SCRIPTS.values()))

    def run(losses, window):
        problem = Problem(identity(), jnp.zeros((1, 1, 1)), 0.0)
        descent = Descent(LR, LIMIT, window, EPS)
        return fit(problem, Partial(scripted, losses), jnp.zeros((1, 1, 1)), descent)

    result = jax.jit(jax.vmap(run))(scripts, windows)
    assert dict(zip(SCRIPTS, result.iterations.tolist())) == dict(zip(SCRIPTS, expected.tolist()))
    for losses, count, fit_losses, last in zip(
        scripts, expected, result.losses, result.last_loss, strict=True
    ):
        i = np.arange(max(0, count - WINDOW), count)
        np.testing.assert_allclose(np.asarray(fit_losses)[i % WINDOW], losses[i], rtol=1e-6)
        np.testing.assert_allclose(last, losses[count - 1], rtol=1e-6)
    np.testing.assert_allclose(result.first_loss, scripts[:, 0], rtol=1e-6)


def reference_adamw(w, y, count, lr, direction):
    """PyTorch's AdamW in float64 on mean((y - w)^2), its gradient first sent through direction."""
    m = v = np.zeros_like(w)
    for i in range(count):
        g = direction(i, 2 * (w - y) / w.size)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w * (1 - lr * 0.01)
        w = w - lr * (m / (1 - 0.9 ** (i + 1))) / (np.sqrt(v / (1 - 0.999 ** (i + 1))) + 1e-8)
    return w


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    y, start, state = rng.normal(size=(3, *SHAPE)).astype(np.float32)
    return Problem(identity(), jnp.asarray(y), 0.0), jnp.asarray(start), jnp.asarray(state)


@jax.jit
@jax.vmap
def descend(frozen, problem, start, projection, space):
    """``frozen`` updates with a step so large that the decay shows."""
    return fit(
        problem,
        lambda x: x,
        start,
        Descent(0.5, 0, False, 1e9),  # both rules would stop at once
        projection=projection,
        space=space,
        frozen=frozen,
    )


COUNTS = (0, 1, 2, 7)


def batched(tree):
    return jax.tree.map(lambda a: jnp.broadcast_to(a, (len(COUNTS), *jnp.shape(a))), tree)


def test_first_updates_are_those_of_adamw_with_decoupled_decay(case):
    problem, start, _ = case
    result = descend(jnp.array(COUNTS), *batched((problem, start)), None, None)
    assert result.iterations.tolist() == list(COUNTS)
    assert np.array_equal(result.w[0], start)
    sign = np.sign(np.asarray(start - problem.y))
    np.testing.assert_allclose(result.w[1], 0.995 * start - 0.5 * sign, atol=3e-5)
    start, y = np.float64(start), np.float64(problem.y)
    for w, count in zip(result.w, COUNTS, strict=True):
        expected = reference_adamw(start, y, count, 0.5, lambda i, g: g)
        np.testing.assert_allclose(w, expected, atol=2e-5)
    assert (result.rank == 4).all() and (result.share == 1).all()
    assert np.isnan(result.last_loss[0]) and np.isfinite(result.last_loss[1:]).all()


def test_gradients_are_projected_before_the_moments_every_period(case):
    problem, start, state = case
    projection = Projection(jnp.float32(1), jnp.int32(3), rule="rank")
    space = begin(projection, None, jnp.int32(0), state)

    def direction(i, g):
        return np.float64(project(space, jnp.float32(g))) if i % 3 == 0 else g

    result = descend(jnp.array(COUNTS), *batched((problem, start, projection, space)))
    for w, count in zip(result.w, COUNTS, strict=True):
        expected = reference_adamw(np.float64(start), np.float64(problem.y), count, 0.5, direction)
        np.testing.assert_allclose(w, expected, atol=1e-4)
    assert (result.rank == 1).all()
    g = 2 * (start - problem.y) / start.size
    share = jnp.linalg.norm(project(space, g)) / jnp.linalg.norm(g)
    np.testing.assert_allclose(result.share[:3], [1, share, (share + 1) / 2], rtol=1e-5)


def test_projected_updates_stay_in_the_subspace(case):
    problem, start, state = case
    projection = Projection(2, rule="rank")
    space = begin(projection, None, jnp.int32(0), state)
    move = {}
    for project_update in (True, False):
        result = fit(
            problem,
            lambda x: x,
            start,
            Descent(0.1, 9, False),
            projection=projection,
            space=space,
            project_update=project_update,
        )
        delta = result.w - start
        move[project_update] = jnp.linalg.norm(delta - project(space, delta))
    assert move[True] < 1e-5 < 0.1 < move[False]


def test_every_gradient_can_bring_its_own_subspace(case):
    problem, start, _ = case
    projection = Projection(1, rule="rank", source="gradient")
    assert begin(projection, None, 0, start) is None
    result = fit(problem, lambda x: x, start, Descent(0.1, 1, False), projection=projection)
    assert result.rank.tolist() == [1, 1] and 0 < result.share < 1


def test_a_batch_gives_each_sample_the_result_of_its_own_run(case):
    """Bit for bit, with stops that differ; the first starts at residual 0."""
    problem, start, _ = case

    def run(scale):
        shifted = problem._replace(y=jnp.tanh(start))
        return fit(shifted, jnp.tanh, start + scale * problem.y, Descent(0.02, 300, True, 0.05))

    scales = (0.0, 0.3, 1.0, 2.0)
    together = jax.jit(jax.vmap(run))(jnp.array(scales))
    assert len(set(together.iterations.tolist())) == 4 and together.iterations[0] == 1
    assert jnp.isfinite(together.w).all()
    alone = jax.jit(run)
    for i, scale in enumerate(scales):
        one = alone(scale)
        assert one.iterations == together.iterations[i]
        assert np.array_equal(one.w, together.w[i])
        np.testing.assert_allclose(one.losses, together.losses[i], rtol=1e-6)

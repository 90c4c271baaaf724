"""The projection against the released code's numbers and against its own algebra."""

import json
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.priors.samples import sample_images
from dsg_jax.projection import RANK_RULES, project, subspace
from dsg_jax.types import Projection
from support.golden_case import GOLDEN, hwc, load, relative

CASES = ["gray_1x28x28", "latent_4x64x64", "noise_3x64x64", "photo_3x256x256"]
RULES = {"flat": "official", "perc": "per_channel"}


def randn(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def test_worked_example():
    table = json.loads((GOLDEN / "projection" / "worked_example.json").read_text())
    energy = jnp.asarray(table["singular_values"]) ** 2
    for row in table["table"][:-1]:  # the last row, tau = 1, depends on rounding
        tau = row["tau"]
        assert int(RANK_RULES["official"](energy, tau)[0]) == row["official_flat_r"], tau
        np.testing.assert_array_equal(RANK_RULES["per_channel"](energy, tau), row["per_channel"])
        assert int(RANK_RULES["mean"](energy, tau)[0]) == row["sum_over_3"], tau


def golden_state(manifest: dict, arrays: dict) -> np.ndarray:
    if "state" in arrays:
        return hwc(arrays["state"])
    _, images = load("operators/images")
    return images["photo_big_u8"].astype(np.float32) / np.float32(127.5) - np.float32(1)


def probe(a: np.ndarray, kind: str, config: dict) -> np.ndarray:
    if kind == "rows":
        return a[:, config["probe_rows"], :]
    if kind == "cols":
        return a[:, :, config["probe_cols"]]
    return a


@pytest.mark.parametrize("case", CASES)
def test_ranks_and_projected_gradients_equal_the_reference(case):
    manifest, arrays = load(f"projection/{case}")
    state = golden_state(manifest, arrays)
    seed = int(manifest["gradient"].split("(")[1].split(",")[0])
    gradient = hwc(randn(seed, (1, state.shape[2], *state.shape[:2])))
    full = min(state.shape[:2])
    compared = 0
    for row in (row for row in manifest["table"] if row["dtype"] == "float32"):
        for short, rule in RULES.items():
            space = subspace(Projection(row["tau"], rule=rule), state)
            rank = row["official_flat_r"] if short == "flat" else row["per_channel_ranks"]
            assert np.array_equal(space.rank, np.full(state.shape[2], np.minimum(rank, full)))
            projected = np.moveaxis(project(space, gradient), -1, 0)
            for name in arrays:
                if name.startswith(f"P_{short}_tau{row['tau']}_float32") and "stat" not in name:
                    value = probe(projected, name.split("__")[-1], manifest["config"])
                    error = np.max(np.abs(value - arrays[name][0]))
                    assert error <= manifest["tolerance"]["atol"][name], (name, error)
                    compared += 1
    assert compared >= 8


@pytest.fixture(params=[(24, 24, 3), (20, 32, 3), (32, 20, 1)], ids=str)
def shape(request):
    return request.param


@pytest.mark.parametrize("sides", ["both", "left", "right"])
@pytest.mark.parametrize("engine", ["svd", "gram"])
def test_is_an_orthogonal_projection(shape, sides, engine):
    state, g = randn(1, shape), randn(2, shape)
    space = subspace(Projection(7, rule="rank", sides=sides, engine=engine), state)
    once = project(space, g)
    assert relative(project(space, once), once) < 1e-5
    assert np.linalg.norm(once) < np.linalg.norm(g)
    # Self-adjoint, and the residual is orthogonal to the projection.
    assert abs(np.vdot(once, g - once)) < 1e-4 * np.linalg.norm(g) ** 2


def test_ignores_the_signs_of_the_state_and_follows_its_flips(shape):
    state, g = randn(1, shape), randn(2, shape)
    space = Projection(6, rule="rank")
    expected = project(subspace(space, state), g)
    assert relative(project(subspace(space, -state), g), expected) < 1e-5
    signs = np.sign(randn(3, (shape[0], 1, 1)))
    flipped = project(subspace(space, signs * state), signs * g)
    assert relative(flipped, signs * expected) < 1e-5


def test_full_rank_is_the_identity_for_square_states():
    state, g = randn(1, (24, 24, 3)), randn(2, (24, 24, 3))
    space = subspace(Projection(24, rule="rank"), state)
    assert relative(project(space, g), g) < 1e-5
    one_sided = subspace(Projection(20, rule="rank", sides="left"), randn(3, (20, 32, 3)))
    g = randn(4, (20, 32, 3))
    assert relative(project(one_sided, g), g) < 1e-5


def test_engines_agree_on_noisy_states(shape):
    state, g = randn(1, shape), randn(2, shape)
    svd, gram = (
        project(subspace(Projection(9, rule="rank", engine=e), state), g) for e in ("svd", "gram")
    )
    assert relative(gram, svd) < 1e-4


@partial(jax.jit, static_argnames="engine")
def projected_by(engine, z, g):
    space = subspace(Projection(0.99, engine=engine), z)
    return project(space, g), space.rank


def test_auto_is_the_svd_on_a_cpu_to_the_bit():
    z, g = randn(1, (2, 16, 16, 3)), randn(2, (2, 16, 16, 3))
    run = jax.vmap(projected_by, (None, 0, 0))
    auto, svd, gram = (run(engine, z, g)[0] for engine in ("auto", "svd", "gram"))
    assert np.array_equal(auto, svd) and not np.array_equal(auto, gram)


@pytest.mark.parametrize("name, noise", [("photo", 0), ("photo", 0.05), ("emoji", 0), ("emoji", 1)])
def test_the_gram_engine_is_exact_on_clean_and_noisy_images(name, noise):
    """Photographs of 256 and emoji of 64 pixels, against float64; up to 0.5 by Z Z' alone."""
    for i, image in enumerate(sample_images(name, 2)[1]):
        state, g = image + np.float32(noise) * randn(i, image.shape), randn(9, image.shape)
        projected, (rank, *_) = projected_by("gram", state, g)
        z, exact = (np.moveaxis(np.float64(x), -1, 0) for x in (state, g))
        u, _, vt = np.linalg.svd(z)
        u, vt = u[:, :, :rank], vt[:, :rank]
        exact = u @ (u.swapaxes(1, 2) @ exact @ vt.swapaxes(1, 2)) @ vt
        for ours, expected in zip(np.moveaxis(projected, -1, 0), exact, strict=True):
            assert relative(ours, expected) < 1e-4


def test_the_gram_engine_drops_right_vectors_of_nothing():
    """A rank above that of the state: no NaN, and still a projection."""
    u, v, g = randn(0, (24, 2)), randn(1, (2, 24)), randn(2, (24, 24, 1))
    for state in (u @ v, np.zeros((24, 24), np.float32)):
        space = subspace(Projection(7, rule="rank", engine="gram"), state[..., None])
        once = project(space, g)
        assert np.allclose(project(space, once), once, atol=1e-5)


@pytest.mark.parametrize("engine", ["svd", "gram"])
def test_a_low_rank_state_keeps_its_own_gradients(engine):
    """A gradient inside the state's row and column spaces passes unchanged."""
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(24, 4)), rng.normal(size=(4, 24))
    state = np.float32(u @ v)[..., None]
    g = np.float32(u @ rng.normal(size=(4, 4)) @ v)[..., None]
    space = subspace(Projection(0.9999, rule="per_channel", engine=engine), state)
    assert int(space.rank[0]) == 4
    assert relative(project(space, g), g) < 1e-4


@pytest.mark.parametrize("channels, low, high", [(1, 0, 10), (2, 11, 21), (3, 21, 32), (4, 32, 32)])
def test_official_rank_at_other_channel_counts(channels, low, high):
    """Of 32 singular vectors; with four channels the projection is the identity."""
    for tau in (0.9, 0.99, 1.0):
        space = subspace(Projection(tau), randn(1, (32, 32, channels)))
        assert low <= int(space.rank[0]) <= high and np.ptp(space.rank) == 0


def test_official_rank_of_one_channel_can_be_nothing():
    one = subspace(Projection(0.25), np.float32(np.diag([9, 1, 1, 1]))[..., None])
    assert int(one.rank[0]) == 0  # nothing: the gradient vanishes


def distance_to_rank_manifold(z: np.ndarray, rank: int) -> float:
    """Frobenius distance to the matrices of the given rank (Eckart-Young)."""
    return float(np.linalg.norm(np.linalg.svd(z, compute_uv=False)[rank:]))


@pytest.mark.parametrize("step", [1e-1, 1e-2, 1e-3])
def test_proposition_1_on_the_manifold_of_low_rank_matrices(step):
    """The projected update stays closer to the manifold than the raw one, at every step size.

    Matrices of rank 3 form a smooth manifold whose tangent space at Z holds U U' G V V'.
    """
    rng = np.random.default_rng(4)
    state = rng.normal(size=(24, 3)) @ rng.normal(size=(3, 24))
    g = rng.normal(size=(24, 24))
    space = subspace(Projection(3, rule="rank"), np.float32(state)[..., None])
    projected = np.asarray(project(space, np.float32(g)[..., None]))[..., 0]
    raw = distance_to_rank_manifold(state - step * g, 3)
    ours = distance_to_rank_manifold(state - step * projected, 3)
    assert ours < 1e-3 * raw


def test_one_compile_serves_every_tau():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def f(projection, z, g):
        return project(subspace(projection, z), g)

    chex.clear_trace_counter()
    z, g = randn(1, (16, 16, 3)), randn(2, (16, 16, 3))
    results = [f(Projection(tau), z, g) for tau in (0.5, 0.9, 0.99)]
    assert not np.allclose(results[0], results[2])


def test_vmap_equals_a_loop():
    z, g = randn(1, (5, 16, 16, 3)), randn(2, (5, 16, 16, 3))
    f = lambda z, g: project(subspace(Projection(9, rule="rank"), z), g)
    chex.assert_trees_all_close(jax.vmap(f)(z, g), np.stack([f(*p) for p in zip(z, g)]), atol=1e-5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"tau": 0.0}, "tau=0.0"),
        ({"tau": 1.5}, "tau=1.5"),
        ({"tau": 0.5, "rule": "rank"}, "whole number"),
        ({"rule": "flat"}, "official, per_channel"),
        ({"sides": "top"}, "both, left, right"),
        ({"period": -1}, "period=-1: give a whole number >= 0; 0 is never"),
    ],
)
def test_bad_arguments_name_the_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        Projection(**arguments)

"""The table of tasks: defaults, options, seeds and messages."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.operators.kernels import box_mask, gaussian_taps, random_mask, reference_motion_kernel
from dsg_jax.operators.linear import blur
from dsg_jax.operators.tasks import TASKS, operator_for, reference_operator

AVAILABLE = [name for name in TASKS if name != "nonlinear_deblur"]
NAMES = [
    "identity",
    "box_inpainting",
    "random_inpainting",
    "gaussian_deblur",
    "motion_deblur",
    "super_resolution",
    "phase_retrieval",
    "hdr",
    "nonlinear_deblur",
    "circular_deblur",
    "block_super_resolution",
    "fourier_subsampling",
]
DRAWN = ["box_inpainting", "random_inpainting", "motion_deblur", "fourier_subsampling"]


def leaves_equal(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


def test_names():
    assert list(TASKS) == NAMES


@pytest.mark.parametrize("shape", [(64, 64, 3), (40, 24, 1)])
@pytest.mark.parametrize("task", AVAILABLE)
def test_every_task_builds_and_is_as_linear_as_it_says(task, shape):
    operator = operator_for(task, shape, (0, 3))
    rng = np.random.RandomState(0)
    a, b = jnp.asarray(rng.uniform(-1, 1, (2, *shape)), jnp.float32)
    forward = jax.jit(lambda o, x: o.forward(x))
    mixed, apart = forward(operator, a - 2 * b), forward(operator, a) - 2 * forward(operator, b)
    assert np.allclose(mixed, apart, atol=1e-4) == TASKS[task].linear
    assert (operator.adjoint is not None) == TASKS[task].linear
    assert (operator.transpose is not None) == TASKS[task].linear


@pytest.mark.parametrize("task", DRAWN)
def test_draws_depend_on_the_image_and_only_on_the_seed(task):
    first, again, other, seed = (
        operator_for(task, (64, 64, 3), s) for s in [(1, 0)] * 2 + [(1, 1), 1]
    )
    assert leaves_equal(first, again)
    assert not leaves_equal(first, other) and not leaves_equal(first, seed)
    assert jax.tree.structure(first) == jax.tree.structure(other)


def test_papers_settings_at_256():
    shape = (256, 256, 3)
    rng = np.random.RandomState(42)
    mask = operator_for("box_inpainting", shape, 42).forward.args[0]
    np.testing.assert_array_equal(mask[..., 0], box_mask(rng, shape, 128, 16))
    mask = reference_operator("random_inpainting", shape).forward.args[0]
    np.testing.assert_array_equal(mask[..., 0], random_mask(np.random.RandomState(42), shape))
    motion = reference_operator("motion_deblur", shape)
    assert leaves_equal(motion, blur(shape, reference_motion_kernel(42)))
    row = operator_for("gaussian_deblur", shape, 0).forward.args[0][128]
    np.testing.assert_allclose(row[98:159], gaussian_taps(61, 3.0), atol=1e-8)
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    small = jax.eval_shape(operator_for("super_resolution", shape, 0).forward, x)
    assert small.shape == (64, 64, 3)
    magnitude = jax.eval_shape(operator_for("phase_retrieval", shape, 0).forward, x)
    assert magnitude.shape == (384, 384, 3)


@pytest.mark.parametrize(
    ("side", "box", "size", "std"),
    [(512, 256, 121, 6.0), (256, 128, 61, 3.0), (128, 64, 31, 1.5), (64, 32, 15, 1.5)],
)
def test_settings_scale_with_the_side(side, box, size, std):
    shape = (side, side + 10, 1)
    mask = np.asarray(operator_for("box_inpainting", shape, 3).forward.args[0])
    assert (mask == 0).sum() == box * box
    rows, columns = np.nonzero(mask[..., 0] == 0)
    assert min(rows.min(), columns.min()) >= side // 16
    middle = side // 2
    row = operator_for("gaussian_deblur", shape, 0).forward.args[0][middle]
    near = row[middle - size // 2 : middle + size // 2 + 1]
    np.testing.assert_allclose(near, gaussian_taps(size, std), atol=1e-7)
    default = operator_for("motion_deblur", shape, 0)
    assert leaves_equal(default, operator_for("motion_deblur", shape, 0, kernel_size=size))


def test_options_reach_the_operator():
    shape = (64, 64, 3)
    mask = operator_for("box_inpainting", shape, 0, box=10, margin=25).forward.args[0]
    rows, columns, _ = np.nonzero(np.asarray(mask) == 0)
    assert len(rows) == 100 and min(rows.min(), columns.min()) >= 25
    hidden = {"hidden_low": 0.25, "hidden_high": 0.25}
    mask = operator_for("random_inpainting", shape, 0, **hidden).forward.args[0]
    assert float(mask.mean()) == 0.75
    x = jnp.ones(shape)
    assert operator_for("super_resolution", shape, 0, factor=8).forward(x).shape == (8, 8, 3)
    assert operator_for("phase_retrieval", shape, 0, pad=5).forward(x).shape == (74, 74, 3)
    assert operator_for("phase_retrieval", shape, 0, oversample=1.0).forward(x).shape == (80, 80, 3)
    assert operator_for("block_super_resolution", shape, 0, factor=8).forward(x).shape == (8, 8, 3)
    fast = {"acceleration": 8.0, "centre": 0.0625}
    columns = np.asarray(operator_for("fourier_subsampling", shape, 0, **fast).forward.args[0])[0]
    assert columns.sum() == 8 and columns[30:34].all() and not columns.all()
    exposed = operator_for("hdr", shape, 0, exposure=4.0).forward(0.2 * x)
    chex.assert_trees_all_close(exposed, 0.8 * x, atol=1e-6)
    blurs = ({"kernel_size": size, "std": 2.0} for size in (3, 9))
    sharp, soft = (operator_for("gaussian_deblur", shape, 0, **options) for options in blurs)
    assert not leaves_equal(sharp, soft)
    still, shaky = (operator_for("motion_deblur", shape, 0, intensity=i) for i in (0.1, 0.9))
    assert not leaves_equal(still, shaky)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: operator_for("colorize", (64, 64, 3), 0), ["colorize", "hdr", "motion_deblur"]),
        (lambda: operator_for("hdr", (64, 64, 3), 0, gamma=2), ["gamma", "hdr", "exposure"]),
        (lambda: operator_for("identity", (64, 64, 3), 0, size=2), ["size", "none"]),
        (lambda: operator_for("super_resolution", (30, 30, 3), 0), ["factor 4", "30"]),
        (lambda: operator_for("motion_deblur", (7, 64, 3), 0), ["15", "7"]),
    ],
)
def test_bad_settings_are_named(call, words):
    with pytest.raises(ValueError) as error:
        call()
    for word in words:
        assert word in str(error.value)


def test_nonlinear_deblur_says_what_is_missing():
    words = "GOPRO_wVAE.pth.*checkpoints_convert.*--blur-network DIR"
    with pytest.raises(ValueError, match=words):
        operator_for("nonlinear_deblur", (256, 256, 3), 0)

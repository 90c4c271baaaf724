"""Where compiled programs are kept, and that a run's programs can be kept at all."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from dsg_jax.sample import advance, normal_draws, run, sample
from dsg_jax.schedule import linear_betas
from dsg_jax.solvers.dps import DPSSettings, dps, dps_steps
from dsg_jax.types import Operator, Problem, Projection
from experiments.environment import set_compile_cache
from experiments.restore import batch
from experiments.restore.stacking import PARTS, common_axes, part_length
from support.gaussian_prior import gaussian_prior

VARIABLES = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")


@pytest.fixture
def environment(monkeypatch, tmp_path):
    for name in VARIABLES:
        monkeypatch.setenv(name, "so that the old value comes back")
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_the_default_folder(environment):
    set_compile_cache()
    folder = environment / "dsg_jax" / "xla"
    assert os.environ[VARIABLES[0]] == str(folder) and folder.is_dir()
    assert float(os.environ[VARIABLES[1]]) < 1


@pytest.mark.parametrize("value", ["/somewhere/else", ""])
def test_the_users_folder_stays(environment, monkeypatch, value):
    monkeypatch.setenv(VARIABLES[0], value)
    set_compile_cache()
    assert os.environ[VARIABLES[0]] == value and not list(environment.iterdir())


def test_a_folder_that_cannot_be_made_is_said(environment, capsys):
    (environment / "dsg_jax").write_text("a file")
    set_compile_cache()
    assert VARIABLES[0] not in os.environ
    assert "compiled programs are not kept" in capsys.readouterr().err


def test_parts_of_a_run_are_even():
    for steps in range(1, 300):
        length = part_length(steps)
        assert steps % length == 0 and steps // length <= PARTS
    assert part_length(1000) == 50 and part_length(16) == 1 and part_length(997) == 997


def problem_and_settings():
    identity = Operator(Partial(jnp.asarray))
    settings = DPSSettings(steps=dps_steps(linear_betas(), np.arange(0, 60, 10)))
    return Problem(identity, jnp.full((8, 8, 1), 0.3), 0.1), settings


@pytest.mark.parametrize("projection", [None, Projection(0.9)])
def test_a_run_in_parts_is_the_run(projection):
    """Images, and `Info` of all steps; only the last part has an image."""
    shape, key = (8, 8, 1), jax.random.key(3)
    problem, settings = problem_and_settings()
    solver = dps(gaussian_prior(0.2), problem, projection, settings)
    whole, info = sample(key, solver, shape)
    state, found = jnp.zeros(shape), []
    for start in range(0, 6, 2):
        state, image, part = advance(key, solver, shape, state, jnp.int32(start), 2)
        found.append(part)
        assert bool(jnp.all(image == 0)) == (start < 4)
    np.testing.assert_allclose(image, whole, atol=1e-6)
    joined = jax.tree.map(lambda *each: np.concatenate(each), *found)
    np.testing.assert_allclose(joined.misfit, info.misfit, rtol=1e-5)
    assert joined.rank.shape == info.rank.shape


def test_the_programs_of_restore_have_no_host_callback():
    """jax keeps no program with one."""
    problem, settings = problem_and_settings()
    keys = jax.random.split(jax.random.key(0), 2)
    axes = common_axes([problem, problem])
    program = batch.Program("dps", settings, None, gaussian_prior(), axes, (8, 8, 1))
    forms = batch.state_forms(program, problem, 2, None)
    traced = batch.restore_part.trace(keys, problem, program, forms, jnp.int32(0))
    assert "callback" not in traced.lower().as_text()
    watched = dps(gaussian_prior(), problem, None, settings)
    shown = lambda x: run(normal_draws(keys[0]), watched, x, progress=print)[0]
    assert "callback" in jax.jit(shown).lower(jnp.zeros((8, 8, 1))).as_text()

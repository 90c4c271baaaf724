"""What solvers are told: options from the source, settings as pytrees, tables; a new solver."""

import inspect
import sys
from dataclasses import fields, replace
from types import ModuleType
from typing import Literal, Union, get_args, get_origin, get_type_hints

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.operators.linear import inpainting
from dsg_jax.operators.tasks import TASKS
from dsg_jax.sample import sample
from dsg_jax.schedule import respaced_times, scaled_linear_betas
from dsg_jax.solvers import SOLVERS, SolverEntry, settings_for
from dsg_jax.solvers.admm import ADMM
from dsg_jax.solvers.daps import DAPS_HMC, DAPS_LANGEVIN, DAPS_LANGEVIN_MAIN
from dsg_jax.solvers.diffpir import DIFFPIR_PRIOR_WEIGHT
from dsg_jax.solvers.dps import DPS_SCALE
from dsg_jax.solvers.fast_dips import FAST_DIPS
from dsg_jax.solvers.guidance import published
from dsg_jax.solvers.latent_daps import LATENT_DAPS_GROUPS
from dsg_jax.solvers.latent_dps import LATENT_DPS_ZETA
from dsg_jax.solvers.latent_fast_dips import LATENT_FAST_DIPS
from dsg_jax.solvers.pnpdm import PNPDM_LR, PNPDM_RHO_MIN
from dsg_jax.solvers.psld import PSLD_GROUPS, PSLD_LDM
from dsg_jax.solvers.sitcom import SITCOM_PIXEL_STEP
from dsg_jax.solvers.spgd import SPGD_LR
from dsg_jax.types import Problem, Projection
from support.gaussian_prior import gaussian_prior
from support.linear_stage import linear_prior
from support.own_page import EXAMPLES

BETAS = scaled_linear_betas()
TABLES = [DPS_SCALE, SPGD_LR, DAPS_LANGEVIN, DAPS_LANGEVIN_MAIN, DAPS_HMC, LATENT_DPS_ZETA]
TABLES += [DIFFPIR_PRIOR_WEIGHT, SITCOM_PIXEL_STEP, PNPDM_LR, PNPDM_RHO_MIN]
TABLES += [FAST_DIPS, LATENT_FAST_DIPS]
TABLES += [*PSLD_GROUPS.values(), *LATENT_DAPS_GROUPS.values()]


@pytest.mark.parametrize("entry", [*SOLVERS.values(), *TASKS.values()], ids=lambda one: one.name)
def test_options_are_the_keyword_arguments(entry):
    function = entry.module.settings_for if isinstance(entry, SolverEntry) else entry.build
    parameters = inspect.signature(function).parameters.values()
    keywords = {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}
    assert list(entry.options) == list(keywords)
    assert len(parameters) == 2 + len(keywords)
    for name, default in keywords.items():
        option = entry.options[name]
        choices = get_args(option.type)
        assert option.text and (choices or isinstance(option.type, type))
        assert default is None or (default in choices if choices else type(default) is option.type)


def published_settings():
    cases = [pytest.param(e.settings_for("hdr", BETAS), id=e.name) for e in SOLVERS.values()]
    return [*cases, pytest.param(Projection(), id="projection")]


@pytest.mark.parametrize("settings", published_settings())
def test_numbers_are_leaves_and_choices_are_static(settings):
    leaves, structure = jax.tree.flatten(settings)
    assert all(isinstance(leaf, np.ndarray | np.generic | float | int) for leaf in leaves)
    again = jax.tree.unflatten(structure, leaves)
    chex.assert_trees_all_equal(again, settings)
    forms = jax.eval_shape(lambda settings: settings, settings)  # tau 0.99 would be no rank
    static = [field.name for field in fields(settings) if field.metadata.get("static")]
    for name, hint in get_type_hints(type(settings)).items():
        hint = get_args(hint)[0] if get_origin(hint) is Union else hint  # or a function
        assert (name in static) == (get_origin(hint) is Literal or hint in (int, bool)), name
        if name in static:
            values = get_args(hint) or (True, 2)
            others = [replace(forms, **{name: value}) for value in values]
            assert len({jax.tree.structure(other) for other in others}) == len(values)


@pytest.mark.parametrize("settings", published_settings())
def test_jax_may_put_anything_in_the_place_of_numbers(settings):
    leaves, structure = jax.tree.flatten(settings)
    for stand_in in (object(), None, "a leaf", jnp.float32(-1)):
        assert type(jax.tree.map(lambda _, leaf=stand_in: leaf, settings)) is type(settings)
    shapes = jax.eval_shape(lambda settings: settings, settings)
    assert jax.tree.structure(shapes) == structure
    assert [s.shape for s in jax.tree.leaves(shapes)] == [np.shape(leaf) for leaf in leaves]

    def rebuilt(settings):
        return jax.tree.leaves(jax.tree.map(lambda leaf: 3 * leaf, settings))[-1]

    *others, last = map(jnp.asarray, leaves)
    one = lambda leaf: rebuilt(jax.tree.unflatten(structure, [*others, leaf]))
    whole = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), settings)
    for batch in (jax.vmap(one)(jnp.stack([last, 2 * last])), jax.vmap(rebuilt)(whole)):
        np.testing.assert_allclose(batch, [3 * last, 6 * last], rtol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_task_has_settings_and_an_unknown_one_the_default(solver):
    entry = SOLVERS[solver]
    of = {task: settings_for(solver, task, BETAS) for task in [*TASKS, "fog", "default"]}
    assert {type(settings) for settings in of.values()} == {entry.settings_type}
    chex.assert_trees_all_equal(of["fog"], of["default"])
    prior = linear_prior()
    by_betas = settings_for(solver, "hdr", np.asarray(prior.betas))
    chex.assert_trees_all_equal(settings_for(solver, "hdr", prior), by_betas)


@pytest.mark.parametrize("solver", ["daps", "latent-daps"])
def test_the_inner_step_grows_with_the_likelihood_s_width(solver):
    """A step times the curvature of what is descended stays what the reference's is."""
    published, wide = (settings_for(solver, "hdr", BETAS, tau_y=t) for t in (0.01, 0.05))
    sigma = np.asarray(published.steps.sigma, np.float64)
    at = [s.steps.lr * (1 / s.tau_y**2 + 1 / sigma**2) for s in (published, wide)]
    np.testing.assert_allclose(*at, rtol=1e-5)
    np.testing.assert_array_equal(settings_for(solver, "hdr", BETAS).steps.lr, published.steps.lr)


def test_tables_state_their_default():
    for table in TABLES:
        assert table.keys() - TASKS.keys() == {"default"}
        assert published(table, "fog") == table["default"]
    for task in (name for name, task in TASKS.items() if task.linear):
        assert published(LATENT_DPS_ZETA, task) == published(PSLD_LDM, task).omega


@pytest.mark.parametrize(
    "solver, task, options, expected",
    [
        ("dps", "phase_retrieval", {}, {"scale": 1.0}),
        ("dps", "hdr", {"step_factor": 2.0}, {"scale": 0.6}),
        ("daps", "nonlinear_deblur", {"variant": "main"}, {"inner_steps": 200, "tau_y": 0.01}),
        ("daps", "hdr", {"inner": "hmc"}, {"inner_steps": 100, "momentum": 0.23}),
        ("daps", "fog", {"inner_steps": 3, "tau_y": 0.2}, {"inner_steps": 3, "tau_y": 0.2}),
        ("psld", "super_resolution", {}, {"gamma": 0.1, "omega": 0.9}),
        ("psld", "box_inpainting", {"group": "sd"}, {"gamma": 0.01, "omega": 0.1}),
        ("psld", "fog", {"gamma": 1.0, "step_factor": 8.0}, {"gamma": 8.0, "omega": 0.8}),
        ("latent-dps", "phase_retrieval", {}, {"zeta": 0.3}),
        ("latent-daps", "motion_deblur", {}, {"inner_steps": 49, "momentum": 0.45}),
        ("latent-daps", "fog", {"group": "sd"}, {"inner_steps": 30, "momentum": 0.45}),
        (
            "fast-dips", "hdr", {"epsilon": 1.0},
            {"loop": ADMM(rho=5.0, epsilon=1.0, passes=2, corrections=5, line_search="difference")},
        ),
        (
            "latent-fast-dips", "hdr", {"rho": 9.0},
            {"sigma_switch": 5.0, "pixel": ADMM(rho=9.0, passes=10, corrections=3)},
        ),
        ("flowdps", "fog", {"inner_steps": 2}, {"step_size": 15.0, "inner_steps": 2}),
        ("flowchef", "fog", {"step_size": 0.5}, {"step_size": 0.5}),
        ("sitcom", "box_inpainting", {}, {"pixel_step": 0.5, "noise_level": None}),
        ("diffpir", "super_resolution", {}, {"prior_weight": 0.02, "xi": 1.0}),
        ("sitcom", "box_inpainting", {"script": "noise_free"}, {"pixel_step": 0.0}),
        ("spgd", "fog", {"inner_steps": 2}, {"inner_steps": 2}),
    ],
)  # fmt: skip
def test_published_values_and_options(solver, task, options, expected):
    settings = settings_for(solver, task, BETAS, **options)
    assert {name: getattr(settings, name) for name in expected} == expected


def test_schedules():
    assert settings_for("psld", "hdr", BETAS).steps.time[[0, -1]].tolist() == [1000, 1]
    assert len(settings_for("latent-dps", "hdr", BETAS, steps=50).steps.time) == 50
    assert settings_for("dps", "hdr", BETAS, steps=4).steps.time.tolist() == [999, 666, 333, 0]
    two = settings_for("dps", "hdr", BETAS, respacing="2,3").steps.time.tolist()
    assert two == [999, 750, 500, 499, 0]
    steps = settings_for("latent-daps", "hdr", BETAS).steps
    assert steps.ode_sigma.shape == (50, 2) and steps.sigma[0] == 10
    assert steps.lr[0] == np.float32(4.52e-6)
    assert settings_for("daps", "hdr", BETAS).steps.ode_sigma.shape == (200, 5)
    rate = settings_for("spgd", "super_resolution", BETAS, step_factor=0.5).steps.rate
    assert len(rate) == 100 and rate[0] == 3.5


@pytest.mark.parametrize(
    "respacing, total, times",
    [
        ("ddim25", 1000, range(0, 1000, 40)),
        ("ddim334", 1000, range(0, 1000, 3)),
        ("1000", 1000, range(1000)),
        ("10", 100, range(0, 100, 11)),
        ("10,16,20", 300, [*range(0, 100, 11), *(100 + np.round(np.arange(16) * 6.6)),
                           *(200 + np.round(np.arange(20) * 99 / 19))]),
        # 99 / 14 added up seven times is a little less than 49.5
        ("15", 100, [0, 7, 14, 21, 28, 35, 42, 49, 57, 64, 71, 78, 85, 92, 99]),
        ("1,1", 5, [0, 3]),  # the first section has the odd time
        ("3", 6, [0, 2, 5]),  # 2.5 is rounded to the even 2, as Python does
    ],
)  # fmt: skip
def test_respacing_as_the_reference_writes_it(respacing, total, times):
    assert respaced_times(respacing, total).tolist() == list(times)


def test_presets_of_resample():
    entry = SOLVERS["resample"]
    common = {"dps_step": "no_jacobian", "tweedie": "code", "index_fix": False}
    common |= {"project_final": True, "project_update": False}
    for preset, rule, period, project_pixel, state in (
        ("official", "official", 1, True, "post_travel"),
        ("paper", "official", 5, False, "post_travel"),
        ("plorg", "per_channel", 5, False, "pre_travel"),
    ):
        defaults = entry.projection_defaults(preset=preset, steps=20)
        assert defaults == {"rule": rule, "period": period}
        settings = settings_for("resample", "hdr", BETAS, preset=preset)
        expected = common | {"project_pixel": project_pixel, "state": state}
        assert {name: getattr(settings, name) for name in expected} == expected
    assert entry.projection_defaults() == entry.projection_defaults(preset="paper")
    with pytest.raises(ValueError, match="preset='dsg': choose from official, paper, plorg"):
        entry.projection_defaults(preset="dsg")


def test_optimisations_of_resample():
    options = {"latent_limit": 9, "step_factor": 2.0, "project": "update"}
    settings = settings_for("resample", "hdr", BETAS, **options)
    assert (settings.steps.stage > 0).sum() == 33 and settings.project_update
    assert settings.pixel == (2e-2, 2000, False, 1e-3)
    assert settings.latent == (1e-2, 9, True, 1e-3)
    assert settings_for("resample", "hdr", BETAS).latent == (5e-3, 500, True, 1e-3)
    for wrong, words in (
        ({"project": "noise"}, "project='noise': choose from gradient, update"),
        ({"steps": 12}, "12 steps"),
    ):
        with pytest.raises(ValueError, match=words):
            settings_for("resample", "hdr", BETAS, **wrong)


def test_a_new_solver_is_a_module_and_an_entry(monkeypatch):
    module = ModuleType("dsg_jax.solvers.pnp")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(EXAMPLES["pnp.py"], module.__dict__)
    entry = SolverEntry("pnp", "Plug and play", "pixel", operator="linear")

    settings = entry.settings_for("inpainting", BETAS, steps=20)
    assert entry.settings_type is module.Settings and type(settings) is module.Settings
    assert entry.projection_defaults() == {"rule": "official", "period": 1}
    mask = np.eye(8)
    problem = Problem(inpainting(mask), jnp.asarray(mask[..., None], jnp.float32), 0.0)
    solver = entry.solve(gaussian_prior(), problem, None, settings)
    image, info = sample(jax.random.key(0), solver, (8, 8, 1))
    np.testing.assert_allclose(mask[..., None] * image, problem.y, atol=1e-5)
    assert info.finite.all() and info.misfit.shape == (20,)

"""From arguments to a solver with its settings: one function per solver, and what each may be told.

Every function takes a task, the prior's betas and the options given for it, and returns the
solver's arrays (among them ``steps``) and its static keyword arguments. What is not given stays as
the reference has it.
"""

import json
from argparse import Namespace
from collections.abc import Callable

import jax
import numpy as np

from dsg_jax.latent_settings import (
    latent_daps_settings,
    latent_dps_settings,
    psld_settings,
    resample_settings,
)
from dsg_jax.settings import DAPS_TAU_Y, DPS_SCALE, daps_settings
from dsg_jax.solvers.dps import dps_steps
from dsg_jax.solvers.resample import PRESETS, resample_preset
from dsg_jax.types import Prior
from experiments.restore.batch import Method

Settings = tuple[dict, dict]

OPTIONS = {
    "dps": ("steps", "scale", "step_factor"),
    "daps": ("variant", "inner", "levels", "ode_steps", "inner_steps", "tau_y"),
    "psld": ("steps", "eta", "gamma", "omega", "step_factor", "glue", "group"),
    "resample": ("steps", "preset", "step_factor", "project", "pixel_limit", "latent_limit"),
    "latent-dps": ("steps", "eta", "zeta", "step_factor"),
    "latent-daps": ("levels", "ode_steps", "inner", "inner_steps", "tau_y", "time_map", "group"),
}
"""Solver -> arguments that it takes beside the common ones; None leaves one as the reference's."""

LATENT_SOLVERS = ("psld", "resample", "latent-dps", "latent-daps")


def dps_method(
    task: str, betas: np.ndarray, *, steps=None, scale=None, step_factor=1.0
) -> Settings:
    """DPS on evenly spaced times of the schedule."""
    count = len(betas) if steps is None else steps
    if count > len(betas):
        raise ValueError(f"--steps {count}: the prior has {len(betas)} diffusion times, no more")
    times = np.round(np.linspace(0, len(betas) - 1, count)).astype(int)
    scale = step_factor * (DPS_SCALE[task] if scale is None else scale)
    return {"steps": dps_steps(betas, times), "scale": scale}, {}


def daps_method(task: str, betas: np.ndarray, *, tau_y=DAPS_TAU_Y, **given) -> Settings:
    """DAPS; its noise levels do not depend on the schedule."""
    levels, keywords = daps_settings(task, **given)
    momentum = {"momentum": keywords.pop("momentum")} if "momentum" in keywords else {}
    return {"steps": levels, "tau_y": tau_y} | momentum, keywords


def psld_method(
    task: str,
    betas: np.ndarray,
    *,
    steps=1000,
    gamma=None,
    omega=None,
    step_factor=1.0,
    glue="transpose",
    **given,
) -> Settings:
    """PSLD; the factor multiplies both weights, which are its step sizes."""
    times, weights = psld_settings(task, betas, count=steps, **given)
    gamma = weights["gamma"] if gamma is None else gamma
    omega = weights["omega"] if omega is None else omega
    traced = {"steps": times, "gamma": step_factor * gamma, "omega": step_factor * omega}
    return traced, {"glue": glue}


def latent_dps_method(
    task: str, betas: np.ndarray, *, steps=1000, zeta=None, step_factor=1.0, **given
) -> Settings:
    """Latent DPS."""
    times, keywords = latent_dps_settings(task, betas, count=steps, **given)
    zeta = keywords["zeta"] if zeta is None else zeta
    return {"steps": times, "zeta": step_factor * zeta}, {}


def latent_daps_method(
    task: str, betas: np.ndarray, *, tau_y=None, time_map="table", inner="hmc", **given
) -> Settings:
    """LatentDAPS."""
    levels, keywords = latent_daps_settings(task, **given)
    tau_y = keywords["tau_y"] if tau_y is None else tau_y
    traced = {"steps": levels, "tau_y": tau_y, "momentum": keywords["momentum"]}
    static = {"inner": inner, "inner_steps": keywords["inner_steps"], "time_map": time_map}
    return traced, static


def resample_method(
    task: str,
    betas: np.ndarray,
    *,
    steps=500,
    preset="paper",
    step_factor=1.0,
    project="gradient",
    **given,
) -> Settings:
    """ReSample with the options of a preset; its constants are the same for all tasks.

    The factor multiplies the learning rates of both optimisations.
    """
    _, options = resample_preset(preset)
    options |= {"project_update": True} if project == "update" else {}
    times, descents = resample_settings(task, betas, count=steps, **given)
    faster = {name: d._replace(lr=step_factor * d.lr) for name, d in descents.items()}
    return {"steps": times} | faster, options


METHODS: dict[str, Callable[..., Settings]] = {
    "dps": dps_method,
    "daps": daps_method,
    "psld": psld_method,
    "resample": resample_method,
    "latent-dps": latent_dps_method,
    "latent-daps": latent_daps_method,
}


def chosen_method(arguments: Namespace, task: str, prior: Prior) -> tuple[Method, dict]:
    """The solver with its arrays and static settings; and the settings as JSON values."""
    solver = arguments.solver
    check_prior(solver, prior)
    given = {n: v for n in OPTIONS[solver] if (v := getattr(arguments, n)) is not None}
    traced, static = METHODS[solver](task, np.asarray(prior.betas, np.float64), **given)
    numbers = {name: value for name, value in traced.items() if name != "steps"}
    shapes = [list(np.shape(leaf)) for leaf in jax.tree.leaves(traced["steps"])]
    described = json.dumps(numbers | static | {"steps": max(shapes, key=len)})
    return Method(solver, traced, tuple(static.items())), json.loads(described)


def default_prior(solver: str) -> str:
    """The bundled prior that fits a solver."""
    return "emoji-64-ldm" if solver in LATENT_SOLVERS else "emoji"


def check_prior(solver: str, prior: Prior) -> None:
    """Raise ValueError where a solver and a prior do not fit."""
    latent = solver in LATENT_SOLVERS
    if latent and prior.first_stage is None:
        raise ValueError(f"{solver} works on latents and this prior on pixels: use dps or daps")
    if not latent and prior.first_stage is not None:
        others = ", ".join(LATENT_SOLVERS)
        raise ValueError(f"{solver} works on pixels and this prior on latents: use {others}")


def state_shape(prior: Prior, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Of the solver's state for an image (h, w, c): the image itself or its latent."""
    if prior.first_stage is None:
        return shape
    image = jax.ShapeDtypeStruct(shape, np.float32)
    h, w, c = jax.eval_shape(lambda stage, x: stage.encode(x, None), prior.first_stage, image).shape
    return h, w, c


def projection_defaults(arguments: Namespace) -> tuple[str, int]:
    """Rank rule and period where none is given: ReSample's preset has its own."""
    if arguments.solver != "resample":
        return "official", 1
    preset = PRESETS[arguments.preset or "paper"]
    return preset["rule"], preset["period"]

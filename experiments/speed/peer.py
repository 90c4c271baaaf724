"""DPS of the package `diffuse-jax` beside ours: the same network, operator, batch and step count.

Neither this project nor its extras install the package; without it the table is left out. Version
0.1.0 has DPS and no DAPS.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dsg_jax.operators.linear import super_resolution
from dsg_jax.sample import sample
from dsg_jax.solvers.dps import dps, dps_steps
from dsg_jax.types import Prior, Problem
from experiments.speed.pieces import measured

STEPS = 20


def peer_version() -> str | None:
    """Of the installed package, None without it."""
    try:
        return version("diffuse-jax")
    except PackageNotFoundError:
        return None


def ours(key: Array, prior: Prior, problem: Problem, batch: int, shape: tuple) -> Array:
    """DPS, ``STEPS`` steps of 50 times each."""
    solver = dps(prior, problem, steps=dps_steps(times=np.arange(0, 50 * STEPS, 50)), scale=0.3)
    keys = jax.random.split(key, batch)
    return jax.vmap(lambda key: sample(key, solver, shape)[0])(keys)


def theirs(key: Array, prior: Prior, problem: Problem, batch: int, shape: tuple) -> Array:
    """The same with the peer's solver; its times run from 1 to 0, ours from 999 to 0."""
    from diffuse.base_forward_model import MeasurementState
    from diffuse.denoisers.cond.dps import DPSDenoiser
    from diffuse.diffusion.sde import SDE, LinearSchedule
    from diffuse.integrator.deterministic import DDIMIntegrator
    from diffuse.predictor import Predictor
    from diffuse.timer import VpTimer

    class Camera:
        std = 0.05

        def apply(self, x: Array, state: Any) -> Array:
            return problem.operator.forward(x)

    model = SDE(beta=LinearSchedule(b_min=0.1, b_max=20.0, t0=0.0, T=1.0))
    timer = VpTimer(n_steps=STEPS, eps=1e-3, tf=1.0)
    noise = lambda x, t: prior.network(x, 999 * t)[..., : shape[-1]]
    solver = DPSDenoiser(
        integrator=DDIMIntegrator(model=model, timer=timer),
        model=model,
        predictor=Predictor(model, noise, "noise"),
        forward_model=Camera(),
        x0_shape=shape,
        zeta=0.3,
    )
    measurement = MeasurementState(y=problem.y, mask_history=jnp.zeros(()))
    state, _ = solver.generate(key, measurement, STEPS, batch)
    return state.integrator_state.position


def peer_rows(prior: Prior, size: int, batch: int) -> list[dict]:
    """Milliseconds of a step of all samples, and the work that the program asks for."""
    found_version = peer_version()
    if found_version is None:
        return []
    shape = (size, size, 3)
    operator = super_resolution(shape, 4)
    problem = Problem(operator, operator.forward(jnp.zeros(shape)), 0.05)
    calls = {}
    for name, solver in (("dsg_jax", ours), (f"diffuse-jax {found_version}", theirs)):
        whole = lambda key, prior, problem, f=solver: f(key, prior, problem, batch, shape)
        calls[name] = (whole, jax.random.key(0), prior, problem)
    return [
        {
            "package": name,
            "batch": batch,
            "milliseconds_per_step": each.milliseconds / STEPS,
            "gflop_of_a_step": each.flops / 1e9,
            "planned_bytes": each.planned_bytes,
        }
        for name, each in measured(calls).items()
    ]

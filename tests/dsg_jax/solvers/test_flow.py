"""FlowDPS and FlowChef against whole trajectories of the reference code."""

import jax.numpy as jnp
import pytest
from jax.tree_util import Partial

from dsg_jax.clock import flow_clock
from dsg_jax.solvers.flow import flow_steps
from dsg_jax.solvers.flowchef import FlowChefSettings, flowchef
from dsg_jax.solvers.flowdps import FlowDPSSettings, flowdps
from support.golden_case import (
    GOLDEN,
    assert_close,
    check_trajectory,
    load,
    problem_of,
    projection_of,
    read_arrays,
    replay,
    tiny_eps,
    tiny_latent_prior,
)


def flow_prior():
    stored = read_arrays(GOLDEN / "trajectories_new" / "flow_velocity.pt")
    weights = {name: jnp.asarray(value, jnp.float32) for name, value in stored.items()}
    return tiny_latent_prior()._replace(network=Partial(tiny_eps, weights), clock=flow_clock())


@pytest.mark.parametrize(
    "case",
    [
        "flowdps_sr4",
        "flowdps_inpaint",
        "flowdps_dsg_sr4_per_channel",
        "flowdps_dsg_sr4_official_flat",
        "flowchef_sr4",
        "flowchef_dsg_sr4_per_channel",
    ],
)
def test_flow_trajectory(case):
    manifest, arrays = load(f"trajectories_new/{case}")
    config, prior = manifest["config"], flow_prior()
    steps = flow_steps(config["NFE"], config["shift"])
    assert_close("timesteps", 1000 * steps.s, arrays["timesteps"], manifest)
    problem, projection = problem_of(manifest, arrays, (32, 32, 3)), projection_of(manifest)
    common = {"steps": steps, "step_size": config["step_size"]}
    if config["solver"] == "flowdps":
        settings = FlowDPSSettings(**common, inner_steps=config["inner_steps"])
        solver = flowdps(prior, problem, projection, settings)
    else:
        solver = flowchef(prior, problem, projection, FlowChefSettings(**common))
    last, states, info = replay(solver, arrays)
    check_trajectory(manifest, arrays, last, states, info)

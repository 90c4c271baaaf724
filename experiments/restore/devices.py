"""The devices of a run, as its arguments choose them."""

from argparse import Namespace
from typing import TYPE_CHECKING

from dsg_jax.mesh import data_mesh, parameter_placement, place_parameters
from dsg_jax.priors.folder import Placement
from dsg_jax.types import Prior

if TYPE_CHECKING:
    from experiments.restore.plan import Plan


def device_count(arguments: Namespace) -> int:
    """Devices of this process that a run uses; ValueError where there are not so many."""
    try:
        return data_mesh(arguments.devices).size
    except ValueError as error:
        raise ValueError(f"--devices {arguments.devices}: {error}") from error


def chosen_placement(arguments: Namespace) -> Placement:
    """Where parameters are read to: at once to all devices if these share them."""
    if device_count(arguments) == 1 or arguments.parameters == "replicated":
        return None
    return parameter_placement(data_mesh(arguments.devices), arguments.parameters)


def on_devices(plans: "list[Plan]") -> "list[Plan]":
    """The plans with their priors on all their devices; plans that share a prior still do."""
    placed: dict[tuple, Prior] = {}
    moved = []
    for planned in plans:
        given = planned.arguments
        if device_count(given) > 1:
            place = id(planned.prior), given.devices, given.parameters
            if place not in placed:
                mesh = data_mesh(given.devices)
                placed[place] = place_parameters(planned.prior, mesh, given.parameters)
            planned = planned._replace(prior=placed[place])
        moved.append(planned)
    return moved

"""The devices of a run, as its settings choose them."""

from dsg_jax.mesh import data_mesh, parameter_placement, place_parameters
from dsg_jax.priors.folder import Placement
from dsg_jax.types import Prior
from experiments.settings import Devices


def device_count(devices: Devices) -> int:
    """Devices of this process that a run uses; ValueError where there are not so many."""
    try:
        return data_mesh(devices.devices).size
    except ValueError as error:
        raise ValueError(f"--devices {devices.devices}: {error}") from error


def chosen_placement(devices: Devices) -> Placement:
    """Where parameters are read to: at once to all devices if these share them."""
    if device_count(devices) == 1 or devices.parameters == "replicated":
        return None
    return parameter_placement(data_mesh(devices.devices), devices.parameters)


def on_devices(prior: Prior, devices: Devices) -> Prior:
    """The prior on all devices of a run."""
    if device_count(devices) == 1:
        return prior
    return place_parameters(prior, data_mesh(devices.devices), devices.parameters)

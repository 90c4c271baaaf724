"""The devices and processes of a run, as its settings choose them.

Several processes on several machines are joined by `jax.distributed`: it finds them (SLURM, TPU
pods), gives each its devices, and ends all of them when one has died. Every process restores
batches on its own devices and takes the next one that no other has claimed (`restore.store`), in
one output folder that all machines see; the first writes the tables. A mesh over all machines would
tie every step of every pair to the slowest of them, and to a network, for work whose parts have
nothing to say to each other.
"""

import jax

from dsg_jax.mesh import data_mesh, parameter_placement, place_parameters
from dsg_jax.priors.folder import Placement
from dsg_jax.types import Prior
from experiments.settings import Devices

_PATIENCE = 300  # seconds that a process waits for the others at the start


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


def join_processes(devices: Devices) -> None:
    """Start `jax.distributed` if the settings ask for it, before jax is used in any other way.

    When a process dies, the others end within ``--heartbeat`` seconds and a few more, with a
    message of jax's and by an abort.

    Raises:
      ValueError: the processes do not find each other, or no cluster that jax recognises.
    """
    named = devices.coordinator, devices.processes, devices.process
    if not devices.distributed and named == (None, None, None):
        return
    try:
        jax.distributed.initialize(
            *named,
            heartbeat_timeout_seconds=devices.heartbeat,
            initialization_timeout=_PATIENCE,
        )
    except (ValueError, RuntimeError) as error:
        together = "start all of them, with the same --coordinator and --processes"
        alone = "name them by --coordinator, --processes and --process"
        mend = alone if devices.distributed else together
        raise ValueError(f"the processes did not find each other: {error}; {mend}") from error
    here, all_of_them = jax.process_index(), jax.process_count()
    print(
        f"process {here} of {all_of_them}: if another dies, this one ends within about"
        f" {devices.heartbeat} s, and the same command goes on",
        flush=True,
    )

"""Several processes on several machines, joined by `jax.distributed`.

Every process restores batches on its own devices and takes the next one that no other has claimed
(`restore.store`), in one output folder that all machines see; the first writes the tables. A
mesh over all machines would tie every step of every pair to the slowest of them, and to a network,
for work whose parts have nothing to say to each other.

`jax.distributed` is what finds the processes (SLURM, TPU pods), gives each its devices, and ends
all of them when one has died. Nobody waits for results that do not come.
"""

import jax

from experiments.settings import Devices

PATIENCE = 300
"""Seconds that a process waits for the others at the start."""


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
            initialization_timeout=PATIENCE,
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


def is_first() -> bool:
    """Whether this process writes what there is one of."""
    return jax.process_index() == 0

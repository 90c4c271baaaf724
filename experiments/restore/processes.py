"""Several processes on several machines, joined by `jax.distributed`.

Every process restores batches on its own devices and takes the next one that no other has claimed
(`restore.locks`), in one output folder that all machines see; the first writes the tables. A
mesh over all machines would tie every step of every pair to the slowest of them, and to a network,
for work whose parts have nothing to say to each other.

`jax.distributed` is what finds the processes (SLURM, TPU pods), gives each its devices, and ends
all of them when one has died. Nobody waits for results that do not come.
"""

from argparse import Namespace

import jax
import orbax.checkpoint as ocp

PATIENCE = 300
"""Seconds that a process waits for the others at the start."""


def join_processes(arguments: Namespace) -> None:
    """Start `jax.distributed` if the arguments ask for it, before jax is used in any other way.

    When a process dies, the others end within ``--heartbeat`` seconds and a few more, with a
    message of jax's and by an abort.

    Raises:
      ValueError: numbers that do not go together, or no cluster that jax recognises.
    """
    given = arguments.coordinator, arguments.processes, arguments.process
    if not arguments.distributed and given == (None, None, None):
        return
    check_processes(arguments)
    try:
        jax.distributed.initialize(
            *given,
            heartbeat_timeout_seconds=arguments.heartbeat,
            initialization_timeout=PATIENCE,
        )
    except (ValueError, RuntimeError) as error:
        named = "start all of them, with the same --coordinator and --processes"
        alone = "name them by --coordinator, --processes and --process"
        mend = alone if arguments.distributed else named
        raise ValueError(f"the processes did not find each other: {error}; {mend}") from error
    here, all_of_them = jax.process_index(), jax.process_count()
    print(
        f"process {here} of {all_of_them}: if another dies, this one ends within about"
        f" {arguments.heartbeat} s, and the same command goes on",
        flush=True,
    )


def check_processes(arguments: Namespace) -> None:
    """Raise ValueError where the arguments that name the processes do not fit."""
    if arguments.heartbeat < 1:
        raise ValueError(f"--heartbeat {arguments.heartbeat}: give a whole number of seconds >= 1")
    if arguments.distributed:
        return
    count, number = arguments.processes, arguments.process
    if None in (arguments.coordinator, count, number):
        raise ValueError("give --coordinator, --processes and --process, or --distributed alone")
    host, _, port = arguments.coordinator.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"--coordinator {arguments.coordinator}: give HOST:PORT of process 0")
    if not 0 <= number < count:
        raise ValueError(f"--process {number} --processes {count}: count the processes from 0")


def is_first() -> bool:
    """Whether this process writes what there is one of."""
    return jax.process_index() == 0


def on_its_own() -> ocp.options.MultiprocessingOptions:
    """Lets Orbax read and write in this process without waiting for the others."""
    me = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
    )

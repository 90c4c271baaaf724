"""Several processes on several machines, joined by `jax.distributed`.

Every process restores its own share of the pairs on its own devices and appends to the one log of
the output folder, which all machines see; nothing is exchanged meanwhile. The first process then
waits for the others and writes tables and pictures. A mesh over all machines would tie every step
of every pair to the slowest of them, and to a network, for a task whose parts have nothing to say
to each other.

`jax.distributed` tells who is who, holds the barrier, and ends all processes when one has died.
"""

from argparse import Namespace
from collections.abc import Sequence

import jax
import orbax.checkpoint as ocp

HEARTBEAT = 20
"""Seconds without a sign of life after which a process counts as dead."""
_FOREVER = 10 * 24 * 3600  # seconds that a process may be done before the last one


def join_processes(arguments: Namespace) -> None:
    """Start `jax.distributed` if the arguments ask for it; before anything else uses jax.

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
            local_device_ids=None,
            heartbeat_timeout_seconds=HEARTBEAT,
            initialization_timeout=arguments.patience,
        )
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"the processes did not find each other: {error}") from error


def check_processes(arguments: Namespace) -> None:
    """Raise ValueError where ``--coordinator``, ``--processes`` and ``--process`` do not fit."""
    count, number = arguments.processes, arguments.process
    if arguments.distributed:
        return
    if None in (arguments.coordinator, count, number):
        raise ValueError("give --coordinator, --processes and --process, or --distributed alone")
    host, _, port = arguments.coordinator.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"--coordinator {arguments.coordinator}: give HOST:PORT of process 0")
    if not 0 <= number < count:
        raise ValueError(f"--process {number}: give 0 to {count - 1} with --processes {count}")


def own_share(items: Sequence) -> Sequence:
    """Every n-th item, for this process; a process that is alone has all of them."""
    return items[jax.process_index() :: jax.process_count()]


def is_first() -> bool:
    """Whether this process writes what there is one of."""
    return jax.process_index() == 0


def wait_for_all(place: str) -> None:
    """Return when all processes have come to a place of this name."""
    everyone = set(range(jax.process_count()))
    ocp.multihost.sync_global_processes(place, timeout=_FOREVER, processes=everyone)


def on_its_own() -> ocp.options.MultiprocessingOptions:
    """Lets Orbax read and write in this process without waiting for the others."""
    me = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
    )

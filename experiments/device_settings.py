"""Arithmetic, devices, processes and unfinished runs, as values; a part of what `restore` takes."""

from dataclasses import dataclass
from typing import Literal

from dsg_jax.checks import COUNT, POSITIVE, UPDATES
from experiments.checks import check_numbers


@dataclass(frozen=True)
class Arithmetic:
    """How it is computed.

    Attributes:
      dtype: of the prior's convolutions and attention; norms, softmax and outputs stay float32
      matmul_precision: of every float32 product on a GPU or TPU, as jax names it: highest is
        float32, default (jax's) TF32 or bfloat16; the projection is float32 always
    """

    dtype: Literal["float32", "bfloat16"] = "float32"
    matmul_precision: Literal["default", "high", "highest"] = "default"

    @property
    def facts(self) -> dict[str, str]:
        """What differs from the defaults: runs that it decides, and no others, are named by it."""
        return {name: v for name, v in vars(self).items() if v != getattr(Arithmetic, name)}


@dataclass(frozen=True)
class Devices:
    """Where it is computed, and runs of hours.

    Attributes:
      devices: the first N of this process (default: all)
      distributed: one of several processes that share --out: of a SLURM job or a TPU pod, found by
        jax
      coordinator: one of several processes elsewhere: where process 0 listens, HOST:PORT
      processes: how many there are
      process: which of them this is, from 0
      heartbeat: seconds until a silent process counts as dead
      save_every: save unfinished batches every N steps, so that a killed run goes on from there
      save_minutes: the same every M minutes
      parameters: replicated: a copy on every device; sharded: split over them, for large priors
    """

    devices: int | None = None
    distributed: bool = False
    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None
    heartbeat: int = 60
    save_every: int | None = None
    save_minutes: float | None = None
    parameters: Literal["replicated", "sharded"] = "replicated"

    def __post_init__(self):
        check_numbers(self, save_every=COUNT, heartbeat=UPDATES, save_minutes=POSITIVE)
        named = self.coordinator, self.processes, self.process
        if self.distributed or named == (None, None, None):
            return
        if self.coordinator is None or self.processes is None or self.process is None:
            raise ValueError(
                "give --coordinator, --processes and --process, or --distributed alone"
            )
        host, _, port = self.coordinator.rpartition(":")
        if not host or not port.isdecimal():
            raise ValueError(f"--coordinator {self.coordinator}: give HOST:PORT of process 0")
        if not 0 <= self.process < self.processes:
            raise ValueError(
                f"--process {self.process} --processes {self.processes}: count the processes from 0"
            )

"""What `export` takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from experiments.settings import (
    Images,
    Measurement,
    Method,
    ProjectionChoice,
    RestoreSettings,
    Run,
)

Platform = Literal["cpu", "cuda", "tpu"]


@dataclass(frozen=True)
class OneMethod(Method):
    """Prior, sampler and projection: one of each."""

    projection: ProjectionChoice = "state"
    """none: the plain solver; state: DiffStateGrad"""


@dataclass(frozen=True)
class File:
    """What the file is for."""

    size: int | None = None
    """side of the images in pixels (default: the prior's)"""
    samples: int = 1
    """posterior samples that a call makes"""
    seed: int = 0
    """decides the mask or kernel, which is an array of the file"""
    platforms: tuple[Platform, ...] = ("cpu", "cuda", "tpu")
    """what it is to run on"""
    out: Path = Path("results/solver.npz")
    """the file to write, a numpy archive"""

    def __post_init__(self):
        if self.out.suffix != ".npz":
            raise ValueError(f"--out {self.out}: the file is a numpy archive, call it .npz")


@dataclass(frozen=True)
class ExportSettings:
    """Everything that `export` takes: one task and one method, as for `restore`."""

    measurement: Measurement = Measurement()
    task_options: Mapping[str, Any] = field(default_factory=dict, metadata={"options": "task"})
    """by name; what is not named is the task's own default"""
    method: OneMethod = OneMethod()
    solver_options: Mapping[str, Any] = field(default_factory=dict, metadata={"options": "solver"})
    """by name; what is not named is the published value for the task"""
    file: File = File()

    def __post_init__(self):
        self.as_restore()

    def as_restore(self) -> RestoreSettings:
        """The same for `restore`, which checks the numbers."""
        return RestoreSettings(
            images=Images(size=self.file.size),
            measurement=self.measurement,
            task_options=self.task_options,
            method=self.method,
            solver_options=self.solver_options,
            run=Run(samples=self.file.samples, seed=(self.file.seed,)),
        )

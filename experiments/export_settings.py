"""What `export` takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from experiments.settings import (
    Arithmetic,
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
    """Prior, sampler and projection: one of each.

    Attributes:
      projection: none: the plain solver; state: DiffStateGrad
    """

    projection: ProjectionChoice = "state"


@dataclass(frozen=True)
class File:
    """What the file is for.

    Attributes:
      size: side of the images in pixels (default: the prior's)
      class_label: for class-conditional priors: the class, which is an array of the file
      samples: posterior samples that a call makes
      seed: decides the mask or kernel, which is an array of the file
      platforms: what it is to run on
      out: the file to write, a numpy archive
    """

    size: int | None = None
    class_label: int | None = None
    samples: int = 1
    seed: int = 0
    platforms: tuple[Platform, ...] = ("cpu", "cuda", "tpu")
    out: Path = Path("results/solver.npz")

    def __post_init__(self):
        if self.out.suffix != ".npz":
            raise ValueError(f"--out {self.out}: the file is a numpy archive, call it .npz")


@dataclass(frozen=True)
class ExportSettings:
    """Everything that `export` takes: one task and one method, as for `restore`.

    Attributes:
      task_options: by name; what is not named is the task's own default
      solver_options: by name; what is not named is the published value for the task
    """

    measurement: Measurement = Measurement()
    task_options: Mapping[str, Any] = field(default_factory=dict, metadata={"options": "task"})
    method: OneMethod = OneMethod()
    solver_options: Mapping[str, Any] = field(default_factory=dict, metadata={"options": "solver"})
    arithmetic: Arithmetic = Arithmetic()
    file: File = File()

    def __post_init__(self):
        self.as_restore()

    def as_restore(self) -> RestoreSettings:
        """The same for `restore`, which checks the numbers; its device is not the file's."""
        label = None if self.file.class_label is None else (str(self.file.class_label),)
        return RestoreSettings(
            images=Images(size=self.file.size, class_label=label),
            measurement=self.measurement,
            task_options=self.task_options,
            method=self.method,
            solver_options=self.solver_options,
            arithmetic=Arithmetic(self.arithmetic.dtype),
            run=Run(samples=self.file.samples, seed=(self.file.seed,)),
        )

"""What `demo` takes."""

from dataclasses import dataclass
from pathlib import Path

from dsg_jax.checks import COUNT
from experiments.checks import check_folder, check_numbers


@dataclass(frozen=True)
class DemoSettings:
    """How many images, how long the runs are, and where to.

    Attributes:
      count: different images, which the tasks take in turn
      levels: annealing levels of DAPS
      out: output folder
    """

    count: int = 3
    levels: int = 16
    out: Path = Path("results/demo")

    def __post_init__(self):
        check_numbers(self, count=COUNT)
        check_folder("out", self.out)

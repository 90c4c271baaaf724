"""What `demo` takes. No jax here, so that ``--help`` is instant."""

from dataclasses import dataclass
from pathlib import Path

from experiments.settings import check_folder, check_whole


@dataclass(frozen=True)
class DemoSettings:
    """How many images, how long the runs are, and where to."""

    count: int = 3
    """images per task"""
    levels: int = 16
    """annealing levels of DAPS"""
    out: Path = Path("results/demo")
    """output folder"""

    def __post_init__(self):
        check_whole(self, 1, "count")
        check_folder("out", self.out)

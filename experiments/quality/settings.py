"""What `quality` takes. No jax here, so that ``--help`` is instant."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from experiments.settings import Images, Measurement, Method, RestoreSettings, Run


@dataclass(frozen=True)
class QualitySettings:
    """Which prior, on how many held-out images, and how long the runs are."""

    prior: str = "emoji"
    """emoji, photo, or the folder of a prior"""
    size: int = 64
    """side of the images in pixels"""
    count: int = 6
    """held-out images"""
    levels: int = 20
    """annealing levels of DAPS"""
    samples: int = 4
    """posterior samples of every image"""
    batch_size: int = 8
    """samples computed at once"""
    seed: int = 0
    """decides masks, kernels, noise and samples"""
    failure_psnr: float = 20.0
    """phase retrieval succeeds from here on, dB"""
    out: Path = Path("results/quality")
    """output folder"""

    def __post_init__(self):
        self.for_restore((), self.samples, "tasks")

    def for_restore(self, tasks: Iterable[str], samples: int, name: str) -> RestoreSettings:
        """What `restore` is to do for some tasks, in the folder ``name`` of this prior's."""
        return RestoreSettings(
            images=Images(size=self.size, count=self.count),
            measurement=Measurement(task=tuple(tasks)),
            method=Method(prior=self.prior),
            solver_options={"levels": self.levels},
            run=Run(
                samples=samples,
                seed=(self.seed,),
                batch_size=self.batch_size,
                failure_psnr=self.failure_psnr,
                out=self.out / self.prior / name,
            ),
        )

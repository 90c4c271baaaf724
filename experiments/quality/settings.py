"""What `quality` takes. No jax here, so that ``--help`` is instant."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dsg_jax.user_code import file_name
from experiments.settings import Images, Measurement, Method, RestoreSettings, Run


@dataclass(frozen=True)
class QualitySettings:
    """Which prior, on how many held-out images, and how long the runs are.

    Attributes:
      prior: emoji, photo, or the folder of a prior
      no_verify: as in restore
      size: side of the images in pixels
      count: held-out images
      levels: annealing levels of DAPS
      samples: posterior samples of every image
      batch_size: samples computed at once
      seed: decides masks, kernels, noise and samples
      failure_psnr: phase retrieval succeeds from here on, dB
      out: output folder
    """

    prior: str = "emoji"
    no_verify: bool = False
    size: int = 64
    count: int = 6
    levels: int = 20
    samples: int = 4
    batch_size: int = 8
    seed: int = 0
    failure_psnr: float = 20.0
    out: Path = Path("results/quality")

    def __post_init__(self):
        self.for_restore((), self.samples, "tasks")

    def for_restore(self, tasks: Iterable[str], samples: int, name: str) -> RestoreSettings:
        """What `restore` is to do for some tasks, in the folder ``name`` of this prior's."""
        return RestoreSettings(
            images=Images(size=self.size, count=self.count),
            measurement=Measurement(task=tuple(tasks)),
            method=Method(prior=self.prior, no_verify=self.no_verify),
            solver_options={"levels": self.levels},
            run=Run(
                samples=samples,
                seed=(self.seed,),
                batch_size=self.batch_size,
                failure_psnr=self.failure_psnr,
                out=self.out / file_name(self.prior) / name,
            ),
        )

"""What `calibrate` takes. No jax here, so that ``--help`` is instant."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dsg_jax.solvers import SOLVERS, SolverEntry
from experiments.settings import check_folder, check_once, check_positive, check_whole
from experiments.statistics import PLAIN

BINS = 5
"""How many bins the rank histograms have."""
TRUE_NOISE = "-sigma"
"""Ending of a sampler's name: the solver's likelihood has the true noise, not its own constant."""


@cache
def samplers() -> dict[str, SolverEntry]:
    """Name of a sampler -> its solver; one on pixels with the option ``tau_y`` has two samplers."""
    return {
        name + ending: entry
        for name, entry in SOLVERS.items()
        for ending in ("", TRUE_NOISE)
        if not ending or (entry.prior == "pixel" and "tau_y" in entry.options)
    }


def levels_of(count: int) -> tuple[float, float, float]:
    """Central intervals that end at samples: 50, 80 and 95 %, the last 90 % for 19, 59, ...

    Raises:
      ValueError: count + 1 is no multiple of 20.
    """
    if count < 1 or (count + 1) % 20:
        raise ValueError(
            f"{count} samples: give 19, 39 or another multiple of 20 less one, so that the central "
            "intervals end at samples; 39 has one of 95 %"
        )
    return 0.5, 0.8, 0.9 if (count + 1) % 40 else 0.95


@dataclass(frozen=True)
class CalibrateSettings:
    """What is sampled, by which samplers, and how long their runs are."""

    setting: tuple[str, ...] = (
        "gaussian:random_inpainting",
        "gaussian:gaussian_deblur",
        "spots:box_inpainting",  # only under the box are both kinds of spots likely
    )
    """PRIOR:TASK, gaussian or spots and a task whose operator is a mask or a separable blur"""
    solver: tuple[str, ...] = tuple(samplers())
    """samplers: solvers, and SOLVER-sigma for those on pixels whose likelihood has a constant"""
    rules: tuple[str, ...] = (PLAIN, "official", "per_channel")
    """none (the plain solver) and rank rules of the projection"""
    tau: float = 0.99
    """share of the squared singular values kept, in (0, 1]"""
    sigma: float = 0.05
    """standard deviation of the noise, images in [-1, 1]"""
    truths: int = 32
    """images drawn from the prior, each measured once"""
    samples: int = 19
    """posterior samples of every truth: 19, 39, ..."""
    steps: int = 100
    """reverse steps, where the published ones are 1000; guidance steps grow as they get fewer"""
    levels: int = 10
    """annealing levels of solvers on pixels, of 200; those on latents have theirs, 50"""
    resample_steps: int = 50
    """reverse steps of solvers that optimise between them, of 500"""
    limit: int = 200
    """most updates of an optimisation of an image or a latent"""
    seed: int = 0
    """decides truths, noise and samples"""
    batch_size: int = 304
    """samples computed at once; speed and memory only"""
    out: Path = Path("results/calibration")
    """output folder"""
    report: Path | None = None
    """folder of the report and its figures (default: --out)"""

    def __post_init__(self):
        for name in ("setting", "solver", "rules"):
            check_once(name, getattr(self, name))
        for name in self.solver:
            if name not in samplers():
                raise ValueError(f"--solver {name}: choose from {', '.join(samplers())}")
        if PLAIN not in self.rules:
            raise ValueError(f"--rules: add {PLAIN}, the plain solver the others are compared to")
        if self.truths < BINS:
            raise ValueError(f"--truths {self.truths}: give at least {BINS}, one per bin of ranks")
        levels_of(self.samples)
        check_whole(self, 0, "seed")
        check_whole(self, 1, "steps", "levels", "resample_steps", "limit", "batch_size")
        check_positive(self, "sigma")
        for name in ("out", "report"):
            check_folder(name, getattr(self, name))

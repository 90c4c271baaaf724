"""What `calibrate` takes. No jax here, so that ``--help`` is instant."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dsg_jax.checks import POSITIVE, UPDATES
from dsg_jax.solvers import SOLVERS, SolverEntry
from experiments.checks import SEED, TOGETHER, check_folder, check_numbers, check_once, flag
from experiments.statistics import PLAIN

# How many bins the rank histograms have.
BINS = 5
# Ending of a sampler's name: the solver's likelihood has the true noise, not its own constant.
TRUE_NOISE = "-sigma"


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
    """What is sampled, by which samplers, and how long their runs are.

    Attributes:
      setting: PRIOR:TASK, gaussian or spots and a task whose operator is a mask or a separable blur
      solver: samplers: solvers, and SOLVER-sigma for those on pixels whose likelihood has a
        constant
      rules: none (the plain solver) and rank rules of the projection
      tau: share of the squared singular values kept, in (0, 1]
      sigma: standard deviation of the noise, images in [-1, 1]
      truths: images drawn from the prior, each measured once
      samples: posterior samples of every truth: 19, 39, ...
      steps: reverse steps, where the published ones are 1000; guidance steps grow as they get fewer
      levels: annealing levels of solvers on pixels, of 200; those on latents have theirs, 50
      resample_steps: reverse steps of solvers that optimise between them, of 500
      limit: most updates of an optimisation of an image or a latent
      seed: decides truths, noise and samples
      batch_size: samples computed at once; speed and memory only
      out: output folder
      report: folder of the report and its figures (default: --out)
    """

    setting: tuple[str, ...] = (
        "gaussian:random_inpainting",
        "gaussian:gaussian_deblur",
        "spots:box_inpainting",  # only under the box are both kinds of spots likely
    )
    solver: tuple[str, ...] = tuple(samplers())
    rules: tuple[str, ...] = (PLAIN, "official", "per_channel")
    tau: float = 0.99
    sigma: float = 0.05
    truths: int = 32
    samples: int = 19
    steps: int = 100
    levels: int = 10
    resample_steps: int = 50
    limit: int = 200
    seed: int = 0
    batch_size: int = 304
    out: Path = Path("results/calibration")
    report: Path | None = None

    def __post_init__(self):
        check_once(self, "setting", "solver", "rules")
        for name in self.solver:
            if name not in samplers():
                raise ValueError(f"--solver {name}: choose from {', '.join(samplers())}")
        if PLAIN not in self.rules:
            raise ValueError(f"--rules: add {PLAIN}, the plain solver the others are compared to")
        if self.truths < BINS:
            raise ValueError(f"--truths {self.truths}: give at least {BINS}, one per bin of ranks")
        levels_of(self.samples)
        check_numbers(self, truths=TOGETHER, samples=TOGETHER)
        check_numbers(self, steps=UPDATES, levels=UPDATES, resample_steps=UPDATES, limit=UPDATES)
        check_numbers(self, batch_size=TOGETHER, sigma=POSITIVE, seed=SEED)
        for name in ("out", "report"):
            check_folder(name, getattr(self, name))
        self.check_effects()

    def check_effects(self) -> None:
        """Raise ValueError for an option that none of the samplers asks for."""
        entries = [samplers()[name] for name in self.solver]
        optimise = [entry for entry in entries if "latent_limit" in entry.options]
        step = [entry for entry in entries if "steps" in entry.options and entry not in optimise]
        anneal = [e for e in entries if e.prior == "pixel" and "levels" in e.options]
        askers: dict[str, Sequence[object]] = {
            "tau": [rule for rule in self.rules if rule != PLAIN],
            "steps": step,
            "levels": anneal,
            "resample_steps": optimise,
            "limit": optimise,
        }
        for name, of in askers.items():
            if not of and getattr(self, name) != getattr(CalibrateSettings, name):
                raise ValueError(
                    f"{flag(name)} changes nothing here, for nothing asks for it: drop it"
                )

"""What `restore` takes, as values: commands build on it by `dataclasses.replace`.

Free of jax, so that ``--help`` is instant. Numbers are checked when a value is built.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dsg_jax.checks import COUNT, NOT_NEGATIVE, POSITIVE, UPDATES, Range
from dsg_jax.solvers import DEFAULT_SOLVER
from experiments.checks import (
    SEED,
    SIDE,
    TOGETHER,
    check_folder,
    check_numbers,
    check_once,
)

ProjectionChoice = Literal["both", "none", "state"]
Source = Literal["state", "gradient", "random"]
Metric = Literal["ssim_skimage7", "lpips_vgg_unscaled", "lpips_piq_avgpool"]
# Metrics of other codes, as further columns.
EXTRA_METRICS = Metric.__args__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Images:
    """Images: the bundled samples, if none are named.

    Attributes:
      images: files or folders to degrade and restore
      measured: degraded images to restore: files, or .npy
      mask: with --measured: inpainting mask, white is known; or .npy
      kernel: with --measured: blur kernel, scaled to sum 1; or .npy
      kernel_is: psf: what a point becomes (convolution); correlation: the weights of neighbours
      fit: crop: central square resized to --size (default); none: images as they are
      size: side of the images in pixels (default: the prior's)
      count: only the first N images
    """

    images: tuple[Path, ...] = ()
    measured: tuple[Path, ...] = ()
    mask: Path | None = None
    kernel: Path | None = None
    kernel_is: Literal["psf", "correlation"] = "psf"
    fit: Literal["crop", "none"] | None = None
    size: int | None = None
    count: int | None = None

    def __post_init__(self):
        check_numbers(self, size=SIDE, count=COUNT)
        if self.images and self.measured:
            raise ValueError(
                "--images are degraded and restored, --measured only restored: give one"
            )
        if self.kernel_is != "psf" and self.kernel is None:
            raise ValueError(f"--kernel-is {self.kernel_is} is about a --kernel: give one")


@dataclass(frozen=True)
class Measurement:
    """What is measured, and how noisily.

    Attributes:
      task: one, several or all
      sigma: standard deviation of the noise in the units of the measurement, [-1, 1] for images
        (default: 0.05)
    """

    task: tuple[str, ...] = field(default=(), metadata={"choices": "task"})
    sigma: float | None = None

    @property
    def level(self) -> float:
        """``sigma``, or its default."""
        return 0.05 if self.sigma is None else self.sigma

    def __post_init__(self):
        level = Range(NOT_NEGATIVE.holds, "a noise level >= 0 in units of [-1, 1]")
        check_numbers(self, sigma=level)


@dataclass(frozen=True)
class Method:
    """Prior, sampler and projection; of lists every entry is run.

    Attributes:
      prior: name of a bundled prior or a folder (default: one that fits the solver)
      no_verify: do not compare the prior's files with the hashes recorded when they were written
      solver: the samplers
      projection: none: the plain solver; state: DiffStateGrad; both
      tau: share of the squared singular values kept, in (0, 1]; rules rank, fraction: their value
      rank_rule: how tau becomes a rank: official, per_channel, mean, rank or fraction; auto
        (default): the solver's or preset's (official for most), and per_channel in place of
        official where the projected state has not three channels
      period: project every N-th (inner) step (default: 1; resample: its preset's)
      sides: both (U U' G V V'), left (U U' G) or right (G V V')
      source: what the projection decomposes: state is DiffStateGrad, the others are for ablations
    """

    prior: str | None = None
    no_verify: bool = False
    solver: tuple[str, ...] = field(default=(DEFAULT_SOLVER,), metadata={"choices": "solver"})
    projection: ProjectionChoice = "both"
    tau: tuple[float, ...] = (0.99,)
    rank_rule: tuple[str, ...] = ()
    period: tuple[int, ...] = ()
    sides: Literal["both", "left", "right"] = "both"
    source: Source = "state"

    def __post_init__(self):
        with_default = [name for name in ("rank_rule", "period") if getattr(self, name)]
        check_once(self, "solver", "tau", *with_default)


@dataclass(frozen=True)
class Run:
    """How many, how, and where to.

    Attributes:
      samples: posterior samples per image
      seed: decides masks, kernels, noise and samples; several run one after the other
      batch_size: samples that a device computes and that are written together: memory only
      microbatch: samples of a batch in memory together (default: as many as fit)
      memory: memory to stay below, GB (default: the device's, or what is free on a CPU)
      remat: latent priors: recompute blocks in the backward pass, for less memory and more time
      failure_psnr: a PSNR below this is called a failure, dB; our assumption
      out: output folder; the same command again finishes what is missing
      shard: I/N: compute every N-th batch only, from the I-th; copying the folders joins them
      metrics: further columns, as other codes measure
    """

    samples: int = 1
    seed: tuple[int, ...] = (0,)
    batch_size: int = 8
    microbatch: int | None = None
    memory: float | None = None
    remat: bool = False
    failure_psnr: float = 20.0
    out: Path = Path("results/restore")
    shard: str | None = None
    metrics: tuple[Metric, ...] = ()

    def __post_init__(self):
        decibels = Range(math.isfinite, "a number of dB")
        check_numbers(self, samples=UPDATES, batch_size=TOGETHER, microbatch=COUNT, memory=POSITIVE)
        check_numbers(self, seed=SEED, failure_psnr=decibels)
        check_once(self, "seed")
        check_folder("out", self.out)
        self.part_of_whole()

    def part_of_whole(self) -> tuple[int, int] | None:
        """``--shard 2/3`` as (2, 3)."""
        if self.shard is None:
            return None
        first, _, last = self.shard.partition("/")
        if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
            raise ValueError(f"--shard {self.shard}: give I/N with I from 1 to N, such as 2/3")
        return int(first), int(last)


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


@dataclass(frozen=True)
class RestoreSettings:
    """Everything that `restore` takes.

    Attributes:
      task_options: by name, see `dsg_jax.operators.tasks`; what is not named is the task's own
        default
      solver_options: by name, see `dsg_jax.solvers`; what is not named is the published value for
        the task
    """

    images: Images = Images()
    measurement: Measurement = Measurement()
    task_options: Mapping[str, Any] = field(default_factory=dict, metadata={"options": "task"})
    method: Method = Method()
    solver_options: Mapping[str, Any] = field(default_factory=dict, metadata={"options": "solver"})
    run: Run = Run()
    devices: Devices = Devices()


def as_table(settings: Any) -> dict[str, Any]:
    """Settings as tables of JSON values, as ``run.json`` has them and ``--settings`` reads them.

    What is None has no entry, for TOML has no word for it.
    """
    return _plain(asdict(settings))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items() if one is not None}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value

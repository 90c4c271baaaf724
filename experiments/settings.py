"""What `restore` takes, as values: commands build on it by `dataclasses.replace`.

Free of jax, so that ``--help`` is instant. Numbers are checked when a value is built.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dsg_jax.checks import COUNT, NOT_NEGATIVE, POSITIVE, UNIT, Range
from dsg_jax.solvers import DEFAULT_SOLVER
from experiments.checks import SEED, SIDE, TOGETHER, check_folder, check_numbers, check_once
from experiments.device_settings import Arithmetic, Devices

ProjectionChoice = Literal["both", "none", "state"]
Source = Literal["state", "gradient", "random"]
Metric = Literal["ssim_skimage7", "lpips_vgg_unscaled", "lpips_piq_avgpool"]
# Metrics of other codes, as further columns.
EXTRA_METRICS = Metric.__args__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Images:
    """Images: the bundled samples, if none are named.

    Attributes:
      images: files or folders to degrade and restore; of fields .npy, in the prior's units
      measured: degraded images to restore: files, or .npy; of fields and in Fourier space .npy
      range: with --measured: black and white of .npy files, such as 0 255 (default: -1 1)
      mask: with --measured: of inpainting or of the coefficients in Fourier space; white is known;
        or .npy; a folder has one for every measured image, of its name
      kernel: with --measured: blur kernel, scaled to sum 1, or .npy; or a folder likewise
      kernel_is: psf: what a point becomes (convolution); correlation: the weights of neighbours
      fit: crop: central square resized to --size (of a field its central part); none: images as
        they are (default: crop; without --size and with a prior that only convolves, the image cut
        to the multiple that it needs)
      size: side of the images in pixels (default: the prior's, but see --fit)
      count: only the first N images
      class_label: for class-conditional priors: a class for all images, one for each, or a text
        file with a line NAME CLASS for each
    """

    images: tuple[Path, ...] = ()
    measured: tuple[Path, ...] = ()
    range: tuple[float, float] | None = None
    mask: Path | None = None
    kernel: Path | None = None
    kernel_is: Literal["psf", "correlation"] = "psf"
    fit: Literal["crop", "none"] | None = None
    size: int | None = None
    count: int | None = None
    class_label: tuple[str, ...] | None = None

    def __post_init__(self):
        check_numbers(self, size=SIDE, count=COUNT)
        if self.images and self.measured:
            raise ValueError(
                "--images are degraded and restored, --measured only restored: give one"
            )
        ends = (-1.0, 1.0) if self.range is None else self.range
        if len(ends) != 2 or not -math.inf < ends[0] < ends[1] < math.inf:
            raise ValueError(
                f"--range {' '.join(map(str, ends))}: give two finite numbers, black and then white"
            )
        if self.kernel_is != "psf" and self.kernel is None:
            raise ValueError(f"--kernel-is {self.kernel_is} is about a --kernel: give one")


@dataclass(frozen=True)
class Measurement:
    """What is measured, and how noisily.

    Attributes:
      task: one, several or all; FILE.py:NAME: one of your own, see docs/own.md
      sigma: standard deviation of the noise in the units of the measurement, [-1, 1] for images and
        for fields' usual range (default: 0.05)
      noise: gaussian; poisson: of photons, for solvers that know it (dps)
      peak: poisson: photons of white that are expected at a pixel (default: 255)
    """

    task: tuple[str, ...] = field(default=(), metadata={"choices": "task"})
    sigma: float | None = None
    noise: Literal["gaussian", "poisson"] = "gaussian"
    peak: float | None = None

    def __post_init__(self):
        level = Range(NOT_NEGATIVE.holds, "a noise level >= 0 in units of [-1, 1]")
        photons = Range(lambda number: 0 < number <= 1e6, "a number of photons, up to 1e6")
        check_numbers(self, sigma=level, peak=photons)
        if self.noise == "gaussian" and self.peak is not None:
            raise ValueError(f"--peak {self.peak} is about --noise poisson: give that, or --sigma")
        if self.noise == "poisson" and self.sigma is not None:
            raise ValueError(f"--sigma {self.sigma} is about gaussian noise: give --peak instead")

    @property
    def level(self) -> float:
        """``sigma``, or its default."""
        return 0.05 if self.sigma is None else self.sigma

    @property
    def photons(self) -> float:
        """Of white, expected at a pixel, where the noise is Poisson's."""
        return 255.0 if self.peak is None else self.peak


@dataclass(frozen=True)
class Method:
    """Prior, sampler and projection; of lists every entry is run.

    Attributes:
      prior: name of a bundled prior, a converted folder, or an original checkpoint such as a
        diffusers folder; FILE.py:NAME: see docs/own.md (default: one that fits the solver)
      no_verify: do not compare the prior's files with the hashes recorded when they were written
      solver: the samplers; FILE.py:NAME: one of your own, see docs/own.md
      projection: none: the plain solver; state: DiffStateGrad; both
      tau: share of the squared singular values kept, in (0, 1]; rules rank, fraction: their value
      rank_rule: how tau becomes a rank: official, per_channel, mean, rank, fraction or
        FILE.py:NAME; auto (default): the solver's or preset's (official for most), and per_channel
        in place of official where the projected state has not three channels
      period: project every N-th (inner) step; 0: none (default: 1; resample: its preset's)
      sides: both (U U' G V V'), left (U U' G) or right (G V V')
      source: what the projection decomposes: state is DiffStateGrad, the others are for ablations
      smoothing: for solvers with an inner loop: SPGD's smoothed guidance behind the projection, by
        its beta; 0: none (SPGD's paper: 0.9)
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
    smoothing: tuple[float, ...] = (0.0,)

    def __post_init__(self):
        with_default = [name for name in ("rank_rule", "period") if getattr(self, name)]
        check_once(self, "solver", "tau", "smoothing", *with_default)
        check_numbers(self, smoothing=UNIT)


@dataclass(frozen=True)
class Run:
    """How many, how, and where to.

    Attributes:
      samples: posterior samples per image
      seed: decides masks, kernels, noise and samples; several run one after the other
      operator_seed: one mask or kernel for all images, drawn with this seed; reference: the one of
        the reference code (default: one for every image and seed)
      batch_size: samples that a device computes and that are written together: memory only
      microbatch: samples of a batch in memory together (default: as many as fit)
      memory: memory to stay below, GB (default: the device's, or what is free on a CPU)
      remat: latent priors: recompute blocks in the backward pass, for less memory and more time
      failure_psnr: a PSNR below this is called a failure, dB; our assumption
      out: output folder; the same command again finishes what is missing
      shard: I/N: compute every N-th batch only, from the I-th; copying the folders joins them
      metrics: further columns, as other codes measure
      fid: folder of real images, for a column with FID; DSG_JAX_INCEPTION names the network, a
        folder converted from pytorch-fid's weights
      fid_few: allow fewer than 100 images on either side
    """

    samples: int = 1
    seed: tuple[int, ...] = (0,)
    operator_seed: Literal["reference"] | int | None = None
    batch_size: int = 8
    microbatch: int | None = None
    memory: float | None = None
    remat: bool = False
    failure_psnr: float = 20.0
    out: Path = Path("results/restore")
    shard: str | None = None
    metrics: tuple[Metric, ...] = ()
    fid: Path | None = None
    fid_few: bool = False

    def __post_init__(self):
        decibels = Range(math.isfinite, "a number of dB")
        check_numbers(
            self, samples=TOGETHER, batch_size=TOGETHER, microbatch=COUNT, memory=POSITIVE
        )
        check_numbers(self, seed=SEED, failure_psnr=decibels)
        if self.operator_seed != "reference":
            check_numbers(self, operator_seed=SEED)
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
    arithmetic: Arithmetic = Arithmetic()
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

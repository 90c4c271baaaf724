"""What `reproduce` takes. No jax here, so that ``--help`` is instant."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from dsg_jax.checks import POSITIVE
from experiments.checks import check_folder, check_numbers, check_once
from experiments.settings import (
    Arithmetic,
    Devices,
    Images,
    Measurement,
    Metric,
    RestoreSettings,
    Run,
)


@dataclass(frozen=True)
class ReproduceSettings:
    """Which tables and figures, on which priors and images, and how long the runs are.

    Attributes:
      name: table1, fig6 and so on: see --list; all: every one but map and map-latent, which are
        hours of work each
      task: only these tasks of them
      solver: only the rows of these solvers
      row: only the rows with these labels, as --list has them
      list: print every experiment and the paper's values
      dry_run: print runs, programs, estimated time and memory; time is taken from a few steps
      full: the papers' steps and 100 images
      prior: priors by name, folder or original, as in restore, or a folder of converted ones: one
        on pixels and one on latents; of two sets of weights (ema, raw) every solver has that of its
        reference
      no_verify: as in restore
      images: files or folders (default: the prior's samples)
      fit: as in restore
      size: side of the images in pixels (default: the prior's)
      count: only the first N images (default: 4; 100 with --full)
      class_label: for class-conditional priors, as in restore
      seeds: decide masks, noise and samples; each runs all
      operator_seed: one mask or kernel for all images, as in restore
      sigma: standard deviation of the noise, as in restore
      preset: rank rule, and period and stages of ReSample (default: the experiment's)
      base_step: psld: default step over the published (default: 8; 1 with --full)
      large_step: psld: large step over the default one; our choice
      steps: psld, resample: reverse steps (default: 50; the papers' with --full)
      levels: daps, latent-daps: levels (default: 20, 10; the papers' with --full)
      limit: resample: most updates (default: 50; the papers' with --full)
      blur_network: nonlinear_deblur: folder of the converted network
      batch_size: samples computed at once; speed and memory only
      failure_psnr: a PSNR below this is a failure, dB; our choice
      out: output folder
      report: folder of the reports (default: --out)
      shard: I/N: compute every N-th batch only, from the I-th; copying the folders joins them
      save_every: save unfinished batches every N steps, to go on after a kill
      metrics: further columns, as other codes measure
      fid: folder of real images, as in restore
      fid_few: as in restore
      dtype: of the priors' networks, as in restore
      matmul_precision: as in restore
    """

    name: tuple[str, ...] = field(default=(), metadata={"positional": True})
    task: tuple[str, ...] = ()
    solver: tuple[str, ...] = ()
    row: tuple[str, ...] = ()
    list: bool = False
    dry_run: bool = False
    full: bool = False
    prior: tuple[str, ...] = ("emoji", "emoji-64-ldm")
    no_verify: bool = False
    images: tuple[Path, ...] = ()
    fit: Literal["crop", "none"] = "crop"
    size: int | None = None
    count: int | None = None
    class_label: tuple[str, ...] | None = None
    seeds: tuple[int, ...] = (0,)
    operator_seed: Literal["reference"] | int | None = None
    sigma: float = 0.01
    preset: Literal["official", "paper", "plorg"] | None = None
    base_step: float | None = None
    large_step: float = 4.0
    steps: int | None = None
    levels: int | None = None
    limit: int | None = None
    blur_network: Path | None = None
    batch_size: int = 8
    failure_psnr: float = 20.0
    out: Path = Path("results/reproduce")
    report: Path | None = None
    shard: str | None = None
    save_every: int | None = None
    metrics: tuple[Metric, ...] = ()
    fid: Path | None = None
    fid_few: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    matmul_precision: Literal["default", "high", "highest"] = "default"

    def __post_init__(self):
        check_once(self, "seeds")
        check_numbers(self, base_step=POSITIVE, large_step=POSITIVE)
        check_folder("report", self.report)
        if self.dry_run and self.shard:
            raise ValueError("--dry-run is about the whole run: drop --shard")
        self.for_restore()

    def for_restore(self) -> RestoreSettings:
        """What all runs of `restore` have in common."""
        return RestoreSettings(
            images=Images(
                images=self.images,
                fit=self.fit,
                size=self.size,
                count=(100 if self.full else 4) if self.count is None else self.count,
                class_label=self.class_label,
            ),
            measurement=Measurement(sigma=self.sigma),
            run=Run(
                seed=self.seeds,
                operator_seed=self.operator_seed,
                batch_size=self.batch_size,
                failure_psnr=self.failure_psnr,
                out=self.out,
                shard=self.shard,
                metrics=self.metrics,
                fid=self.fid,
                fid_few=self.fid_few,
            ),
            arithmetic=Arithmetic(self.dtype, self.matmul_precision),
            devices=Devices(save_every=self.save_every),
        )


def changed(settings: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from its defaults: name -> value, in their order."""
    default = type(settings)()
    values = {entry.name: getattr(settings, entry.name) for entry in fields(settings)}
    return {name: value for name, value in values.items() if value != getattr(default, name)}


def words_of(value: Any) -> str:
    """A field's value as a command line has it; "" for a flag that is given."""
    if value is True:
        return ""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)

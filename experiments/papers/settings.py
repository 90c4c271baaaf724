"""What `reproduce` takes. No jax here, so that ``--help`` is instant."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from experiments.settings import (
    Images,
    Measurement,
    Metric,
    RestoreSettings,
    Run,
    check_folder,
    check_once,
    check_positive,
)


@dataclass(frozen=True)
class ReproduceSettings:
    """Which tables and figures, on which priors and images, and how long the runs are."""

    name: tuple[str, ...] = field(default=(), metadata={"positional": True})
    """table1, fig6 and so on, or all: see --list"""
    list: bool = False
    """print every experiment and the paper's values"""
    dry_run: bool = False
    """print runs, programs, estimated time and memory; time is taken from a few steps"""
    full: bool = False
    """the papers' steps and 100 images"""
    prior: tuple[str, ...] = ("emoji", "emoji-64-ldm")
    """priors, at most one on pixels and one on latents"""
    images: tuple[Path, ...] = ()
    """files or folders (default: the prior's samples)"""
    fit: Literal["crop", "none"] = "crop"
    """as in restore"""
    size: int | None = None
    """side of the images in pixels (default: the prior's)"""
    count: int | None = None
    """only the first N images (default: 4; 100 with --full)"""
    seeds: tuple[int, ...] = (0,)
    """decide masks, noise and samples; each runs all"""
    sigma: float = 0.01
    """standard deviation of the noise, as in restore"""
    preset: Literal["official", "paper", "plorg"] | None = None
    """rank rule, and period and stages of ReSample (default: the experiment's)"""
    base_step: float | None = None
    """psld: default step over the published (default: 8; 1 with --full)"""
    large_step: float = 4.0
    """psld: large step over the default one; our choice"""
    steps: int | None = None
    """psld, resample: reverse steps (default: 50; the papers' with --full)"""
    levels: int | None = None
    """daps, latent-daps: levels (default: 20, 10; the papers' with --full)"""
    limit: int | None = None
    """resample: most updates (default: 50; the papers' with --full)"""
    blur_network: Path | None = None
    """nonlinear_deblur: folder of the converted network"""
    batch_size: int = 8
    """samples computed at once; speed and memory only"""
    failure_psnr: float = 20.0
    """a PSNR below this is a failure, dB; our choice"""
    out: Path = Path("results/reproduce")
    """output folder"""
    report: Path | None = None
    """folder of the reports (default: --out)"""
    shard: str | None = None
    """I/N: compute every N-th batch only, from the I-th; copying the folders joins them"""
    metrics: tuple[Metric, ...] = ()
    """further columns, as other codes measure"""

    def __post_init__(self):
        check_once("seeds", self.seeds)
        check_positive(self, "base_step", "large_step")
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
            ),
            measurement=Measurement(sigma=self.sigma),
            run=Run(
                seed=self.seeds,
                batch_size=self.batch_size,
                failure_psnr=self.failure_psnr,
                out=self.out,
                shard=self.shard,
                metrics=self.metrics,
            ),
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

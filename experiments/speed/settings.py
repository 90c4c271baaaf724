"""What `speed` and `memory` take."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from experiments.checks import TOGETHER, check_numbers, check_once


@dataclass(frozen=True)
class SpeedSettings:
    """Which priors, at which batch.

    Attributes:
      priors: as --prior of restore; adm-ffhq, ldm-ffhq, sd-1.5: their sizes, random weights
      solver: of those that fit the priors (default: all)
      batch_size: samples at once, for networks and steps
      out: where the JSON goes; the same as Markdown goes beside it
    """

    priors: tuple[str, ...] = ("emoji", "emoji-64-ldm")
    solver: tuple[str, ...] = field(default=(), metadata={"choices": "solver"})
    batch_size: int = 4
    out: Path = Path("results/speed.json")

    def __post_init__(self):
        check_once(self, "priors")
        check_numbers(self, batch_size=TOGETHER)


@dataclass(frozen=True)
class MemorySettings:
    """Which published models, restored with by what, computed how.

    Attributes:
      model: a published model, or all of them
      solver: of those that fit the model (default: the first one)
      dtype: compute type of the networks
      out: also write the table as JSON to this file
    """

    model: Literal["all", "ldm-ffhq", "sd-1.5", "adm-ffhq"] = "all"
    solver: tuple[str, ...] = field(default=(), metadata={"choices": "solver"})
    dtype: Literal["float32", "bfloat16"] = "float32"
    out: Path | None = None

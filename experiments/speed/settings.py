"""What `speed` and `memory` take."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from experiments.settings import check_once, check_whole


@dataclass(frozen=True)
class SpeedSettings:
    """Which priors, at which batches."""

    priors: tuple[str, ...] = ("emoji", "emoji-64-ldm")
    """bundled or converted priors; adm-ffhq, ldm-ffhq, sd-1.5: their sizes, random weights"""
    batch_size: int = 4
    """samples at once, for networks and steps"""
    batches: tuple[int, ...] = (1, 2, 4, 8)
    """samples at once, for the table of scaling"""
    out: Path = Path("results/speed.json")
    """where the JSON goes; the same as Markdown goes beside it"""

    def __post_init__(self):
        check_once("priors", self.priors)
        check_once("batches", self.batches)
        check_whole(self, 1, "batch_size", "batches")


@dataclass(frozen=True)
class MemorySettings:
    """Which published models, restored with by what, computed how."""

    model: Literal["all", "ldm-ffhq", "sd-1.5", "adm-ffhq"] = "all"
    """a published model, or all of them"""
    solver: tuple[str, ...] = field(default=(), metadata={"choices": "solver"})
    """of those that fit the model (default: the first one)"""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """compute type of the networks"""
    out: Path | None = None
    """also write the table as JSON to this file"""

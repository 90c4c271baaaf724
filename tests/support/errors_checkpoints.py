"""The errors of `checkpoints_convert`, and what provokes them; see test_errors.py."""

from collections.abc import Callable
from pathlib import Path

from support import (
    errors_checkpoints_command,
    errors_checkpoints_containers,
    errors_checkpoints_diffusers,
    errors_checkpoints_edm,
    errors_checkpoints_pickles,
    errors_checkpoints_safetensors,
)

CASES: dict[str, Callable[[Path], object]] = {
    **errors_checkpoints_command.CASES,
    **errors_checkpoints_containers.CASES,
    **errors_checkpoints_diffusers.CASES,
    **errors_checkpoints_edm.CASES,
    **errors_checkpoints_pickles.CASES,
    **errors_checkpoints_safetensors.CASES,
}

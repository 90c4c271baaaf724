"""The errors of `experiments`, and what provokes them; see test_errors.py."""

from collections.abc import Callable
from pathlib import Path

from support import (
    errors_commands_files,
    errors_commands_grids,
    errors_commands_inputs,
    errors_commands_parts,
    errors_commands_restore,
    errors_commands_training,
    errors_user_code,
)

CASES: dict[str, Callable[[Path], object]] = {
    **errors_commands_restore.CASES,
    **errors_commands_inputs.CASES,
    **errors_commands_files.CASES,
    **errors_commands_grids.CASES,
    **errors_commands_training.CASES,
    **errors_commands_parts.CASES,
    **errors_user_code.COMMANDS,
}

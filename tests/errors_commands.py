"""The errors of `experiments`, and what provokes them; see test_errors.py."""

from collections.abc import Callable
from pathlib import Path

import errors_commands_files
import errors_commands_grids
import errors_commands_parts
import errors_commands_restore
import errors_commands_training

CASES: dict[str, Callable[[Path], object]] = {
    **errors_commands_restore.CASES,
    **errors_commands_files.CASES,
    **errors_commands_grids.CASES,
    **errors_commands_training.CASES,
    **errors_commands_parts.CASES,
}

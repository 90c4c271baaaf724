"""Where a command's errors end: what comes from input is one line, a bug shows its traceback."""

import struct
import sys
import traceback
import zipfile
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from dsg_jax.user_code import place_of
from experiments.files import sweep_partial_files

# What is left to do once the settings have been checked.
Work = Callable[[], object]
# What files and arguments bring about while they are checked; anything else is a bug of ours.
INPUT_ERRORS = (
    *(ValueError, OSError, MemoryError, RecursionError, OverflowError, EOFError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)
# The word that shows where an error comes from.
DEBUG = "--debug"


def refuse(error: BaseException, debug: bool = False) -> int:
    """Say in one line what is wrong, below its traceback if that is asked for; the exit code."""
    if debug:
        traceback.print_exception(error)
    words = " ".join(str(error).split()) or f"{type(error).__name__}: there is not enough"
    if place := place_of(error):
        words = f"{place}: {type(error).__name__}: {' '.join(str(error).split())}"
    print(f"error: {words}", file=sys.stderr)
    return 2


def execute(settings: Any, plan: Callable[[Any], Work], debug: bool = False) -> int:
    """Check and do what a command is asked for; returns the exit code."""
    with matmul_precision(settings):
        return checked_and_done(settings, plan, debug)


def matmul_precision(settings: Any) -> AbstractContextManager:
    """While it lasts, jax computes matrix products as ``--matmul-precision`` says."""
    named = getattr(getattr(settings, "arithmetic", settings), "matmul_precision", "default")
    if named == "default":  # what JAX_DEFAULT_MATMUL_PRECISION says stays
        return nullcontext()
    import jax  # here, so that wrong settings are refused without it

    return jax.default_matmul_precision(named)


def checked_and_done(settings: Any, plan: Callable[[Any], Work], debug: bool) -> int:
    """See `execute`."""
    try:
        if hasattr(settings, "devices"):
            from experiments.restore.devices import join_processes

            join_processes(settings.devices)
        work = plan(settings)
    except Exception as error:
        if not (isinstance(error, INPUT_ERRORS) or place_of(error)):
            raise
        return refuse(error, debug)
    try:
        for folder in output_folders(settings):
            sweep_partial_files(folder)
        work()
    except (MemoryError, OSError) as error:
        return refuse(error, debug)
    except Exception as error:
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error):  # of a device
            error = MemoryError(f"the device is out of memory: {str(error)[:200]}")
        elif not place_of(error):
            raise
        return refuse(error, debug)
    return 0


def output_folders(settings: Any) -> list[Path]:
    """The folders that a command writes into, but for those of the files that it writes."""
    places = [getattr(getattr(settings, "run", settings), name, None) for name in ("out", "report")]
    return [place for place in places if isinstance(place, Path) and place.is_dir()]

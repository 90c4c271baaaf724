"""Keep compiled programs on disk, so that a second start does not compile again.

Where: ``~/.cache/dsg_jax/xla`` (``XDG_CACHE_HOME`` is followed). jax's own variables decide
instead where they are set: ``JAX_COMPILATION_CACHE_DIR`` names another folder, an empty name or
``JAX_ENABLE_COMPILATION_CACHE=0`` turns it off. Deleting the folder is safe.
A program is found again only by the same jaxlib, XLA flags, kind of device, shapes and settings.
"""

import os
import sys
from pathlib import Path

_LEAST_SECONDS = "0.2"  # of compiling, for a program to be kept; jax's default is 1


def set_compile_cache() -> None:
    """Choose the folder of jax's persistent compilation cache; call it before jax is imported."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = caches / "dsg_jax" / "xla"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"compiled programs are not kept: {error}", file=sys.stderr)
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", _LEAST_SECONDS)

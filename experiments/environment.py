"""Environment variables that jax reads when it is imported: call both functions before that.

`set_cpu_flags` makes jaxlib's CPU backend 2-5x faster, measured on two x86 cores with jaxlib
0.10.2. XLA aborts on a flag that it does not know, so the flags are set only for the release series
in which they were tried. A setting of the user's stays.
"""

import os
import re
import sys
from importlib.metadata import version
from pathlib import Path

_KNOWN_JAXLIB = ("0.10.",)
_XLA_FLAGS = (
    # Convolutions on the threaded Eigen kernels rather than single-threaded YNNPACK.
    "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution",
    # Less memory, and no hang of two batched LAPACK calls that share the thread pool.
    "--xla_cpu_enable_concurrency_optimized_scheduler=false",
)
_FORCED = re.compile(r"--xla_force_host_platform_device_count=(\d+)")
_LEAST_SECONDS = "0.2"  # of compiling, for a program to be kept; jax's default is 1


def set_cpu_flags() -> None:
    """Set the XLA flags (known jaxlib only) and keep OpenBLAS from competing for the cores.

    Where XLA makes several devices of one CPU, it gets two threads for each. With one, devices that
    wait for each other's parameters hold all threads, and a batch of SVDs waits for one forever.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    flags = os.environ.get("XLA_FLAGS", "")
    forced = _FORCED.search(flags)
    if forced:
        os.environ.setdefault("PJRT_NPROC", str(2 * int(forced[1])))
    if version("jaxlib").startswith(_KNOWN_JAXLIB):
        missing = [flag for flag in _XLA_FLAGS if flag.split("=")[0] not in flags]
        os.environ["XLA_FLAGS"] = " ".join([flags, *missing]).strip()


def set_compile_cache() -> None:
    """Keep compiled programs on disk, so that a second start does not compile again.

    Where: ``~/.cache/dsg_jax/xla`` (``XDG_CACHE_HOME`` is followed). jax's own variables decide
    instead where they are set: ``JAX_COMPILATION_CACHE_DIR`` names another folder, an empty name or
    ``JAX_ENABLE_COMPILATION_CACHE=0`` turns it off. Deleting the folder is safe. A program is found
    again only by the same jaxlib, XLA flags, kind of device, shapes and settings.
    """
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

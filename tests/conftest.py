"""Set the CPU flags before jax is imported anywhere; keep compiled programs between runs."""

import os
from pathlib import Path

from experiments.cpu_flags import set_cpu_flags

set_cpu_flags()
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")

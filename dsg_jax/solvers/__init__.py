"""One algorithm per file; every function builds a `Solver` for `sample.sample`."""

from dsg_jax.solvers.daps import daps
from dsg_jax.solvers.dps import dps

SOLVERS = {"dps": dps, "daps": daps}

"""One algorithm per file; every function builds a `Solver` for `sample.sample`."""

from collections.abc import Callable

from dsg_jax.solvers.daps import daps
from dsg_jax.solvers.dps import dps
from dsg_jax.solvers.latent_daps import latent_daps
from dsg_jax.solvers.latent_dps import latent_dps
from dsg_jax.solvers.psld import psld
from dsg_jax.solvers.resample import resample
from dsg_jax.types import Solver

SOLVERS: dict[str, Callable[..., Solver]] = {
    "dps": dps,
    "daps": daps,
    "psld": psld,
    "resample": resample,
    "latent-dps": latent_dps,
    "latent-daps": latent_daps,
}

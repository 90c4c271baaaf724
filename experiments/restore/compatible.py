"""Whether a solver, the tasks and a prior go together."""

import dataclasses

from dsg_jax.operators.tasks import TASKS
from dsg_jax.solvers import SOLVERS, SolverEntry
from dsg_jax.types import Prior
from experiments.restore.choices import MethodChoice
from experiments.settings import RestoreSettings


def check_operators(entry: SolverEntry, tasks: list[str]) -> None:
    """Raise ValueError where a solver wants a linear operator and a task has none."""
    nonlinear = [task for task in tasks if not TASKS[task].linear]
    if entry.operator == "linear" and nonlinear:
        others = [e.name for e in SOLVERS.values() if (e.prior, e.operator) == (entry.prior, "any")]
        raise ValueError(
            f"{entry.name} needs a linear task and {nonlinear[0]} is none: use {', '.join(others)}"
        )


def check_prior(entry: SolverEntry, prior: Prior) -> None:
    """Raise ValueError where a solver and a prior do not fit."""
    kind = "pixel" if prior.first_stage is None else "latent"
    if entry.prior != kind:
        others = ", ".join(name for name, other in SOLVERS.items() if other.prior == kind)
        raise ValueError(
            f"{entry.name} works on {entry.prior}s and this prior on {kind}s: use {others}"
        )


def check_noise(settings: RestoreSettings, tasks: list[str], methods: list[MethodChoice]) -> None:
    """Raise ValueError unless tasks and solvers, and only what is simulated, know the noise."""
    if settings.measurement.noise == "gaussian":
        return
    spectra = [task for task in tasks if TASKS[task].fourier]
    if spectra:
        raise ValueError(f"--noise poisson is of images, and {spectra[0]} measures none: drop it")
    for method in methods:
        if not knows_poisson(method.entry):
            able = [name for name, entry in SOLVERS.items() if knows_poisson(entry)]
            raise ValueError(
                f"{method.entry.name} knows no Poisson noise: use --solver {' or '.join(able)}"
            )
    if settings.measurement.peak is not None and settings.images.measured:
        raise ValueError("--peak is of noise that is simulated, not of a measured image's: drop it")


def knows_poisson(entry: SolverEntry) -> bool:
    """Whether a solver has a guidance for Poisson noise."""
    return "poisson" in {one.name for one in dataclasses.fields(entry.settings_type)}

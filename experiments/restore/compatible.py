"""Whether a solver, the tasks and a prior go together."""

from dsg_jax.operators.tasks import TASKS
from dsg_jax.solvers import SOLVERS, SolverEntry
from dsg_jax.types import Prior


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

"""The solvers of this package: one entry each, one algorithm per file.

This module takes no jax; what an entry names is imported when it is first asked for. A new solver
is a file like the others and a line in `SOLVERS`.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from dsg_jax.options import Option, options_of

if TYPE_CHECKING:
    from jax.typing import ArrayLike

    from dsg_jax.clock import Clock
    from dsg_jax.plug_ins import Guidance
    from dsg_jax.types import Prior, Problem, Solver


class SolverEntry(NamedTuple):
    """What there is to know of a solver; the rest is in the module that is called as it is.

    Attributes:
      name: what people type; module and function have underscores in place of the hyphens.
      prior: what it restores with.
      operator: what it can be measured by.
      noise: whether it asks how noisy the measurement is.
      weights: which of a checkpoint's two sets its reference samples with: averaged ones ("ema")
        or those being trained ("raw").
      inner_loop: whether an outer step follows several gradients, so that a plug-in can remember
        the earlier ones.
    """

    name: str
    title: str
    prior: Literal["pixel", "latent"]
    operator: Literal["any", "linear"] = "any"
    noise: bool = False
    weights: Literal["ema", "raw"] = "ema"
    inner_loop: bool = False

    @property
    def function(self) -> str:
        """The name of the solver's function and of its module."""
        return self.name.replace("-", "_")

    @property
    def module(self) -> ModuleType:
        """The solver's file."""
        return import_module(f"{__name__}.{self.function}")

    @property
    def options(self) -> dict[str, Option]:
        """The keyword arguments of `settings_for`; reading them takes no jax."""
        return options_of(f"solvers.{self.function}", "settings_for")

    @property
    def settings_type(self) -> type:
        """The dataclass that `solve` takes its settings in."""
        return self.module.settings_for.__annotations__["return"]

    def solve(
        self, prior: "Prior", problem: "Problem", projection: "Guidance", settings: Any
    ) -> "Solver":
        """Build the `Solver` for `sample.sample`.

        Args:
          prior: of the kind that the entry names.
          problem: measurement to explain.
          projection: None for the plain method; a projection, a plug-in or several, see `plug_ins`.
          settings: a `settings_type`.

        Raises:
          ValueError: what the solver refuses, such as a prior of the other kind.
        """
        return getattr(self.module, self.function)(prior, problem, projection, settings)

    def settings_for(self, task: str, schedule: "Clock | ArrayLike", **options: Any) -> Any:
        """The published settings for a task, or the stated default of a task without any.

        Args:
          task: its name; any will do.
          schedule: the prior's clock, or (T,) betas (`clock.clock_of`).
          **options: keyword arguments of the module's own `settings_for`.

        Raises:
          ValueError: an option's value that is not allowed.
        """
        from dsg_jax.clock import clock_of

        return self.module.settings_for(task, clock_of(schedule), **options)

    @property
    def first_sigma(self) -> float | None:
        """The noise level that the published annealing starts at; None of a solver without any."""
        return getattr(self.module, "FIRST_SIGMA", None)

    def projection_defaults(self, **options: Any) -> dict[str, Any]:
        """The fields of `Projection` that the solver's source sets, under the same options."""
        defaults = getattr(self.module, "projection_defaults", None)
        return defaults(**options) if defaults else {"rule": "official", "period": 1}


SOLVERS: dict[str, SolverEntry] = {
    entry.name: entry
    for entry in (
        SolverEntry("dps", "DPS", "pixel"),
        SolverEntry("daps", "DAPS", "pixel", inner_loop=True),
        SolverEntry("psld", "PSLD", "latent", operator="linear", noise=True),
        SolverEntry("resample", "ReSample", "latent", weights="raw", inner_loop=True),
        SolverEntry("latent-dps", "Latent DPS", "latent"),
        SolverEntry("latent-daps", "LatentDAPS", "latent", weights="raw", inner_loop=True),
        SolverEntry("fast-dips", "FAST-DIPS", "pixel", inner_loop=True),
        SolverEntry("latent-fast-dips", "Latent FAST-DIPS", "latent", inner_loop=True),
        SolverEntry("flowdps", "FlowDPS", "latent", inner_loop=True),
        SolverEntry("flowchef", "FlowChef", "latent"),
        SolverEntry("pnpdm", "PnP-DM", "pixel", noise=True, inner_loop=True),
        SolverEntry("sitcom", "SITCOM", "pixel", noise=True, inner_loop=True),
        SolverEntry("pigdm", "PiGDM", "pixel", operator="linear", noise=True),
        SolverEntry("diffpir", "DiffPIR", "pixel"),
        SolverEntry("red-diff", "RED-diff", "pixel"),
        SolverEntry("spgd", "SPGD", "pixel", inner_loop=True),
    )
}

# What a command takes where no solver is named.
DEFAULT_SOLVER = "daps"


def settings_for(solver: str, task: str, prior: "Prior | Clock | ArrayLike", **options: Any) -> Any:
    """The published settings of a solver for a task and a prior.

    Args:
      solver: key of `SOLVERS`.
      task: its name, see `operators.tasks.TASKS`; others get the stated default.
      prior: the prior, its clock, or (T,) betas (`clock.clock_of`).
      **options: of the solver, see `SolverEntry.options`.

    Raises:
      ValueError: an unknown solver or option, or a value that is not allowed.
    """
    from dsg_jax.types import Prior

    if solver not in SOLVERS:
        raise ValueError(f"unknown solver {solver!r}: choose from {', '.join(SOLVERS)}")
    entry = SOLVERS[solver]
    unknown = [name for name in options if name not in entry.options]
    if unknown:
        raise ValueError(
            f"{solver} has no option {unknown[0]}: choose from {', '.join(entry.options)}"
        )
    return entry.settings_for(task, prior.clock if isinstance(prior, Prior) else prior, **options)

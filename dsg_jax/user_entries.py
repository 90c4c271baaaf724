"""FILE.py:NAME as what built-in solvers, tasks, priors and rank rules are; see docs/own.md.

`register` puts solvers and tasks into the lists that have the built-in ones, under the name as it
was typed. Whoever looks them up there needs not know of it.
"""

from collections.abc import Callable
from dataclasses import is_dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_type_hints

from dsg_jax.operators.tasks import TASKS, Task
from dsg_jax.options import Option
from dsg_jax.solvers import SOLVERS, SolverEntry
from dsg_jax.user_code import FUNCTIONS, UserCodeError, UserFunction, is_user_code, read

if TYPE_CHECKING:
    from dsg_jax.types import Operator, Prior, Solver

# What a card says where a prior of the user's does not.
CARD = {"name": "", "size": 64, "size_multiple": 1, "channels": 3, "samples": "photo"}
_TRUTH = (False, True)


class UserSolver(SolverEntry):
    """A solver that a user's file defines, with `settings_for` beside it."""

    @property
    def function(self) -> str:
        """Its name in the file."""
        return FUNCTIONS[self.name].function

    @property
    def module(self) -> ModuleType:
        """The file."""
        return FUNCTIONS[self.name].module

    @property
    def options(self) -> dict[str, Option]:
        """The keyword arguments of the file's `settings_for`."""
        return FUNCTIONS[self.name].options("settings_for")

    @property
    def settings_type(self) -> type:
        """What `settings_for` is annotated to return."""
        return get_type_hints(self.module.settings_for)["return"]

    def settings_for(self, task: str, schedule: Any, **options: Any) -> Any:
        """As `SolverEntry.settings_for`.

        Raises:
          UserCodeError: what the file's function returns is no settings.
        """
        from jax.tree_util import all_leaves

        settings = super().settings_for(task, schedule, **options)
        if not (is_dataclass(settings) and hasattr(settings, "steps")) or all_leaves([settings]):
            raise UserCodeError(
                f"{FUNCTIONS[self.name].place('settings_for')}: settings_for returns"
                f" {_kind(settings)}: return a dataclass with a field steps, registered by"
                " jax.tree_util.register_dataclass"
            )
        return settings

    def solve(self, *args: Any) -> "Solver":
        """As `SolverEntry.solve`.

        Raises:
          UserCodeError: what the file's function returns is no `Solver`.
        """
        from dsg_jax.types import Solver

        return _checked(FUNCTIONS[self.name], super().solve(*args), Solver)


class UserTask(Task):
    """A task whose operator a user's file builds."""

    @property
    def build(self) -> "Callable[..., Operator]":
        """(rng, shape, **options) -> Operator, whose functions are pytrees.

        Raises:
          UserCodeError: what the file's function returns is no operator of the entry's kind.
        """
        from dsg_jax.types import Operator

        function = FUNCTIONS[self.name]

        def built(*args: Any, **options: Any) -> Operator:
            operator = with_partials(_checked(function, function(*args, **options), Operator))
            if self.linear and operator.adjoint is None:
                raise UserCodeError(
                    f"{function.place()}: the operator has no adjoint: return one, or write"
                    " LINEAR = False in the file"
                )
            return operator._replace(transpose=operator.transpose or operator.adjoint)

        return built

    @property
    def options(self) -> dict[str, Option]:
        """The keyword arguments of the function."""
        return FUNCTIONS[self.name].options()


def register(kind: str, name: str) -> None:
    """Make FILE.py:NAME an entry of `SOLVERS` or `TASKS`.

    Args:
      kind: "solver" or "task".
      name: as typed.

    Raises:
      UserCodeError: the file does not define such a function, or states a fact that is none.
    """
    function = read(name, kind)
    if kind == "task":
        domains = ("symmetric", "unit")
        facts = function.constants(
            linear=_TRUTH, random=_TRUTH, magnitude=_TRUTH, fourier=_TRUTH, output_domain=domains
        )
        facts["fourier"] = facts.get("fourier", False) or facts.get("magnitude", False)
        TASKS[name] = UserTask(name, function.function, "not in the papers", **facts)
    else:
        function.check("settings_for", "settings_for")
        facts = function.constants(
            prior=("pixel", "latent"), operator=("any", "linear"), noise=_TRUTH, inner_loop=_TRUTH
        )
        SOLVERS[name] = UserSolver(name, function.function, **({"prior": "pixel"} | facts))
    (TASKS if kind == "task" else SOLVERS)[name].options  # noqa: B018  (they are checked here)


def forget() -> None:
    """Take out of the lists what was named so far: a command has what it names."""
    FUNCTIONS.clear()
    for entries in (SOLVERS, TASKS):
        for name in list(filter(is_user_code, entries)):
            del entries[name]


def user_prior(name: str, placement: Any = None) -> tuple["Prior", dict]:
    """The prior that FILE.py:NAME makes, and its card.

    Args:
      name: as typed.
      placement: as in `priors.load_prior`, for the arrays of network and first stage.

    Raises:
      UserCodeError: the file does not define such a function, or what it returns is no prior.
    """
    import jax

    from dsg_jax.types import Prior

    function = read(name, "prior")
    returned = function()
    prior, card = returned if type(returned) is tuple and len(returned) == 2 else (returned, {})
    prior = with_partials(_checked(function, prior, Prior))
    strange = [key for key in _checked(function, card, dict) if key not in CARD]
    if strange or any(type(card[key]) is not type(CARD[key]) for key in card):
        raise UserCodeError(
            f"{function.place()}: the card is {card}: give some of {', '.join(CARD)}, like {CARD}"
        )
    if placement is not None:
        place = placement if callable(placement) else lambda leaf: placement
        put = lambda tree: jax.tree.map(lambda leaf: jax.device_put(leaf, place(leaf)), tree)
        prior = prior._replace(network=put(prior.network), first_stage=put(prior.first_stage))
    card = CARD | {"name": function.function} | card | {"code": {function.file: function.hash}}
    card["state"] = "pixel" if prior.first_stage is None else "latent"
    check_prediction(function, prior, card)
    return prior, card


def check_prediction(function: UserFunction, prior: "Prior", card: dict) -> None:
    """Raise UserCodeError unless a prior's network predicts for states of the card's images."""
    import jax
    import jax.numpy as jnp

    def predict(prior: "Prior", x: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = x if prior.first_stage is None else prior.first_stage.encode(x, None)
        return state, prior.network(state, jnp.float32(1))

    image = jax.ShapeDtypeStruct((card["size"], card["size"], card["channels"]), jnp.float32)
    state, predicted = jax.eval_shape(predict, prior, image)
    h, w, c = state.shape
    if predicted.shape not in ((h, w, c), (h, w, 2 * c)):
        raise UserCodeError(
            f"{function.place()}: the network of a {state.shape} state predicts"
            f" {predicted.shape}: let it predict {h, w, c}, or {h, w, 2 * c} with variances"
        )


def rank_rule(name: str) -> Any:
    """A rank rule as `Projection` takes it: the name of a built-in one, the function of a user's.

    Raises:
      UserCodeError: the file does not define such a function, or it gives no rank per channel.
    """
    if not is_user_code(name):
        return name
    import jax
    import numpy as np

    function = read(name, "rank rule")
    energy = jax.ShapeDtypeStruct((3, 8), np.float32)
    ranks = jax.eval_shape(function, energy, np.float32(0.5))
    if getattr(ranks, "shape", None) != (3,):
        raise UserCodeError(
            f"{function.place()}: of energies (3, 8) {function.function} gives {ranks}: give (3,),"
            " a rank for every channel"
        )
    return getattr(function.module, function.function)


def with_partials(tree: Any) -> Any:
    """Functions as pytrees without arrays, so that jax takes them; all else as it is."""
    import jax

    wrap = lambda leaf: jax.tree_util.Partial(leaf) if callable(leaf) else leaf
    return jax.tree.map(wrap, tree)


def _checked(function: UserFunction, value: Any, kind: type) -> Any:
    """The value, if it is of its kind; UserCodeError otherwise."""
    if not isinstance(value, kind):
        raise UserCodeError(
            f"{function.place()}: {function.function} returns {_kind(value)}: return a"
            f" dsg_jax.types.{kind.__name__}"
        )
    return value


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"

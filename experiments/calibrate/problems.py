"""What the images of `calibrate` are and how they are measured: two priors and some tasks."""

from contextlib import suppress
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from dsg_jax.operators.blur import same
from dsg_jax.operators.linear import inpainting
from dsg_jax.operators.tasks import TASKS, operator_for
from dsg_jax.priors.mixture import smooth_mixture
from dsg_jax.types import Operator
from dsg_jax.user_code import is_user_code

SHAPE = (8, 8, 3)
_SQUARES = (np.arange(SHAPE[0]) - (SHAPE[0] - 1) / 2) ** 2
_SPOT = 0.4 * np.exp(-np.add.outer(_SQUARES, _SQUARES) / 2)[..., None].repeat(3, axis=2)
# Name -> the distribution of the images.
PRIORS = {
    # One Gaussian of mean 0. Two equal components, so that both priors have the same arrays and
    # share programs.
    "gaussian": smooth_mixture([0.5, 0.5], np.zeros((2, *SHAPE)), 0.25),
    # A bright spot in the middle, or a dark one: under a hole in the middle both are possible, and
    # the posterior has two modes.
    "spots": smooth_mixture([0.6, 0.4], np.stack([_SPOT, -_SPOT]), 0.2),
}


def operator_of(task: str, seed: int) -> Operator:
    """The operator of a task; all truths share it. The hole of a box is in the middle."""
    if "box" not in TASKS[task].options:
        return operator_for(task, SHAPE, seed)
    middle = np.zeros((SHAPE[0] // 2, SHAPE[1] // 2), np.float32)
    return inpainting(np.pad(middle, SHAPE[0] // 4, constant_values=1))


def _blurred_and_masked(mask: Array, left: Array, right: Array, x: Array) -> Array:
    return mask * jnp.einsum("ih,hwc,jw->ijc", left, x, right)


def _masked_and_blurred(mask: Array, left: Array, right: Array, y: Array) -> Array:
    return jnp.einsum("ih,ijc,jw->hwc", left, mask * y, right)


def one_form(operator: Operator) -> Operator:
    """A mask or a separable blur as A(X) = m (L X R'), with the same arrays for both.

    One program of a solver then serves all tasks. The "transpose" stays the identity.

    Raises:
      ValueError: an operator of another kind.
    """
    arrays = getattr(operator.forward, "args", ())
    h, w, _ = SHAPE
    kind = tuple(a.shape for a in arrays)
    forms = {
        ((h, w, 1),): (*arrays, jnp.eye(h), jnp.eye(w)),
        ((h, h), (w, w)): (jnp.ones((h, w, 1)), *arrays),
    }
    if kind not in forms:
        raise ValueError(f"an operator with arrays of shapes {kind} is neither mask nor blur")
    return Operator(
        Partial(_blurred_and_masked, *forms[kind]),
        Partial(_masked_and_blurred, *forms[kind]),
        Partial(same),
    )


def case_operator(task: str, seed: int) -> Operator:
    """The operator of a task: in `one_form`, or as a user's file has it.

    Raises:
      ValueError: the user's operator is not linear, or measures no image of `SHAPE`.
    """
    operator = operator_of(task, seed)
    if not is_user_code(task):
        return one_form(operator)
    y = jax.eval_shape(operator.forward, jax.ShapeDtypeStruct(SHAPE, np.float32))
    if not TASKS[task].linear or y.shape != SHAPE:
        raise ValueError(
            f"{task} gives {y.shape}: a posterior is known of linear operators, and calibrate takes"
            f" those whose measurements are {SHAPE} like the images"
        )
    return operator


@cache
def built_in_tasks() -> tuple[str, ...]:
    """The tasks whose operators `one_form` takes."""
    known = []
    for name, task in TASKS.items():
        with suppress(ValueError):  # of `one_form`, or of a task that needs larger images
            if task.linear and not is_user_code(name) and one_form(operator_of(name, 0)):
                known.append(name)
    return tuple(known)


def known_tasks() -> tuple[str, ...]:
    """The tasks of cases, a user's last; their order numbers them, see `Case.numbers`."""
    return (*built_in_tasks(), *filter(is_user_code, TASKS))

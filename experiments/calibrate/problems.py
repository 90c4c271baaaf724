"""What the images of `calibrate` are and how they are measured: two priors and some tasks."""

from functools import cache

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from dsg_jax.operators.blur import same
from dsg_jax.operators.linear import inpainting
from dsg_jax.operators.tasks import TASKS, operator_for
from dsg_jax.priors.mixture import Mixture, smooth_mixture
from dsg_jax.types import Operator

SHAPE = (8, 8, 3)


def gaussian() -> Mixture:
    """One Gaussian of mean 0 whose pixels have standard deviation 0.25.

    Written as two equal components, so that both priors have the same arrays and share programs.
    """
    return smooth_mixture([0.5, 0.5], np.zeros((2, *SHAPE)), 0.25)


def spots() -> Mixture:
    """Two kinds of image: with a bright spot in the middle (60 %) or with a dark one.

    Under a hole in the middle both are possible, and the posterior has two modes.
    """
    side = np.arange(SHAPE[0]) - (SHAPE[0] - 1) / 2
    spot = 0.4 * np.exp(-np.add.outer(side**2, side**2) / 2)
    bright = np.repeat(spot[..., None], SHAPE[2], axis=2)
    return smooth_mixture([0.6, 0.4], np.stack([bright, -bright]), 0.2)


PRIORS = {"gaussian": gaussian, "spots": spots}
"""Name -> the prior."""


def operator_of(task: str, seed: int) -> Operator:
    """The operator of a task; all truths share it. The hole of a box is in the middle."""
    if "box" not in TASKS[task].options:
        return operator_for(task, SHAPE, seed)
    mask = np.ones(SHAPE[:2], np.float32)
    quarter = SHAPE[0] // 4
    mask[quarter:-quarter, quarter:-quarter] = 0
    return inpainting(mask)


def _blurred_and_masked(mask: Array, left: Array, right: Array, x: Array) -> Array:
    return mask * jnp.einsum("ih,hwc,jw->ijc", left, x, right)


def _masked_and_blurred(mask: Array, left: Array, right: Array, y: Array) -> Array:
    return jnp.einsum("ih,ijc,jw->hwc", left, mask * y, right)


def one_form(operator: Operator, shape: tuple[int, int, int]) -> Operator:
    """A mask or a separable blur as A(X) = m (L X R'), with the same arrays for both.

    One program of a solver then serves all tasks. The "transpose" stays the identity.

    Raises:
      ValueError: an operator of another kind.
    """
    arrays = tuple(getattr(operator.forward, "args", ()))
    h, w, _ = shape
    identities = jnp.eye(h), jnp.eye(w)
    forms = {((h, w, 1),): (*arrays, *identities), ((h, h), (w, w)): (jnp.ones((h, w, 1)), *arrays)}
    kind = tuple(a.shape for a in arrays)
    if kind not in forms:
        raise ValueError(f"an operator with arrays of shapes {kind} is neither mask nor blur")
    form = forms[kind]
    return Operator(
        Partial(_blurred_and_masked, *form), Partial(_masked_and_blurred, *form), Partial(same)
    )


@cache
def known_tasks() -> tuple[str, ...]:
    """The tasks whose operators `one_form` takes; their order numbers them, see `Case.numbers`."""
    known = []
    for name, task in TASKS.items():
        try:
            if task.linear:
                one_form(operator_of(name, 0), SHAPE)
                known.append(name)
        except ValueError:
            continue
    return tuple(known)

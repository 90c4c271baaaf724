"""Run a solver: one `lax.scan` over its steps, unbatched. Batch it with `jax.vmap` outside."""

from collections.abc import Callable

import jax
from jax import Array
from jax.tree_util import Partial

from dsg_jax.types import Draw, Info, Solver


def _normal(key: Array, k: Array, shape: tuple[int, ...]) -> Array:
    return jax.random.normal(jax.random.fold_in(key, k), shape)


def normal_draws(key: Array) -> Draw:
    """Numbered standard normal draws of one run: draw k depends on the key and on k only."""
    return Partial(_normal, key)


def run(
    draw: Draw,
    solver: Solver,
    state,
    *,
    progress: Callable[[int], None] | None = None,
    record: Callable = lambda state, info: info,
):
    """Scan a solver from a given state: (last state, ``record`` of every step, stacked).

    ``progress(i)`` is called on the host after step i without leaving the compiled program; under
    `jax.vmap` once for the whole batch.
    """

    def body(state, at):
        i, at = at
        state, info = solver.step(draw, state, at)
        if progress is not None:
            jax.debug.callback(progress, i)
        return state, record(state, info)

    count = jax.tree.leaves(solver.steps)[0].shape[0]
    return jax.lax.scan(body, state, (jax.numpy.arange(count), solver.steps))


def sample(
    key: Array,
    solver: Solver,
    shape: tuple[int, int, int],
    *,
    progress: Callable[[int], None] | None = None,
) -> tuple[Array, Info]:
    """One posterior sample: the restored image (h, w, c), unclipped, and the `Info` of every step.

    Args:
      key: random key of this image and sample; nothing else influences the noise.
      solver: built by a function of `solvers` (inside `jit`, from traced pytrees).
      shape: (h, w, c) of the solver's state.
      progress: see `run`.
    """
    key_init, key_steps = jax.random.split(key)
    state = solver.init(jax.random.normal(key_init, shape))
    state, info = run(normal_draws(key_steps), solver, state, progress=progress)
    return solver.image(state), info

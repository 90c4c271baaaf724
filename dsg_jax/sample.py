"""Run a solver: one `lax.scan` over its steps, unbatched.

    key -> key_init, key_steps          draw(k, shape): the k-th normal array of key_steps
    state = init(normal(key_init))      an image or a latent, and what else a solver carries
    scan over at = steps[i]:            the times and constants of outer step i
        x0_hat = E[x0 | state]          the prior's network; on latents the first stage decodes it
        g = grad |y - A(x0_hat)|        guidance: towards the measurement
        g = U_r U_r' g V_r V_r'         `projection`: DiffStateGrad, if there is one
        state = next(state, g, at)      the solver's update, with draws of its own
        info = misfit, rank, share, finite
    image(state) -> (h, w, c)           what is returned, beside the info of all steps

Batch it with `jax.vmap` outside.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dsg_jax.draws import normal_draws
from dsg_jax.types import Draw, Ending, Info, Solver


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
    return jax.lax.scan(body, state, (jnp.arange(count), solver.steps))


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
    ending = end(solver, state)
    return ending.image, with_ending(info, ending)


def end(solver: Solver, state) -> Ending:
    """Make the restored image of the last state."""
    whole = solver.ending(state) if solver.ending else Ending(solver.image(state))
    return whole._replace(
        inner_steps=jnp.asarray(whole.inner_steps, jnp.int32),
        loss_ratio=jnp.asarray(whole.loss_ratio, jnp.float32),
    )


def with_ending(info: Info, ending: Ending) -> Info:
    """The `Info` of all steps, whose last one also tells of the restored image."""
    finite = info.finite[-1] & jnp.all(jnp.isfinite(ending.image))
    return info._replace(
        finite=info.finite.at[-1].set(finite),
        inner_steps=jnp.asarray(info.inner_steps).at[-1].add(ending.inner_steps),
        loss_ratio=jnp.asarray(info.loss_ratio).at[-1].multiply(ending.loss_ratio),
    )


def advance(
    key: Array, solver: Solver, shape: tuple[int, int, int], state, start: Array, count: int
) -> tuple[Any, Array, Info]:
    """``count`` steps of `sample` from step ``start``; so the host sees a run between its parts.

    One compiled program is every part of a run, for ``start`` may be traced.

    Args:
      key: as for `sample`.
      shape: as for `sample`.
      solver: with the steps of the whole run, of which start + count are there.
      state: what the part before returned; where ``start`` is 0 only its structure matters.
      start: () number of the first step.
      count: number of steps.

    Returns:
      The state, the restored image (zeros before the last step), and the `Info` of these steps.
    """
    key_init, key_steps = jax.random.split(key)
    first = lambda: solver.init(jax.random.normal(key_init, shape))
    state = jax.lax.cond(start == 0, first, lambda: state)
    total = jax.tree.leaves(solver.steps)[0].shape[0]
    part = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, start, count), solver.steps)
    state, info = run(normal_draws(key_steps), solver._replace(steps=part), state)
    image = jax.eval_shape(solver.image, state)
    blank = Ending(jnp.zeros(image.shape, image.dtype), jnp.int32(0), jnp.float32(1))
    last = lambda state: end(solver, state)
    ending = jax.lax.cond(start + count == total, last, lambda _: blank, state)
    return state, ending.image, with_ending(info, ending)

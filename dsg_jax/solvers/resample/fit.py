"""Hard data consistency: fit the measurement itself by AdamW, along projected gradients (ReSample).

    minimise mean((y - A(f(w)))^2) from w_0      f = identity (an image) or the decoder (a latent)

    for i = 0, 1, ...:
        G = gradient at w
        G <- P(G)                     where the period divides i
        w <- AdamW(G)
        stop by the loss before the update, or at the limit

P comes before the optimiser's moments, as in the released DiffStateGrad: AdamW rescales entry by
entry and decays w, so that the update itself leaves the subspace.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from dsg_jax.plug_ins import Guidance, follow, rank_of
from dsg_jax.solvers.guidance import gradient_share, residual
from dsg_jax.types import Problem

# Iterations over which the loss has to fall.
WINDOW = 200
# PyTorch's default for AdamW; optax's is 1e-4.
WEIGHT_DECAY = 0.01


class Descent(NamedTuple):
    """Step size and stopping rules of one optimisation; each may be traced.

    Attributes:
      limit: most updates.
      window: whether to stop when the loss exceeds that of `WINDOW` iterations before.
      eps_stop: stop when the loss is below eps_stop^2; 0 switches the rule off.
    """

    lr: Array | float
    limit: Array | int
    window: Array | bool
    eps_stop: Array | float = 1e-3


class Fit(NamedTuple):
    """A finished optimisation.

    Attributes:
      iterations: () updates made.
      first_loss: () loss at the start, NaN without updates.
      last_loss: () loss before the last update.
      losses: (`WINDOW`,) the last losses, that of iteration i at i mod `WINDOW`; NaN where none
        was.
      rank: (c,) singular vectors share per channel of w; the full rank without a projection.
      share: () mean of ||P(G)|| / ||G|| over the updates.
    """

    w: Array
    iterations: Array
    first_loss: Array
    last_loss: Array
    losses: Array
    rank: Array
    share: Array


def loss_ratio(result: Fit) -> Array:
    """() the last loss over the first; above 1 or NaN the optimisation diverged, 1 without one."""
    idle = (result.iterations == 0) | (result.first_loss == 0)
    return jnp.where(idle, 1.0, result.last_loss / result.first_loss)


class _Loop(NamedTuple):
    fit: Fit
    moments: Any
    memory: Any
    stopped: Array


def should_stop(descent: Descent, loss: Array, earlier: Array) -> Array:
    """The reference's two rules, applied after the update that ``loss`` preceded.

    ``earlier`` is the loss `WINDOW` iterations before, NaN if there was none. Both comparisons are
    strict and false for NaN, so that a diverged optimisation runs to its limit.
    """
    risen = jnp.asarray(descent.window) & (earlier < loss)
    return risen | (loss < jnp.square(descent.eps_stop))


def fit(
    problem: Problem,
    render: Callable[[Array], Array],
    start: Array,
    descent: Descent,
    *,
    projection: Guidance = None,
    space: Any = None,
    frozen: Array | int | None = None,
    project_update: bool = False,
) -> Fit:
    """Minimise mean((y - A(render(w)))^2) from ``start`` (h, w, c).

    Under `jax.vmap` the loop runs until every sample has stopped; one that stopped earlier keeps
    its result.

    Args:
      problem: measurement to explain.
      render: f, from w to the image that the operator takes.
      start: w_0.
      descent: learning rate and stopping rules.
      projection: None for the plain method.
      space: `plug_ins.begin(...)` of the same projection.
      frozen: this many updates, in place of the limit and both rules. The window rule is chaotic
        (noise of 1e-7 on y changes the counts by a hundred), so that runs are compared with frozen
        counts; batches also run evenly with them.
      project_update: project what AdamW adds to w, decay included, in place of the gradient. An
        ablation: with period 1, w - w_0 then stays in the subspace.
    """
    # Given Python floats, optax rounds 1 - b after the subtraction in the moments and before it in
    # their bias correction: 1e-5 of a step, which here adds up over the updates.
    b1, b2 = jnp.float32(0.9), jnp.float32(0.999)
    optimiser = optax.adamw(descent.lr, b1, b2, eps=1e-8, weight_decay=WEIGHT_DECAY)
    limit = descent.limit if frozen is None else frozen

    def loss(w: Array) -> Array:
        difference = residual(problem, render(w))
        return jnp.mean(difference * difference)

    def body(at: _Loop) -> _Loop:
        so_far, i = at.fit, at.fit.iterations
        value, g = jax.value_and_grad(loss)(so_far.w)
        if project_update:
            update, moments = optimiser.update(g, at.moments, so_far.w)
            whole, (update, memory, rank) = update, follow(projection, at.memory, i, update)
            share = gradient_share(update, whole)
        else:
            whole, (g, memory, rank) = g, follow(projection, at.memory, i, g)
            share = gradient_share(g, whole)
            update, moments = optimiser.update(g, at.moments, so_far.w)
        stopped = at.stopped
        if frozen is None:
            stopped = should_stop(descent, value, so_far.losses[i % WINDOW])
        return _Loop(_updated(so_far, update, value, rank, share), moments, memory, stopped)

    nothing = _no_updates(start, space)
    first = _Loop(nothing, optimiser.init(start), space, jnp.bool_(False))
    more = lambda at: (at.fit.iterations < limit) & ~at.stopped
    return jax.lax.while_loop(more, body, first).fit


def _no_updates(start: Array, space: Any) -> Fit:
    nan = jnp.float32(jnp.nan)
    losses = jnp.full(WINDOW, nan)
    return Fit(start, jnp.int32(0), nan, nan, losses, rank_of(space, start.shape), jnp.float32(1))


def _updated(so_far: Fit, update: Array, loss: Array, rank: Array, share: Array) -> Fit:
    i = so_far.iterations
    return Fit(
        w=so_far.w + update,
        iterations=i + 1,
        first_loss=jnp.where(i == 0, loss, so_far.first_loss),
        last_loss=loss,
        losses=so_far.losses.at[i % WINDOW].set(loss),
        rank=rank,
        share=so_far.share + (share - so_far.share) / (i + 1),
    )

"""Plug-ins: what becomes of a solver's gradients before it follows them.

    memory = start(state)                                   once per outer step
    for every gradient of the step:
        gradient, memory, rank = follow(state, gradient, memory)
        the solver moves along the gradient

A solver takes None (the plain method), a `Projection` (DiffStateGrad; its memory is the subspace),
a `PlugIn` (SPGD's `smoothing`, or functions of one's own), or a tuple of these: each gets what the
one before it returned, so that (Projection(), smoothing()) projects and then smooths. An inner loop
calls `begin` before it, `follow` inside, and carries the memory, which starts anew with each outer
step. Where there is one gradient an outer step, a plug-in that remembers is refused. `Info` has the
lowest of their ranks, and the norm of what was followed over that of the gradient as the share.
All are pytrees whose numbers are leaves: one compile serves every tau and beta.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from dsg_jax.checks import UNIT, check_number
from dsg_jax.projection import Subspace, decomposed, full_rank, is_due, project, subspace
from dsg_jax.types import Draw, Projection

# Norms below it count as it, as in PyTorch's cosine.
_SMALLEST_NORM = 1e-8


def _nothing(state: Array) -> None:
    """The memory of a plug-in that has none."""
    del state


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PlugIn:
    """Functions of one's own in the place of a projection, or behind one in a tuple.

    Each is a `jax.tree_util.Partial(function, numbers...)`, so that numbers do not recompile. Here
    gradients are shortened to a norm of 10 after they were projected:

        def clipped(limit, state, gradient, memory):
            norm = jnp.linalg.norm(gradient)
            return gradient * jnp.minimum(1, limit / norm), memory, None

        plug_in = PlugIn(Partial(clipped, 10.0))
        solver = daps(prior, problem, (Projection(), plug_in), settings)

    Attributes:
      follow: the outer step's state (h, w, c), the gradient (h, w, c) and the memory -> the
        gradient to follow, the memory for the next one, and (c,) ranks or None for the full ones.
      start: the outer step's state -> the memory, any pytree; `follow` may not change its shapes.
    """

    follow: Callable[[Array, Array, Any], tuple[Array, Any, Array | None]]
    start: Callable[[Array], Any] = Partial(_nothing)


# What a solver takes as its ``projection``; of a tuple, in this order.
Guidance = Projection | PlugIn | tuple[Projection | PlugIn, ...] | None


def smoothing(beta: Array | float = 0.9) -> PlugIn:
    """SPGD's smoothed guidance (ACM Multimedia 2025), as its paper describes it.

        h_1 = g_1,    h_j = a h_{j-1} + (1 - a) g_j,    a = beta (1 + cosine) / 2

    The cosine of g_j and h_{j-1} is taken over the channels and averaged over the pixels. The
    released code computes h and follows g.

    Args:
      beta: the most that the earlier gradients count, in [0, 1]; 0 leaves all as they are.

    Raises:
      ValueError: another ``beta``.
    """
    check_number("beta", beta, UNIT)
    return PlugIn(Partial(_smoothed, beta), Partial(_unsmoothed))


def _unsmoothed(state: Array) -> tuple[Array, Array]:
    """The memory h, and whether there is one yet."""
    return jnp.zeros_like(state), jnp.bool_(False)


def _smoothed(beta: Array, state: Array, g: Array, memory: tuple) -> tuple[Array, tuple, None]:
    del state
    h, is_later = memory
    unit = lambda v: v / jnp.maximum(jnp.linalg.norm(v, axis=-1, keepdims=True), _SMALLEST_NORM)
    cosine = jnp.mean(jnp.sum(unit(g) * unit(h), axis=-1))
    a = beta * (1 + cosine) / 2
    h = jnp.where(is_later, a * h + (1 - a) * g, g)
    return h, (h, jnp.bool_(True)), None


def parts_of(guidance: Guidance) -> tuple[Projection | PlugIn, ...]:
    """The plug-ins, in their order."""
    if guidance is None:
        return ()
    return guidance if isinstance(guidance, tuple) else (guidance,)


def unprojected(guidance: Guidance) -> Guidance:
    """The plug-ins without the projection."""
    return tuple(one for one in parts_of(guidance) if not isinstance(one, Projection)) or None


def begin(guidance: Guidance, draw: Draw, number: Array, state: Array) -> Any:
    """The memory of one inner loop, for `follow`; with period 0 nothing is decomposed.

    Args:
      guidance: of the solver.
      draw: of the run.
      number: () of the outer step; tells the ablation's random matrices apart.
      state: (h, w, c) what is decomposed, of the shape of the gradients.
    """
    if guidance is None:
        return None
    if isinstance(guidance, PlugIn):
        return state, guidance.start(state)
    if isinstance(guidance, tuple):
        return tuple(begin(one, draw, number, state) for one in guidance)
    if guidance.source == "gradient":  # each gradient brings its own subspace
        return None
    of_state = lambda: subspace(guidance, decomposed(guidance, draw, number, state, state))

    def unused() -> Subspace:
        forms = jax.eval_shape(of_state)
        blank = jax.tree.map(lambda form: jnp.zeros(form.shape, form.dtype), forms)
        return blank._replace(rank=full_rank(state.shape).astype(forms.rank.dtype))

    return jax.lax.cond(jnp.asarray(guidance.period) > 0, of_state, unused)


def rank_of(memory: Any, shape: tuple[int, ...]) -> Array:
    """(c,) ranks of the subspace that a memory holds; the full ones where it holds none."""
    is_space = lambda part: isinstance(part, Subspace)
    spaces = [one for one in jax.tree.leaves(memory, is_leaf=is_space) if is_space(one)]
    return (spaces[0].rank if spaces else full_rank(shape)).astype(jnp.int32)


def follow(guidance: Guidance, memory: Any, i: Array, g: Array) -> tuple[Array, Any, Array]:
    """The gradient to follow in inner step ``i``, the memory for the next one, and (c,) ranks."""
    rank = full_rank(g.shape)
    if guidance is None:
        return g, memory, rank
    if isinstance(guidance, PlugIn):
        state, before = memory
        g, after, ranks = guidance.follow(state, g, before)
        return g, (state, after), rank if ranks is None else ranks
    if isinstance(guidance, tuple):
        memories = []
        for one, before in zip(guidance, memory, strict=True):
            g, after, ranks = follow(one, before, i, g)
            memories.append(after)
            rank = jnp.minimum(rank, ranks)
        return g, tuple(memories), rank
    space = subspace(guidance, g) if memory is None else memory
    projected = jnp.where(is_due(guidance, i), project(space, g), g)
    rank = jnp.where(jnp.asarray(guidance.period) > 0, space.rank, rank)
    return projected, memory, rank.astype(jnp.int32)


def last_projected(guidance: Guidance, count: int) -> Array:
    """The last of ``count`` inner steps that is projected; without projection the last; or -1."""
    projections = [one for one in parts_of(guidance) if isinstance(one, Projection)]
    period = projections[0].period if projections else 1
    return jnp.where(period == 0, -1, (count - 1) // jnp.maximum(period, 1) * period)


def check_forgets(before: Any, after: Any) -> None:
    """Refuse a plug-in that changes its memory where no later gradient is there to use it.

    Raises:
      ValueError: the memory ``after`` is not the one ``before``.
    """
    changed = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    if any(one is not other for one, other in changed):
        raise ValueError(
            "a plug-in that remembers gradients, such as smoothing, changes nothing here: this"
            " solver follows one gradient an outer step, and memory starts anew with each: drop it"
        )

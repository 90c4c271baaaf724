"""DiffStateGrad (Zirvi et al., ICLR 2025): project the guidance gradient onto the state's subspace.

    Z_c = U S V'            thin SVD of every channel of the state
    r   = r(tau)            singular vectors that hold a share tau of the energy
    P(G)_c = U_r U_r' G_c V_r V_r'

Ranks are 0/1 masks on the singular vectors, never slices, so every tau shares one compile.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from dsg_jax.engines import ENGINES, matmul
from dsg_jax.types import Draw, Projection

_RANDOM_SUBSPACE = 2**30  # first number of the draws behind the ablation's random subspace


class Subspace(NamedTuple):
    """The two projectors of every channel, formed once and reused by an inner loop.

    Attributes:
      left: (c, h, h) U_r U_r', or None.
      right: (c, w, w) V_r V_r', or None.
      rank: (c,) singular vectors kept.
    """

    left: Array | None
    right: Array | None
    rank: Array


def full_rank(shape: tuple[int, ...]) -> Array:
    """The rank that a solver without a projection reports: min(h, w) for every channel."""
    return jnp.full(shape[-1], min(shape[:2]))


def per_channel_rank(energy: Array, tau: Array) -> Array:
    """The papers' rule: the smallest r whose leading energies reach tau, for each channel alone."""
    share = jnp.cumsum(energy, axis=1) / jnp.sum(energy, axis=1, keepdims=True)
    return 1 + jnp.sum(share < tau, axis=1)


def official_rank(energy: Array, tau: Array) -> Array:
    """The released code's rule: one cumulative sum over the channels end to end, then q // 3.

    The sum normally crosses tau in the last channel, so that the ranks of the others do not matter
    and their order does. The divisor is 3 whatever the channel count. Of c channels with n singular
    vectors each, every one then keeps

        c = 1      0 to n / 3        can be nothing: the gradient vanishes
        c = 2      n / 3 to 2n / 3
        c = 3      2n / 3 to n
        c >= 4     n                 the projection is the identity

    Departs from DiffStateGrad, Algorithm 1, where the rule is `per_channel_rank`: 1 to n, of each
    channel alone, whatever their number.
    """
    q = 1 + jnp.sum(jnp.cumsum(energy.ravel()) / jnp.sum(energy) < tau)
    return jnp.full(energy.shape[0], q // 3)


def mean_rank(energy: Array, tau: Array) -> Array:
    """The floor of the mean of the channels' own ranks (what the released docstring describes)."""
    return jnp.full(energy.shape[0], jnp.sum(per_channel_rank(energy, tau)) // energy.shape[0])


def fixed_rank(energy: Array, rank: Array) -> Array:
    """The given rank for every channel."""
    return jnp.full(energy.shape[0], rank).astype(jnp.int32)


def fraction_rank(energy: Array, fraction: Array) -> Array:
    """The given fraction of the full rank, rounded, at least one."""
    return fixed_rank(energy, jnp.maximum(1, jnp.round(fraction * energy.shape[1])))


# Rule -> function of the squared singular values (c, n), largest first, and tau; gives (c,).
RANK_RULES = {
    "official": official_rank,
    "per_channel": per_channel_rank,
    "mean": mean_rank,
    "rank": fixed_rank,
    "fraction": fraction_rank,
}


def subspace(projection: Projection, state: Array) -> Subspace:
    """Decompose a state (h, w, c) and form its projectors. Never differentiated.

    A matrix whose number sits on tau may change its rank with rounding, on any engine.
    """
    z = jax.lax.stop_gradient(jnp.moveaxis(state, -1, 0))
    u, s, v = ENGINES[projection.engine](z)
    full = s.shape[1]
    rule = projection.rule if callable(projection.rule) else RANK_RULES[projection.rule]
    rank = jnp.minimum(rule(s**2, jnp.asarray(projection.tau)), full)
    keep = (jnp.arange(full) < rank[:, None])[:, None, :]
    u, v = jnp.where(keep, u, 0), jnp.where(keep, v, 0)
    left = None if projection.sides == "right" else matmul(u, u.swapaxes(1, 2))
    right = None if projection.sides == "left" else matmul(v, v.swapaxes(1, 2))
    return Subspace(left, right, rank)


def is_due(projection: Projection, index: Array) -> Array:
    """Whether the step of this number is one that is projected; none is with period 0."""
    return (index % jnp.maximum(projection.period, 1) == 0) & (jnp.asarray(projection.period) > 0)


def project(space: Subspace, gradient: Array) -> Array:
    """P(G) of a gradient (h, w, c): U_r U_r' G V_r V_r' for every channel."""
    g = jnp.moveaxis(gradient, -1, 0)
    g = g if space.left is None else matmul(space.left, g)
    g = g if space.right is None else matmul(g, space.right)
    return jnp.moveaxis(g, 0, -1)


def decomposed(
    projection: Projection, draw: Draw, step: Array, state: Array, gradient: Array
) -> Array:
    """The matrix (h, w, c) whose subspace is used: the state, or Table 1's alternatives."""
    if projection.source == "gradient":
        return gradient
    if projection.source == "random":
        return draw(_RANDOM_SUBSPACE + step, state.shape)
    return state

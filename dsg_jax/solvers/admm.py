"""The inner loop of FAST-DIPS: the estimate nearest to x0 that explains the measurement, by ADMM.

    minimise ||x - x0||^2 / 2 sigma^2  where  ||A(x) - y|| <= epsilon

    x = x0 ; u = 0
    K - 1 times:
        w = A(x) + u ; v = w, moved into the ball of radius epsilon around y ; u = w - v
        S times, downhill on F(x) = ||x - x0||^2 / 2 sigma^2 + rho/2 ||A(x) - (v - u)||^2:
            g = P(grad F(x))
            a = clip( <grad F, g> / (|g|^2 / sigma^2 + rho |J g|^2), 0, 1 )      J = A'(x)
            while F(x - a g) > F(x), at most 8 times: a = a / 2
            x = x - a g

The released loop has K passes in another order. Its first one corrects nothing, because x = x0 and
v = A(x0) leave no gradient, and its last v and u are used by nobody: here both are left out.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from dsg_jax.checks import MOST_STEPS, NOT_NEGATIVE, POSITIVE, UPDATES, Range, check_fields
from dsg_jax.plug_ins import Guidance, follow, last_projected
from dsg_jax.solvers.guidance import check_measurement, gradient_share, safe_norm

PASSES = Range(
    lambda v: 2 <= v <= MOST_STEPS and v % 1 == 0,
    f"a whole number from 2 to {MOST_STEPS:,}; the first pass corrects nothing",
)
HALVINGS = 8
# Length of the forward difference, in units of g.
_DIFFERENCE = 1e-3


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class ADMM:
    """How one level's estimate is corrected.

    Attributes:
      rho: weight of the measurement against the estimate, > 0.
      epsilon: radius, >= 0, of the ball around y: absolute, for the norm of the whole measurement.
        Noise alone has sigma sqrt(y.size), so that the released 0.05 is practically A(x) = y.
      passes: K, >= 2.
      corrections: S, steps downhill in a pass, >= 1.
      line_search: J g by a forward difference over 0.001 g, or exact.
    """

    rho: Array | float = 200.0
    epsilon: Array | float = 0.05
    passes: int = field(default=3, metadata={"static": True})
    corrections: int = field(default=1, metadata={"static": True})
    line_search: Literal["difference", "exact"] = field(default="exact", metadata={"static": True})

    def __post_init__(self) -> None:
        check_fields(self, rho=POSITIVE, epsilon=NOT_NEGATIVE, passes=PASSES, corrections=UPDATES)


class Corrected(NamedTuple):
    """What became of an estimate.

    Attributes:
      x: (h, w, c).
      rank: (c,) singular vectors kept per channel.
      share: () ||P(G)|| / ||G|| of the last projection.
      step: ((K - 1) S,) the accepted a of every step downhill.
      halvings: ((K - 1) S,) how often it was halved before.
    """

    x: Array
    rank: Array
    share: Array
    step: Array
    halvings: Array


def admm(
    forward: Callable[[Array], Array],
    y: Array,
    x0: Array,
    sigma: Array,
    loop: ADMM,
    projection: Guidance,
    memory: Any,
) -> Corrected:
    """Correct the estimate x0 (h, w, c) of noise level sigma; ``memory`` is `plug_ins.begin`'s.

    Raises:
      ValueError: as `check_measurement`.
    """

    def one_pass(carry, k):
        x, u, memory = carry
        w = forward(x) + u
        check_measurement(y, w)
        norm = jnp.maximum(safe_norm(w - y), 1e-12)
        v = jnp.where(norm <= loop.epsilon, w, y + loop.epsilon / norm * (w - y))
        u = w - v

        def correction(carry, s):
            x, memory = carry
            downhill = lambda g: follow(projection, memory, k * loop.corrections + s, g)
            x, memory, account = corrected(forward, v - u, x, x0, sigma**2, loop, downhill)
            return (x, memory), account

        (x, memory), account = jax.lax.scan(correction, (x, memory), jnp.arange(loop.corrections))
        return (x, u, memory), account

    u = jnp.zeros(y.shape, y.dtype)
    (x, *_), account = jax.lax.scan(one_pass, (x0, u, memory), jnp.arange(loop.passes - 1))
    rank, share, step, halvings = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), account)
    return Corrected(x, rank[-1], share[last_projected(projection, len(share))], step, halvings)


def corrected(
    forward: Callable[[Array], Array],
    target: Array,
    x: Array,
    x0: Array,
    variance: Array,
    loop: ADMM,
    downhill: Callable[[Array], tuple[Array, Any, Array]],
) -> tuple[Array, Any, tuple[Array, Array, Array, Array]]:
    """One step on F along ``downhill`` of its gradient.

    Returns:
      x, the memory of ``downhill``, and an account: ranks, share, a, how often that was halved.
    """

    def energy(x: Array, predicted: Array) -> Array:
        square = lambda r: jnp.sum(r * r)
        return square(x - x0) / (2 * variance) + loop.rho / 2 * square(predicted - target)

    predicted, pullback = jax.vjp(forward, x)
    r = predicted - target
    whole = jnp.nan_to_num((x - x0) / variance + loop.rho * pullback(r)[0])
    g, memory, rank = downhill(whole)
    if loop.line_search == "exact":
        eta, change = 1.0, pushforward(pullback, r, g)
    else:
        eta, change = _DIFFERENCE, forward(x + _DIFFERENCE * g) - predicted
    slope = eta**2 / variance * jnp.sum((x - x0) * g) + eta * loop.rho * jnp.sum(r * change)
    curvature = eta**2 / variance * jnp.sum(g * g) + loop.rho * jnp.sum(change * change)
    a = jnp.clip(jnp.nan_to_num(slope / (curvature + 1e-12), posinf=0.0, neginf=0.0), 0, 1)

    def is_uphill(tried: tuple[Array, Array]) -> Array:
        a, halvings = tried
        moved = x - a * g
        return (halvings < HALVINGS) & (energy(moved, forward(moved)) > energy(x, predicted))

    halve = lambda tried: (tried[0] / 2, tried[1] + 1)
    a, halvings = jax.lax.while_loop(is_uphill, halve, (a, jnp.int32(0)))
    return x - a * g, memory, (rank, gradient_share(g, whole), a, halvings)


def pushforward(pullback: Callable, cotangent: Array, g: Array) -> Array:
    """J g from the ``pullback`` J' of `jax.vjp`, whose transpose it is; ``cotangent`` like A(x).

    Networks whose gradients are written out (`networks.layers`) have no forward mode of jax's.
    """
    (change,) = jax.linear_transpose(pullback, cotangent)((g,))
    return change

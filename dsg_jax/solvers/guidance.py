"""The pieces that every guided solver shares: misfit, norms, one projected gradient."""

from collections.abc import Mapping
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.sparse.linalg import cg

from dsg_jax.plug_ins import Guidance, begin, check_forgets, follow
from dsg_jax.projection import decomposed, full_rank, is_due, project, subspace
from dsg_jax.types import Draw, FirstStage, Info, Operator, Prior, Problem, Projection, numbers_in

Row = TypeVar("Row")

# Of the residual relative to the right-hand side; below it float32 gains nothing. Blurs with little
# noise come to the limit.
_CG_TOLERANCE, _CG_ITERATIONS = 1e-6, 200


def safe_norm(x: Array) -> Array:
    """Euclidean norm over all entries, with gradient 0 at x = 0."""
    square = jnp.sum(x * x)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def check_measurement(y: Array, predicted: Array) -> None:
    """Refuse a measurement that is none of this operator; shapes and types only, so also traced.

    Raises:
      ValueError: y is complex where A(x) is real, or has another shape, which would broadcast.
    """
    if jnp.iscomplexobj(y) and not jnp.iscomplexobj(predicted):
        raise ValueError(
            f"the measurement is {y.dtype} and the operator gives {predicted.dtype}: give real"
            " numbers, of a Fourier transform its magnitude"
        )
    if jnp.shape(y) != predicted.shape:
        raise ValueError(
            f"the measurement has shape {jnp.shape(y)} and the operator gives {predicted.shape}:"
            " give y as operator.forward makes it"
        )


def residual(problem: Problem, x: Array) -> Array:
    """The difference y - A(x).

    Raises:
      ValueError: as `check_measurement`.
    """
    predicted = problem.operator.forward(x)
    check_measurement(problem.y, predicted)
    return problem.y - predicted


def misfit(problem: Problem, x: Array) -> Array:
    """||y - A(x)||."""
    return safe_norm(residual(problem, x))


def regularised(operator: Operator, difference: Array, weight: Array) -> Array:
    """A' (A A' + weight I)^-1 of a measurement: how far x moves in a ridge regression on it.

    It is the x that minimises ||A x - difference||^2 + weight ||x||^2. An operator with a spectrum
    and A+ has it as A'A (A'A + weight I)^-1 A+, which no small weight makes large. Otherwise it is
    found by conjugate gradients to float32 accuracy, which end after as many iterations as A A' has
    distinct eigenvalues, a dozen for super-resolution. Not for operators without an adjoint.
    """
    adjoint, inverse = operator.adjoint, operator.pseudo_inverse
    if operator.spectral is not None and inverse is not None:
        return operator.spectral(lambda e: e / (e + weight), inverse(difference))
    assert adjoint is not None
    normal = lambda w: operator.forward(adjoint(w)) + weight * w
    w, _ = cg(normal, difference, tol=_CG_TOLERANCE, maxiter=_CG_ITERATIONS)
    return adjoint(w)


def gradient_share(projected: Array, gradient: Array) -> Array:
    """||P(G)|| / ||G||, 1 where the gradient vanishes."""
    whole = safe_norm(gradient)
    return jnp.where(whole > 0, safe_norm(projected) / jnp.where(whole > 0, whole, 1.0), 1.0)


def project_step(
    projection: Guidance, draw: Draw, index: Array, state: Array, gradient: Array
) -> tuple[Array, Array, Array]:
    """Project the gradient of outer step ``index``: (P(G), ranks, ||P(G)|| / ||G||).

    Steps that are no multiple of the period keep the raw gradient and skip the decomposition.

    Raises:
      ValueError: a plug-in that remembers gradients, of which there is one a step.
    """
    full = full_rank(state.shape)
    if projection is None:
        return gradient, full, jnp.ones(())
    if not isinstance(projection, Projection):
        memory = begin(projection, draw, index, state)
        result, after, rank = follow(projection, memory, index, gradient)
        check_forgets(memory, after)
        return result, rank, gradient_share(result, gradient)

    def projected():
        matrix = decomposed(projection, draw, index, state, gradient)
        space = subspace(projection, matrix)
        return project(space, gradient), space.rank.astype(full.dtype)

    result, rank = jax.lax.cond(is_due(projection, index), projected, lambda: (gradient, full))
    return result, rank, gradient_share(result, gradient)


def step_info(
    misfit: Array,
    rank: Array,
    share: Array,
    state: Array,
    inner_steps: Array | int = 0,
    loss_ratio: Array | float = 1.0,
) -> Info:
    """Collect what one step did."""
    finite, updates = jnp.all(jnp.isfinite(state)), jnp.asarray(inner_steps)
    return Info(misfit, rank, share, finite, updates, jnp.asarray(loss_ratio, jnp.float32))


def prior_for(problem: Problem, prior: Prior, highest: Array | float) -> Prior:
    """The prior as a solver asks it of a problem, whose class it takes.

    Steps whose first noise level is above those of the prior are refused; traced ones pass. A share
    of 5% is allowed: the closed form of ADM's clock ends at 152 and its table at 157.

    Raises:
      ValueError: one is above, so that the steps are another prior's; or the problem names a class
        and the prior takes none.
    """
    for sigma in numbers_in(highest):
        if sigma > 1.05 * prior.clock.sigma_max:
            raise ValueError(
                f"the steps start at sigma {sigma:.4g}, and the prior was trained up to "
                f"{prior.clock.sigma_max:.4g}: make the settings by settings_for with this prior"
            )
    if problem.label is None:
        return prior
    of_class = getattr(prior.network, "of_class", None)
    if of_class is None:
        raise ValueError(
            f"the problem has label={problem.label}, and this prior takes no class: leave it out"
        )
    return prior._replace(network=of_class(problem.label))


def first_stage_of(prior: Prior, solver: str) -> FirstStage:
    """The autoencoder of a latent prior; ValueError for a pixel prior."""
    if prior.first_stage is None:
        raise ValueError(f"{solver} works on latents and this prior has none: use dps or daps")
    return prior.first_stage


def published(table: Mapping[str, Row], task: str) -> Row:
    """A task's entry of a table of settings, or the default that the table states."""
    return table.get(task, table["default"])

"""What FlowDPS and FlowChef share: the grid, both ends of the flow, and the pull of y.

The state is z = (1 - s) z0 + s noise, on a latent prior of any clock (`diffusion.velocity`).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax import Array

from dsg_jax.checks import POSITIVE, UPDATES, check_number
from dsg_jax.diffusion import velocity
from dsg_jax.solvers.guidance import residual, safe_norm
from dsg_jax.types import Constants, Prior, Problem

# Of Stable Diffusion 3's times, before the shift of the sampler.
_TRAINED_SHIFT, _FIRST = 3.0, 0.001


class FlowSteps(NamedTuple):
    """The steps from noise to latent; (steps,), s float32 computed in float64.

    Attributes:
      index: number of the step.
      s: share of noise, 1 at first.
      s_next: the same after the step, 0 at last.
    """

    index: Constants
    s: Constants
    s_next: Constants


def flow_steps(steps: int = 28, shift: float = 4.0) -> FlowSteps:
    """The grid of the released code: s = shift r / (1 + (shift - 1) r) of even r, then 0.

    The larger the shift, the more steps are at high noise. The last positive s is that of the first
    of SD3's times, 0.012 for a shift of 4.

    Raises:
      ValueError: no steps, or more than there is memory for; a shift that is not positive.
    """
    check_number("steps", steps, UPDATES)
    check_number("shift", shift, POSITIVE)
    even = np.linspace(1, shifted(_FIRST, _TRAINED_SHIFT), steps)
    s = np.append(shifted(even, shift), 0).astype(np.float32)
    return FlowSteps(np.arange(steps), s[:-1], s[1:])


def shifted(s, shift: float):
    """Times of flow matching for larger images (Esser et al. 2024)."""
    return shift * s / (1 + (shift - 1) * s)


def ends(prior: Prior, z: Array, s: Array) -> tuple[Array, Array]:
    """The estimates E[z0 | z] and E[noise | z] at both ends of the flow."""
    v = velocity(prior, z, s)
    return z - s * v, z + (1 - s) * v


def pull(problem: Problem, decode: Callable[[Array], Array]) -> Callable:
    """The gradient of ||B(y - A(D(z)))|| in z, and ||y - A(D(z))||, for any latent.

    B is A+ where the operator has it, and else the adjoint: for super-resolution and masks A+, as
    in the released code. Nonlinear operators, which it does not know, have the identity.
    """
    operator = problem.operator
    back = operator.pseudo_inverse or operator.adjoint or (lambda r: r)

    def norms(z: Array) -> tuple[Array, Array]:
        difference = residual(problem, decode(z))
        return safe_norm(back(difference)), safe_norm(difference)

    return jax.grad(norms, has_aux=True)

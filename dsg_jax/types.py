"""The vocabulary. Read this file first.

Everything is unbatched: an image is one (h, w, c) float32 array in [-1, 1]. Batches are made once,
outside, by `jax.vmap` or `jax.lax.map`. Every value here is a pytree whose arrays are leaves, so a
new mask, kernel, measurement or tau of the same shape never recompiles. Functions that carry arrays
are `jax.tree_util.Partial(function, arrays...)`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple, get_args

import jax
import numpy as np
from jax import Array
from jax.core import Tracer

from dsg_jax.checks import COUNT, WHOLE, check_choice, check_fields
from dsg_jax.clock import Clock

# Standard normal noise by number: ``draw(k, shape)`` is the k-th draw of a run, every time.
Draw = Callable[[Array, tuple[int, ...]], Array]

# Keys of `projection.RANK_RULES`.
RankRule = Literal["official", "per_channel", "mean", "rank", "fraction"]

# Numbers computed on the host by numpy in float64; inside a compiled program a jax array.
Constants = Any


class Operator(NamedTuple):
    """What a camera does, noise apart: y = A(x). All but the first are for linear operators only.

    Attributes:
      forward: x (h, w, c) -> A(x), of any shape.
      adjoint: the exact transpose: <A x, y> = <x, adjoint(y)>.
      transpose: what the reference code calls so (identity, or pixel replication); PSLD uses it.
      pseudo_inverse: A+ where a cheap exact one exists (masks, super-resolution).
      spectral: f and x (h, w, c) -> f(A'A) x, for a function f of the eigenvalues, where they are
        known. With f(e) = 1 / (e / sigma^2 + 1 / rho^2) it solves, and with the root of f it draws
        from, the Gaussian exp(-||A z - y||^2 / 2 sigma^2 - ||z - x||^2 / 2 rho^2).
    """

    forward: Callable[[Array], Array]
    adjoint: Callable[[Array], Array] | None = None
    transpose: Callable[[Array], Array] | None = None
    pseudo_inverse: Callable[[Array], Array] | None = None
    spectral: Callable[[Callable[[Array], Array], Array], Array] | None = None


class Problem(NamedTuple):
    """A measurement to explain: y = operator.forward(x) + sigma * noise.

    Attributes:
      sigma: noise level in the units of y.
      label: () number of the image's class, for a class-conditional prior; None is the one that the
        prior was loaded with.
    """

    operator: Operator
    y: Array
    sigma: Array | float
    label: Array | np.int32 | int | None = None


class FirstStage(NamedTuple):
    """The autoencoder of a latent prior. Latents are scaled as the diffusion network takes them.

    Attributes:
      decode: (h/f, w/f, c_z) latent -> (h, w, c) image, unclipped and differentiable (straight
        through the nearest code, where there is a codebook).
      encode: (h, w, c) image and None -> (h/f, w/f, c_z) latent, never quantised, the mean of a KL
        encoder. With standard normal noise of the latent's shape instead of None, a KL encoder
        samples; one with a codebook ignores it.
      factor: f, how many pixels a side of a latent pixel covers.
    """

    decode: Callable[[Array], Array]
    encode: Callable[[Array, Array | None], Array]
    factor: Array | int


class Prior(NamedTuple):
    """A pretrained diffusion network and the clock by which it is asked; see `diffusion`.

    Attributes:
      network: (h, w, c) state in the clock's scaling and () time, possibly fractional -> (h, w, c)
        prediction, or (h, w, 2c) with the learned variance values behind it.
      clock: noise levels, times, scaling and prediction of the network.
      first_stage: None for a pixel prior; otherwise the network's states are latents.
    """

    network: Callable[[Array, Array], Array]
    clock: Clock
    first_stage: FirstStage | None = None

    @property
    def betas(self) -> Array:
        """(T,) the clock's."""
        return self.clock.betas


def unchecked_leaves(kind: type) -> type:
    """Register a frozen dataclass as a pytree that jax rebuilds without its checks.

    jax puts tracers, shapes and results of arithmetic in the place of numbers; whoever else builds
    one, from numbers of Python, numpy or jax, is checked.
    """
    names = [entry.name for entry in fields(kind)]
    static = [entry.name for entry in fields(kind) if entry.metadata.get("static")]
    leaves = [name for name in names if name not in static]
    values = lambda self, some: tuple(getattr(self, name) for name in some)

    def rebuilt(choices: tuple, numbers: Iterable) -> Any:
        self: Any = object.__new__(kind)
        for name, value in zip((*static, *leaves), (*choices, *numbers), strict=True):
            object.__setattr__(self, name, value)
        return self

    keys = [jax.tree_util.GetAttrKey(name) for name in leaves]
    jax.tree_util.register_pytree_with_keys(
        kind,
        lambda self: (tuple(zip(keys, values(self, leaves), strict=True)), values(self, static)),
        rebuilt,
        lambda self: (values(self, leaves), values(self, static)),
    )
    return kind


@unchecked_leaves
@dataclass(frozen=True)
class Projection:
    """How a guidance gradient is projected; ``None`` in its place is the plain method.

    Attributes:
      tau: share of the squared singular values to keep, in (0, 1]; for the rules "rank" and
        "fraction" the rank or the fraction of the full rank itself.
      period: project every period-th step (inner step, where a solver has an inner loop); 0 is
        never, as in the released code: the plain method, at its cost.
      rule: how tau becomes a rank: `projection.RANK_RULES` has the functions; or another function
        as they are.
      sides: "both" (U U' G V V'), "left" (U U' G) or "right" (G V V').
      source: what is decomposed: the state is DiffStateGrad, the others are for ablations.
      engine: how: "svd"; "gram", products and one symmetric eigen-decomposition, which a GPU has in
        one kernel for a batch; or "auto", "svd" on a CPU and "gram" elsewhere.
    """

    tau: Array | float = 0.99
    period: Array | int = 1
    rule: RankRule | Callable[[Array, Array], Array] = field(
        default="official", metadata={"static": True}
    )
    sides: Literal["both", "left", "right"] = field(default="both", metadata={"static": True})
    source: Literal["state", "gradient", "random"] = field(
        default="state", metadata={"static": True}
    )
    engine: Literal["auto", "svd", "gram"] = field(default="auto", metadata={"static": True})

    def __post_init__(self) -> None:
        """Refuse what is none of the above.

        Raises:
          ValueError: a choice that does not exist, or a number out of its range.
        """
        check_fields(self)
        if not callable(self.rule):
            check_choice("rule", self.rule, get_args(RankRule))
        for period in numbers_in(self.period):
            if not WHOLE.holds(period):
                raise ValueError(f"period={period}: give {WHOLE.words}; 0 is never")
        for tau in numbers_in(self.tau):
            if self.rule == "rank" and not COUNT.holds(tau):
                raise ValueError(
                    f"tau={tau} with rule='rank' is the rank itself: give {COUNT.words}"
                )
            if self.rule != "rank" and not 0 < tau <= 1:
                raise ValueError(f"tau={tau} is a share of the energy: give a value in (0, 1]")


def numbers_in(value: Any) -> list[int | float]:
    """The numbers of a field that may be a list of them; none of what jax puts in their place."""
    is_number = isinstance(value, int | float | np.ndarray | np.generic | Array)
    return [] if not is_number or isinstance(value, Tracer) else np.ravel(value).tolist()


class Info(NamedTuple):
    """What one outer step did.

    Attributes:
      misfit: () norm of y - A(x0_hat).
      rank: (c,) singular vectors kept per channel; the full rank without a projection.
      share: () norm of the gradient that was followed, projected and smoothed, over that of the
        gradient; 1 for the plain method.
      finite: () whether the new state is finite; of the last step also the restored image.
      inner_steps: () updates of the inner loop, where a solver has one.
      loss_ratio: () last over first loss of the step's optimisation (ReSample; of the last step:
        the final one). Above 1 or NaN it diverged; 1 without one.
    """

    misfit: Array
    rank: Array
    share: Array
    finite: Array
    inner_steps: Array | int = 0
    loss_ratio: Array | float = 1.0


class Ending(NamedTuple):
    """The restored image, and what made it of the last state, where that is an optimisation.

    Attributes:
      image: (h, w, c), unclipped.
      inner_steps: () its updates.
      loss_ratio: () as in `Info`.
    """

    image: Array
    inner_steps: Array | int = 0
    loss_ratio: Array | float = 1.0


class Solver(NamedTuple):
    """A sampler as data for one `lax.scan`; see `sample.sample`.

    Attributes:
      init: a standard normal image -> the first state.
      step: (draw, state, one entry of ``steps``) -> (state, info).
      steps: pytree of arrays with one leading axis: times and constants of every outer step.
      image: the last state -> the restored image, unclipped.
      ending: the same with an account of it, for `Info`; None where ``image`` is all there is.
    """

    init: Callable[[Array], Any]
    step: Callable[[Draw, Any, Any], tuple[Any, Info]]
    steps: Any
    image: Callable[[Any], Array]
    ending: Callable[[Any], Ending] | None = None

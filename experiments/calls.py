"""How often a program asks a prior's networks, counted while it runs.

    tally = Counter()
    jax.jit(whole)(..., counted(prior, tally))
    total(tally)                            {"network": 200, "network VJP": 200, ...}

Count one sample: a call under `jax.vmap` counts once for the whole batch. A VJP is the pass back
through the network that a gradient takes beside the call itself.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax import Array
from jax.tree_util import Partial

from dsg_jax.types import Prior


def counted(prior: Prior, tally: Counter) -> Prior:
    """The same prior, whose calls are added to ``tally`` on the host.

    Its functions have no forward mode.

    Args:
      prior: any.
      tally: of "network", "network VJP", and of latent priors "decoder", "decoder VJP", "encoder",
        "encoder VJP". Complete once `total` is asked.
    """
    counting = lambda function, name: Partial(partial(_counted, tally, name), function)
    stage = prior.first_stage
    if stage is not None:
        encode = Partial(partial(_encode, tally), stage.encode)
        stage = stage._replace(decode=counting(stage.decode, "decoder"), encode=encode)
    return prior._replace(network=counting(prior.network, "network"), first_stage=stage)


def total(tally: Counter) -> dict[str, int]:
    """The counts, when every program that was started has ended."""
    jax.effects_barrier()
    return dict(tally)


def _encode(tally: Counter, encode: Callable, x: Array, noise: Array | None) -> Array:
    # None, which says that there is no noise, is no argument that could be differentiated.
    function = encode if noise is not None else Partial(lambda encode, x: encode(x, None), encode)
    return _counted(tally, "encoder", function, *((x,) if noise is None else (x, noise)))


def _counted(tally: Counter, name: str, function: Any, *arguments: Array) -> Array:
    def add(what: str) -> None:
        jax.debug.callback(lambda: tally.update([what]))

    @jax.custom_vjp
    def call(function: Any, *arguments: Array) -> Array:
        add(name)
        return function(*arguments)

    def forward(function: Any, *arguments: Array) -> tuple[Array, Callable]:
        add(name)
        return jax.vjp(lambda *arguments: function(*arguments), *arguments)

    def backward(pull: Callable, cotangent: Array) -> tuple:
        add(f"{name} VJP")
        return None, *pull(cotangent)  # the weights stay as they are

    call.defvjp(forward, backward)
    return call(function, *arguments)

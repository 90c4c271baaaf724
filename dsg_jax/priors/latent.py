"""Latent diffusion networks as those of a `Prior`, with a stored conditioning."""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jax.typing import ArrayLike

from dsg_jax.clock import Clock, Prediction, table_clock
from dsg_jax.networks import autoencoder, ldm
from dsg_jax.networks.autoencoder import AutoencoderConfig
from dsg_jax.networks.ldm import LDMConfig, LDMUNet
from dsg_jax.types import FirstStage, Prior


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LDMNetwork:
    """A latent diffusion U-Net for one unbatched latent; `with_guidance` sets the conditioning.

    With ``unconditional`` the output is eps_u + scale (eps_c - eps_u), the classifier-free guidance
    of Ho & Salimans 2022, from one evaluation of a batch of two; without it there is one pass.

    Attributes:
      context: (tokens, context_dim); None for an unconditional network.
      unconditional: the same for the guidance's second pass; None for a single pass.
      scale: guidance scale: 1 is the conditional prediction, 0 the unconditional one.
      dtype: compute type of the network; norms, softmax, output and guidance are float32.
      remat: recompute the blocks in the backward pass: see `LDMUNet`.
    """

    params: dict
    config: LDMConfig = field(metadata={"static": True})
    context: Array | None = None
    unconditional: Array | None = None
    scale: Array | float = 1.0
    dtype: str = field(default="float32", metadata={"static": True})
    remat: bool = field(default=False, metadata={"static": True})

    def __call__(self, z: Array, t: Array) -> Array:
        """(h, w, c) latent and () time -> (h, w, c) prediction.

        Raises:
          ValueError: a latent or a context that the network does not take.
        """
        t = jnp.asarray(t, jnp.float32)
        network = LDMUNet(self.config, jnp.dtype(self.dtype), self.remat)
        contexts = [c for c in (self.unconditional, self.context) if c is not None]
        passes = max(1, len(contexts))
        states, times = jnp.stack([z] * passes), jnp.stack([t] * passes)
        batch = jnp.stack(contexts) if contexts else None
        out = network.apply({"params": self.params}, states, times, batch)
        return out[0] if passes == 1 else out[0] + self.scale * (out[1] - out[0])


def with_guidance(
    network: LDMNetwork,
    context: ArrayLike,
    unconditional: ArrayLike | None = None,
    scale: float = 1.0,
) -> LDMNetwork:
    """The network conditioned on stored embeddings; one pass where guidance would do nothing.

    Class-conditional (cin256-v2): an embedding is one row of the class table, shape (1, 512). DAPS
    conditions on the null class, row 1000, alone; to guide towards class k, give row k as
    ``context`` and row 1000 as ``unconditional`` (`load_prior` does so).
    Text-conditional (Stable Diffusion): an embedding is the text encoder's last hidden state after
    its final norm, (77, 768), computed once elsewhere and stored. PSLD's default is the empty
    prompt in both places at scale 7.5, which in exact arithmetic is no guidance at all.

    Args:
      network: any conditional network.
      context: (tokens, context_dim).
      unconditional: the same shape, or None.
      scale: guidance scale, a number known now.

    Returns:
      A network that evaluates the U-Net once if ``unconditional`` is None or equals ``context``, or
      ``scale`` is 1 (``context`` alone) or 0 (``unconditional`` alone); else on a batch of two.

    Raises:
      ValueError: an unconditional network, or embeddings that do not have its context's shape.
    """
    dim = network.config.context_dim
    shape = np.shape(context)
    if dim is None or len(shape) != 2 or shape[1] != dim:
        takes = "takes no context" if dim is None else f"needs (tokens, {dim})"
        raise ValueError(f"the context's shape is {shape}, but this network {takes}")
    if unconditional is None or scale == 1:
        return replace(network, context=jnp.asarray(context), unconditional=None)
    if np.shape(unconditional) != shape:
        raise ValueError(
            f"context {shape} and unconditional {np.shape(unconditional)} go through the network "
            "as one batch; give them one shape"
        )
    if scale == 0 or np.array_equal(context, unconditional):
        return replace(network, context=jnp.asarray(unconditional), unconditional=None)
    both = jnp.asarray(context), jnp.asarray(unconditional)
    return replace(network, context=both[0], unconditional=both[1], scale=scale)


def latent_prior(
    network: LDMNetwork,
    schedule: Clock | ArrayLike,
    first_stage: FirstStage,
    parametrisation: Prediction = "eps",
) -> Prior:
    """A prior over latents: the network, its clock, and the autoencoder it lives in.

    Args:
      network: of latents.
      schedule: a clock, or the (T,) variances of a table. The FFHQ and ImageNet models have
        ``scaled_linear_betas()``, Stable Diffusion has ``scaled_linear_betas(0.00085, 0.012)``.
      first_stage: the autoencoder.
      parametrisation: what the network answers on a table; a clock says it itself.

    Raises:
      ValueError: no such parametrisation, or variances outside (0, 1].
    """
    clock = schedule if isinstance(schedule, Clock) else table_clock(schedule, parametrisation)
    return Prior(network, clock, first_stage)


def with_remat(prior: Prior) -> Prior:
    """A latent prior with its blocks recomputed in the backward pass: less memory, more time.

    Numbers agree up to rounding. ``experiments memory`` prints what it saves at published sizes.

    Raises:
      ValueError: a prior over pixels, or one with a network other than `LDMNetwork`.
    """
    stage, network = prior.first_stage, prior.network
    if stage is None or not isinstance(network, LDMNetwork):
        what = "is over pixels" if stage is None else "has another network"
        raise ValueError(f"remat is an option of latent priors, and this one {what}: leave it out")

    def recomputing(half: Any) -> Partial:
        autoencoder, *rest = half.args
        return Partial(half.func, autoencoder.clone(remat=True), *rest)

    stage = stage._replace(decode=recomputing(stage.decode), encode=recomputing(stage.encode))
    return prior._replace(network=replace(network, remat=True), first_stage=stage)


def init_latent_params(unet: LDMConfig, stage: AutoencoderConfig) -> dict:
    """Fresh parameters of a latent prior: its U-Net's and its first stage's, as `init_params`."""
    key = jax.random.key(0)
    return {
        "unet": ldm.init_params(unet, key),
        "first_stage": autoencoder.init_params(stage, key),
    }

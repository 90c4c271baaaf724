"""First stages of latent priors: an autoencoder's parameters as `types.FirstStage`."""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.tree_util import Partial

from dsg_jax.networks.autoencoder import VQ_F4, Autoencoder, AutoencoderConfig
from dsg_jax.types import FirstStage

# Positions whose distances to all codes are in memory at once: 16 MB for 8192 codes.
CHUNK = 512

# Where an autoencoder's parameters hold the codes: ``params[CODES]["kernel"]``, one a column.
CODES = "quantize.embedding"

jax.tree_util.register_static(Autoencoder)


def vq_first_stage(
    params: dict,
    config: AutoencoderConfig = VQ_F4,
    *,
    scale: Array | float = 1.0,
    force_not_quantize: bool = False,
    dtype: str = "float32",
    remat: bool = False,
) -> FirstStage:
    """The first stage of a model with a codebook (the LDMs of Rombach et al. 2022 on VQ-f4).

        encode(x) = s E(x)          decode(z) = D(q(z / s)),  q(z) = argmin over codes ||z - e||

    E ends before the quantisation and D begins with it. The gradient of q is that of the identity
    (straight through), so d decode / dz is the decoder's own Jacobian at the nearest code.

    Args:
      params: parameters of `Autoencoder`, without an outer "params".
      config: the architecture; ``codes`` must be set.
      scale: s; 1 for the published models, for others what makes latents of unit variance.
      force_not_quantize: decode z / s as it is; the reference's option of that name.
      dtype: compute type of convolutions and attention, "float32" or "bfloat16"; norms, softmax and
        the search for the nearest code are always float32.
      remat: recompute blocks in the backward pass instead of storing their activations.

    Raises:
      ValueError: an architecture without codes.
    """
    if not config.codes:
        raise ValueError(
            f"codes={config.codes} is an autoencoder without codebook: use kl_first_stage"
        )
    network = Autoencoder(config, jnp.dtype(dtype), remat)
    decode = _decode if force_not_quantize else _vq_decode
    return FirstStage(
        Partial(decode, network, _part(params, "decoder", "post_quant_conv", CODES), scale),
        Partial(_vq_encode, network, _part(params, "encoder", "quant_conv"), scale),
        config.factor,
    )


def kl_first_stage(
    params: dict,
    config: AutoencoderConfig,
    scale: Array | float = 0.18215,
    *,
    dtype: str = "float32",
    remat: bool = False,
) -> FirstStage:
    """The first stage of a model with a Gaussian bottleneck (Stable Diffusion's KL-f8).

        encode(x, n) = s (mean(x) + exp(log_variance(x) / 2) n)          decode(z) = D(z / s)

    with the log-variance clipped to [-30, 20], and the mean alone where n is None.

    Args:
      params: parameters of `Autoencoder`, without an outer "params".
      config: the architecture; ``codes`` must be None.
      scale: s, what makes latents of about unit variance; the default is Stable Diffusion's.
      dtype: as for `vq_first_stage`.
      remat: as for `vq_first_stage`.

    Raises:
      ValueError: an architecture with codes.
    """
    if config.codes:
        raise ValueError(f"codes={config.codes} is a codebook: use vq_first_stage")
    network = Autoencoder(config, jnp.dtype(dtype), remat)
    return FirstStage(
        Partial(_decode, network, _part(params, "decoder", "post_quant_conv"), scale),
        Partial(_kl_encode, network, _part(params, "encoder", "quant_conv"), scale),
        config.factor,
    )


def nearest_code(codes: Array, z: Array, chunk: int = CHUNK) -> Array:
    """Index of the code with the smallest squared distance, the first of equals.

        argmin_k ||z - e_k||^2 = argmin_k ||e_k||^2 - 2 <z, e_k>

    Args:
      codes: (c, n), one code a column.
      z: (..., c) latent pixels.
      chunk: positions compared at once; the largest array in here has chunk x n entries.

    Returns:
      (...) int32; without a gradient.
    """
    codes = lax.stop_gradient(codes.astype(jnp.float32))
    squares = jnp.sum(codes**2, axis=0)

    def nearest(position: Array) -> Array:
        inner = jnp.matmul(position, codes, precision=lax.Precision.HIGHEST)
        return jnp.argmin(squares - 2 * inner)

    positions = lax.stop_gradient(z.astype(jnp.float32)).reshape(-1, z.shape[-1])
    return lax.map(nearest, positions, batch_size=chunk).reshape(z.shape[:-1])


def quantized(codes: Array, z: Array) -> Array:
    """The nearest code at every position of (h, w, c), with the gradient of the identity in z."""
    code = jnp.asarray(codes).T[nearest_code(codes, z)]
    return z + lax.stop_gradient(code - z)


def _part(params: dict, *names: str) -> dict:
    return {name: params[name] for name in names}


def _decode(network: Autoencoder, params: dict, scale: Array | float, z: Array) -> Array:
    return network.apply({"params": params}, (z / scale)[None], method="decode")[0]


def _vq_decode(network: Autoencoder, params: dict, scale: Array, z: Array) -> Array:
    return _decode(network, params, 1.0, quantized(params[CODES]["kernel"], z / scale))


def _encode(network: Autoencoder, params: dict, x: Array) -> Array:
    return network.apply({"params": params}, x[None], method="encode")[0]


def _vq_encode(network: Autoencoder, params: dict, scale: Array, x: Array, noise) -> Array:
    del noise
    return scale * _encode(network, params, x)


def _kl_encode(network: Autoencoder, params: dict, scale: Array, x: Array, noise) -> Array:
    mean, log_variance = jnp.split(_encode(network, params, x), 2, axis=-1)
    if noise is None:
        return scale * mean
    return scale * (mean + jnp.exp(jnp.clip(log_variance, -30.0, 20.0) / 2) * noise)

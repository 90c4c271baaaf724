"""The spatial transformer of latent diffusion (Rombach et al. 2022): tokens attend to a context.

Modules carry the checkpoint's names, as in `layers`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from dsg_jax.networks.layers import Conv, GroupNorm, attention

_ZEROS = nn.initializers.zeros


class CrossAttention(nn.Module):
    """softmax(q k' / sqrt(d)) v with ``heads`` heads of width d = c / heads, softmax in float32."""

    heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array, context: Array) -> Array:
        """(b, n, c) queries and (b, m, c') context, of which keys and values -> (b, n, c)."""
        c = x.shape[-1]

        def project(name: str, tokens: Array) -> Array:
            out = nn.Dense(c, use_bias=False, dtype=self.dtype, name=name)(tokens)
            return out.reshape(*tokens.shape[:2], self.heads, c // self.heads)

        q, k, v = project("to_q", x), project("to_k", context), project("to_v", context)
        attended = attention(q * (c // self.heads) ** -0.5, k, v).reshape(x.shape)
        return nn.Dense(c, dtype=self.dtype, name="to_out.0")(attended)


class SpatialTransformer(nn.Module):
    """One transformer block over the pixels: self-attention, cross-attention, feed-forward.

    Each of the three is added to its input, and the whole to the map. The feed-forward layer is
    ``W2 (a * gelu(g))`` with (a, g) = W1 x, the exact (erf) GELU. Norms are float32: a group norm
    with eps 1e-6 in front, layer norms with eps 1e-5 inside.
    """

    heads: int
    norm_groups: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array, context: Array) -> Array:
        """(b, h, w, c) map and (b, tokens, dim) context -> map of the same shape."""
        c, dtype, block = x.shape[-1], self.dtype, "transformer_blocks.0"
        if self.heads < 1 or c % self.heads:
            raise ValueError(
                f"{c} channels cannot be split into {self.heads} heads; choose num_heads, or "
                f"num_head_channels, that divides {c}"
            )

        def norm(k: int, tokens: Array) -> Array:
            layer = nn.LayerNorm(1e-5, use_fast_variance=False, name=f"{block}.norm{k}")
            return layer(tokens.astype(jnp.float32)).astype(dtype)

        h = GroupNorm(self.norm_groups, eps=1e-6, name="norm")(x).astype(dtype)
        h = Conv(c, size=1, dtype=dtype, name="proj_in")(h).reshape(x.shape[0], -1, c)
        normed = norm(1, h)
        h = h + CrossAttention(self.heads, dtype, name=f"{block}.attn1")(normed, normed)
        h = h + CrossAttention(self.heads, dtype, name=f"{block}.attn2")(norm(2, h), context)
        wide = nn.Dense(8 * c, dtype=dtype, name=f"{block}.ff.net.0.proj")(norm(3, h))
        value, gate = jnp.split(wide, 2, axis=-1)
        value = value * jax.nn.gelu(gate, approximate=False)
        h = h + nn.Dense(c, dtype=dtype, name=f"{block}.ff.net.2")(value)
        h = h.reshape(x.shape)
        return x + Conv(c, size=1, dtype=dtype, kernel_init=_ZEROS, name="proj_out")(h)

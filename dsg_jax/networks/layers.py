"""Layers that the U-Nets share, with the numerical conventions of the PyTorch checkpoints.

Layout is NHWC. Every module has an explicit ``name`` equal to its place in the checkpoint, so the
Flax path of a parameter, joined by dots, is the checkpoint's key (only the leaf differs: ``kernel``
and ``scale`` are called ``weight`` there).
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

_NHWC = ("NHWC", "HWIO", "NHWC")


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _stride1_conv(x: Array, kernel: Array, padding: tuple) -> Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=_NHWC)


def _stride1_conv_fwd(x, kernel, padding):
    return _stride1_conv(x, kernel, padding), (x, kernel)


def _stride1_conv_bwd(padding, residuals, g):
    x, kernel = residuals
    mirrored = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
    sides = zip(kernel.shape[:2], padding, strict=True)
    full = tuple((k - 1 - low, k - 1 - high) for k, (low, high) in sides)
    dx = lax.conv_general_dilated(g, mirrored, (1, 1), full, dimension_numbers=_NHWC)
    plain = partial(lax.conv_general_dilated, window_strides=(1, 1), padding=padding)
    _, kernel_vjp = jax.vjp(lambda w: plain(x, w, dimension_numbers=_NHWC), kernel)
    return dx, *kernel_vjp(g)


_stride1_conv.defvjp(_stride1_conv_fwd, _stride1_conv_bwd)


def conv_general_dilated(x, kernel, window_strides, padding, **kwargs) -> Array:
    """`lax.conv_general_dilated`, with an input gradient that is fast inside CPU loops.

    XLA:CPU runs the transposed convolution of a stride-1 input gradient 3-6x slower inside
    `lax.scan` than outside (jax issue 12868). Writing that gradient as a plain convolution of the
    cotangent with the mirrored kernel avoids it; the numbers agree to float32 rounding. Other
    backends, strides, layouts, dilations and groups go to XLA unchanged. Reverse mode only on the
    CPU.
    """
    plain = all(s == 1 for s in window_strides) and not isinstance(padding, str)
    if plain and kwargs == {"dimension_numbers": _NHWC} and jax.default_backend() == "cpu":
        return _stride1_conv(x, kernel, tuple(map(tuple, padding)))
    return lax.conv_general_dilated(x, kernel, window_strides, padding, **kwargs)


class Conv(nn.Module):
    """Square convolution, zero-padded by ``padding`` = (before, after) along both axes.

    None is PyTorch's ``padding=size // 2``.
    """

    features: int
    size: int = 3
    stride: int = 1
    padding: tuple[int, int] | None = None
    dtype: jnp.dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """(b, h, w, c) -> (b, h', w', features), computed in ``dtype``."""
        pad = self.padding or (self.size // 2, self.size // 2)
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = (a.astype(self.dtype) for a in (x, kernel, bias))
        strides = (self.stride, self.stride)
        return conv_general_dilated(x, kernel, strides, (pad, pad), dimension_numbers=_NHWC) + bias


class GroupNorm(nn.Module):
    """Group normalisation in float32: biased variance in two passes, ``eps`` 1e-5 (PyTorch).

    The statistics are taken per channel and then over each group's channels, which XLA:CPU runs
    3-5x faster than one reduction over a (b, h, w, group, channel) view.
    """

    groups: int = 32
    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """(b, h, w, c) of any floating type -> float32 of the same shape."""
        if x.shape[-1] % self.groups:
            raise ValueError(
                f"{x.shape[-1]} channels cannot be split into {self.groups} groups; use channel "
                "counts that are multiples of the group count"
            )
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        centred = x.astype(jnp.float32)
        centred = centred - self._group_mean(centred)
        variance = self._group_mean(centred * centred)
        return centred * (lax.rsqrt(variance + self.eps) * scale) + bias

    def _group_mean(self, x: Array) -> Array:
        """(b, h, w, c) -> (b, 1, 1, c), constant within each group of channels."""
        b, h, w, c = x.shape
        per_channel = x.reshape(b, h * w, c).mean(axis=1)
        per_group = per_channel.reshape(b, self.groups, c // self.groups).mean(axis=2)
        return jnp.repeat(per_group, c // self.groups, axis=1)[:, None, None]


def timestep_embedding(
    t: Array, width: int, freq_shift: float = 0, cosines_first: bool = True
) -> Array:
    """Sinusoidal embedding; ``t`` (b,), possibly fractional -> (b, width), 0 at the end if odd.

    Frequency i is 10000^(-i / (width // 2 - freq_shift)); the paper of DDPM has a shift of 1.
    """
    half = width // 2
    steps = jnp.arange(half, dtype=jnp.float32) / (half - freq_shift)
    angles = t.astype(jnp.float32)[:, None] * jnp.exp(-jnp.log(10000.0) * steps)
    waves = [jnp.cos(angles), jnp.sin(angles)]
    embedding = jnp.concatenate(waves if cosines_first else waves[::-1], axis=-1)
    return jnp.pad(embedding, ((0, 0), (0, width % 2)))


@jax.custom_vjp
def attention(q: Array, k: Array, v: Array) -> Array:
    """softmax(q k') v of every head, softmax in float32.

    Its gradient is written out, for two reasons: the large matrices (n, m) stay as they lie in
    memory, which XLA:CPU would transpose, and none of them is made only to be normalised.

    Args:
      q: (b, n, h, d) queries, scaled.
      k: (b, m, h, d) keys.
      v: (b, m, h, d) values.

    Returns:
      (b, n, h, d) of the values' type.
    """
    return _attention_fwd(q, k, v)[0]


def _attention_fwd(q: Array, k: Array, v: Array) -> tuple[Array, tuple]:
    q, k, v = (a.transpose(0, 2, 1, 3) for a in (q, k, v))
    logits = _product(q, k.swapaxes(2, 3))
    powers = jnp.exp(logits - logits.max(axis=3, keepdims=True))
    total = powers.sum(axis=3, keepdims=True)
    out = _product(powers.astype(v.dtype), v) / total
    return out.transpose(0, 2, 1, 3).astype(v.dtype), (q, k, v, powers, total, out)


def _attention_bwd(residuals: tuple, g: Array) -> tuple[Array, Array, Array]:
    q, k, v, powers, total, out = residuals
    g = g.transpose(0, 2, 1, 3).astype(jnp.float32) / total
    centre = jnp.sum(g * out, axis=3, keepdims=True)
    g = g.astype(v.dtype)
    dlogits = (powers * (_product(g, v.swapaxes(2, 3)) - centre)).astype(v.dtype)
    dq = _product(dlogits, k)
    dk = _product(q.swapaxes(2, 3), dlogits).swapaxes(2, 3)
    dv = _product(g.swapaxes(2, 3), powers.astype(v.dtype)).swapaxes(2, 3)
    dq, dk, dv = (d.transpose(0, 2, 1, 3).astype(v.dtype) for d in (dq, dk, dv))
    return dq, dk, dv


def _product(x: Array, y: Array) -> Array:
    return jnp.matmul(x, y, preferred_element_type=jnp.float32)


attention.defvjp(_attention_fwd, _attention_bwd)


def upsample_nearest(x: Array) -> Array:
    """Repeat every pixel of (b, h, w, c) two times along both axes.

    Stacked and not repeated: the gradient of `jnp.repeat` is a reduction, which XLA:CPU fuses with
    the convolution behind it into a kernel of one thread.
    """
    b, h, w, c = x.shape
    rows = jnp.stack((x, x), axis=2).reshape(b, 2 * h, w, c)
    return jnp.stack((rows, rows), axis=3).reshape(b, 2 * h, 2 * w, c)


def average_pool(x: Array) -> Array:
    """2x2 average pooling of (b, h, w, c) with even h and w."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))


def filtered_down(x: Array, taps: tuple[int, ...], padding: int | None = None) -> Array:
    """Filter (b, h, w, c) by symmetric taps along both axes and keep every second value.

    Args:
      x: of even sides, where padding is left out.
      taps: (1, 1) is `average_pool`; EDM's other filter is (1, 3, 3, 1).
      padding: zeros at each end, (n - 1) // 2 of n taps.
    """
    pad = (len(taps) - 1) // 2 if padding is None else padding
    for axis in (1, 2):
        widths = [(pad, pad) if a == axis else (0, 0) for a in range(x.ndim)]
        count = (x.shape[axis] + 2 * pad - len(taps)) // 2 + 1
        x = _filtered(jnp.pad(x, widths), taps, axis, count, 2)
    return x


def filtered_up(x: Array, taps: tuple[int, ...]) -> Array:
    """Double the sides of (b, h, w, c), with zeros between the values filtered by symmetric taps.

    (1, 1) is `upsample_nearest`.
    """
    pad = len(taps) - 1 - (len(taps) - 1) // 2
    for axis in (1, 2):
        widths = [(pad, pad, 1) if a == axis else (0, 0, 0) for a in range(x.ndim)]
        spread = lax.pad(x, jnp.zeros((), x.dtype), widths)
        x = 2 * _filtered(spread, taps, axis, 2 * x.shape[axis], 1)
    return x


def _filtered(x: Array, taps: tuple[int, ...], axis: int, count: int, stride: int) -> Array:
    last = stride * (count - 1) + 1
    part = lambda i: lax.slice_in_dim(x, i, i + last, stride, axis)
    return sum(tap / sum(taps) * part(i) for i, tap in enumerate(taps))  # type: ignore[return-value]


def pixel_unshuffle(x: Array, factor: int) -> Array:
    """(b, h, w, c) -> (b, h/factor, w/factor, factor*factor*c)."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // factor, factor, w // factor, factor, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // factor, w // factor, factor * factor * c)


def pixel_shuffle(x: Array, factor: int) -> Array:
    """Inverse of `pixel_unshuffle`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, factor, factor, c // factor**2)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h * factor, w * factor, c // factor**2)


def check_size(x: Array, multiple: int) -> None:
    """Raise ValueError unless height and width of (b, h, w, c) are multiples of ``multiple``."""
    if x.shape[1] % multiple or x.shape[2] % multiple:
        raise ValueError(
            f"image of {x.shape[1]}x{x.shape[2]} pixels; this network needs multiples of "
            f"{multiple}, so pad or crop it"
        )

"""Linear operators whose spectrum is known: f(A'A) is cheap for any function f of the eigenvalues.

    circular blur     y = k * x, wrapped around the edges   A'A = F' |K|^2 F
    block average     y = means of r x r pixels             A'A = 1 / r^2 of constant blocks, else 0
    subsampling       y = m F x, coefficients that m shows  A'A = F' m F

F is the orthonormal discrete Fourier transform. `linear` has masks and the identity.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.tree_util import Partial

from dsg_jax.operators.blur import same, static
from dsg_jax.types import Operator

Shape = tuple[int, int, int]
_AXES = (0, 1)


def circular_blur(shape: Shape, kernel: Array | np.ndarray) -> Operator:
    """Correlate every channel with one kernel, the image continued periodically.

    As `blur.blur`, but for the edges: these make it diagonal in Fourier space. It has no
    pseudo-inverse: most of its singular values are close to zero.

    PnP-DM's code convolves with the kernel one pixel off its centre where a side is even.

    Args:
      shape: (h, w, c) of the image.
      kernel: (k, l), odd sides, none longer than the image's: the weights of a pixel's neighbours.

    Raises:
      ValueError: another kernel.
    """
    kernel = jnp.asarray(kernel, jnp.float32)
    sides = tuple(shape[:2])
    odd = kernel.ndim == 2 and all(side % 2 for side in kernel.shape)
    if not odd or any(kernel.shape[i] > sides[i] for i in (0, 1)):
        raise ValueError(
            f"the kernel must be two-dimensional with odd sides of at most {sides}, got"
            f" {kernel.shape}"
        )
    padded = jnp.pad(kernel, [(0, sides[i] - kernel.shape[i]) for i in (0, 1)])
    centred = jnp.roll(padded, [-(k // 2) for k in kernel.shape], (0, 1))
    spectrum = jnp.conj(jnp.fft.rfft2(centred))[..., None]
    return Operator(
        forward=Partial(_filter, spectrum),
        adjoint=Partial(_filter, jnp.conj(spectrum)),
        transpose=Partial(same),
        spectral=Partial(_filter_by, jnp.abs(spectrum) ** 2),
    )


def block_average(shape: Shape, factor: int = 4) -> Operator:
    """Reduce by the means of blocks of factor x factor pixels.

    A A' = 1 / factor^2, so that A+ repeats pixels, as `transpose` does; the adjoint divides that by
    factor^2.

    Args:
      shape: (h, w, c) of the large image.
      factor: integer that divides h and w.

    Raises:
      ValueError: a factor that is not a positive integer or does not divide both sides.
    """
    check_factor(shape, factor)
    repeat = Partial(static(repeat_pixels, factor=int(factor)))
    return Operator(
        forward=Partial(static(_average, factor=int(factor))),
        adjoint=Partial(static(_spread, factor=int(factor))),
        transpose=repeat,
        pseudo_inverse=repeat,
        spectral=Partial(static(_average_by, factor=int(factor))),
    )


def fourier_subsampling(shape: Shape, mask: Array | np.ndarray) -> Operator:
    """Keep some coefficients of the orthonormal Fourier transform: magnetic resonance imaging.

    y is (h, w, 2c), real and imaginary parts side by side, coefficient 0 in the middle, 0 where the
    mask is. An image of two channels is one complex image, and y (h, w, 2). Of a real image every
    coefficient is the conjugate of its opposite, so that A'A = F' m_s F, with m_s the mean of the
    mask and of its mirror image. The transpose is the adjoint.

    Args:
      shape: (h, w, c) of the image.
      mask: (h, w) or (h, w, 1) of 1 (measured) and 0, coefficient 0 in the middle.

    Raises:
      ValueError: another shape, or values other than 0 and 1 (checked outside jit).
    """
    check_mask(mask)
    mask = jnp.asarray(mask, jnp.float32).reshape(mask.shape[:2])
    if mask.shape != tuple(shape[:2]):
        raise ValueError(f"the mask is {mask.shape} and the image {tuple(shape[:2])}: give equals")
    is_complex = shape[2] == 2
    values = jnp.fft.ifftshift(mask)
    if not is_complex:
        values = (values + jnp.roll(values[::-1, ::-1], (1, 1), (0, 1))) / 2
    values = values[..., None]
    with_kind = lambda function: static(function, is_complex=is_complex)
    back = Partial(with_kind(_image_of), mask)
    return Operator(
        forward=Partial(with_kind(_coefficients), mask),
        adjoint=back,
        transpose=back,
        pseudo_inverse=Partial(with_kind(_least_norm), mask, values),
        spectral=Partial(with_kind(_fourier_by), values),
    )


def check_mask(mask: Array | np.ndarray) -> None:
    """Refuse what is no mask.

    Raises:
      ValueError: a shape other than (h, w) and (h, w, 1), or values other than 0 and 1.
    """
    if mask.ndim not in (2, 3) or mask.ndim == 3 and mask.shape[2] != 1:
        raise ValueError(f"the mask must be (h, w) or (h, w, 1), got {mask.shape}")
    if not isinstance(mask, Tracer):
        strange = np.setdiff1d(np.asarray(mask), (0, 1))
        if strange.size:
            raise ValueError(f"the mask must hold only 0 and 1, found {strange[0]}")


def check_factor(shape: Shape, factor: int) -> None:
    """Refuse a factor by which an image cannot be reduced.

    Raises:
      ValueError: it is not a positive integer or does not divide both sides.
    """
    if int(factor) != factor or factor < 1 or any(n % factor for n in shape[:2]):
        raise ValueError(
            f"factor {factor} must be a positive integer that divides both {shape[:2]}"
        )


def repeat_pixels(y: Array, *, factor: int) -> Array:
    """(h, w, c) -> (factor h, factor w, c)."""
    return jnp.repeat(jnp.repeat(y, factor, axis=0), factor, axis=1)


def identity_by(f, x: Array) -> Array:
    """f(I) x."""
    return f(jnp.float32(1)) * x


def diagonal_by(values: Array, f, x: Array) -> Array:
    """f(A'A) x of an operator whose A'A is diagonal with ``values``, which broadcast to x."""
    return f(values) * x


def _filter(spectrum: Array, x: Array) -> Array:
    """Multiply the Fourier transform (h, w // 2 + 1, c) of a real image."""
    return jnp.fft.irfft2(spectrum * jnp.fft.rfft2(x, axes=(0, 1)), x.shape[:2], axes=(0, 1))


def _filter_by(values: Array, f, x: Array) -> Array:
    return _filter(f(values), x)


def _average(x: Array, *, factor: int) -> Array:
    h, w, c = x.shape
    return x.reshape(h // factor, factor, w // factor, factor, c).mean(axis=(1, 3))


def _spread(y: Array, *, factor: int) -> Array:
    return repeat_pixels(y, factor=factor) / factor**2


def _average_by(f, x: Array, *, factor: int) -> Array:
    """The mean of a block has the eigenvalue 1 / factor^2, what differs from it 0."""
    smooth = repeat_pixels(_average(x, factor=factor), factor=factor)
    return f(jnp.float32(1 / factor**2)) * smooth + f(jnp.float32(0)) * (x - smooth)


def _coefficients(mask: Array, x: Array, *, is_complex: bool) -> Array:
    z = _paired(x) if is_complex else x
    return mask[..., None] * _parts(
        jnp.fft.fftshift(jnp.fft.fft2(z, axes=_AXES, norm="ortho"), _AXES)
    )


def _image_of(mask: Array, y: Array, *, is_complex: bool) -> Array:
    """F' of the coefficients that the mask shows."""
    coefficients = jnp.fft.ifftshift(_paired(mask[..., None] * y), _AXES)
    return _as_image(jnp.fft.ifft2(coefficients, axes=_AXES, norm="ortho"), is_complex)


def _fourier_by(values: Array, f, x: Array, *, is_complex: bool) -> Array:
    z = _paired(x) if is_complex else x
    products = f(values) * jnp.fft.fft2(z, axes=_AXES)
    return _as_image(jnp.fft.ifft2(products, axes=_AXES), is_complex)


def _least_norm(mask: Array, values: Array, y: Array, *, is_complex: bool) -> Array:
    """A+ = (A'A)+ A'."""
    inverse = lambda e: jnp.where(e > 0, 1 / jnp.where(e > 0, e, 1), 0)
    back = _image_of(mask, y, is_complex=is_complex)
    return _fourier_by(values, inverse, back, is_complex=is_complex)


def _paired(x: Array) -> Array:
    """(h, w, 2c), real and imaginary parts side by side -> (h, w, c) complex."""
    return x[..., ::2] + 1j * x[..., 1::2]


def _parts(z: Array) -> Array:
    """The inverse of `_paired`."""
    return jnp.stack([z.real, z.imag], axis=-1).reshape(*z.shape[:2], -1)


def _as_image(z: Array, is_complex: bool) -> Array:
    return _parts(z) if is_complex else z.real

"""Classical restorations on the host: what the methods must beat in the quality report.

Images and measurements are (h, w, c) numpy arrays in the range of [-1, 1] images; results are
float32, clipped to [-1, 1]. scikit-image is imported where it is used: only the report needs it.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.sparse.linalg import cg
from PIL import Image

from dsg_jax.metrics import psnr
from dsg_jax.operators.linear import blur

BALANCES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)


def bicubic(y: np.ndarray, factor: int) -> np.ndarray:
    """Enlarge a super-resolution measurement by Keys' cubic (a = -1/2), pixel centres aligned.

    Args:
      y: (h, w, c) small image.
      factor: integer enlargement, at least 1.

    Returns:
      (factor h, factor w, c).
    """
    size = (factor * y.shape[1], factor * y.shape[0])
    channels = map(Image.fromarray, np.moveaxis(np.asarray(y, np.float32), 2, 0))
    enlarged = [np.asarray(c.resize(size, Image.Resampling.BICUBIC)) for c in channels]
    return _clipped(np.stack(enlarged, axis=2))


def biharmonic(y: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fill holes with the solution of the biharmonic equation, channel by channel.

    Seen pixels are kept as measured, with their noise. Inside a large box the fill follows the
    slopes of single noisy pixels at the rim; scikit-image limits it to the range of the seen ones.

    Args:
      y: (h, w, c) image; its values in the hole are not read.
      mask: (h, w) or (h, w, 1), 1 where the image was seen and 0 in the hole.
    """
    from skimage.restoration import inpaint_biharmonic

    y = np.asarray(y, np.float32)
    hole = np.reshape(mask, y.shape[:2]) == 0
    return _clipped(inpaint_biharmonic(np.where(hole[..., None], 0, y), hole, channel_axis=2))


def wiener(y: np.ndarray, kernel: np.ndarray, balance: float) -> np.ndarray:
    """Deconvolve by the Wiener filter with a Laplacian prior, on a reflected frame.

        conj(K) Y / (|K|^2 + balance |L|^2)      (per channel and frequency)

    The filter takes the image as periodic. Reflecting it outwards by half the kernel makes that
    harmless for symmetric kernels, whose blur of a mirrored image is the mirrored blur. With motion
    kernels it rings through the whole image: use `tikhonov`, which has the exact border.

    Args:
      y: (h, w, c) blurred image.
      kernel: (k, l) with odd sides and sum 1, correlated with the image as in
        `dsg_jax.operators.linear.blur`.
      balance: weight of the prior, positive; see `best_balance`.
    """
    from skimage.restoration import wiener as wiener_filter

    y, kernel = np.asarray(y, np.float32), np.asarray(kernel, np.float64)
    (top, left), (h, w, _) = (side // 2 for side in kernel.shape), y.shape
    framed = np.pad(y, ((top, top), (left, left), (0, 0)), mode="reflect")
    point_spread = kernel[::-1, ::-1]  # the filter inverts a convolution
    sharp = [
        wiener_filter(channel, point_spread, balance, clip=False)
        for channel in np.moveaxis(framed, 2, 0)
    ]
    return _clipped(np.stack(sharp, axis=2)[top : top + h, left : left + w])


def tikhonov(
    y: np.ndarray, kernel: np.ndarray, balance: float, iterations: int = 100
) -> np.ndarray:
    """Deconvolve by least squares with a Laplacian prior, the border included.

        argmin_x  |K x - y|^2 + balance |L x|^2

    `wiener` solves the same for a periodic image; here K is the camera's own operator with its
    reflection, which for one 61 x 61 motion kernel at 256 pixels was worth 8 dB. Solved by
    conjugate gradients from zero, so that few iterations smooth as well.

    Args:
      y: (h, w, c) blurred image.
      kernel: (k, l) with odd sides, as for `wiener`.
      balance: weight of the prior, positive; see `best_balance`.
      iterations: at most this many; stops earlier at a relative residual of 1e-5.
    """
    y = np.asarray(y, np.float32)
    operator = blur(y.shape, jnp.asarray(kernel, jnp.float32))
    return _clipped(
        _solve_normal_equations(operator.forward, operator.adjoint, y, balance, iterations)
    )


def best_balance(
    images: Sequence[np.ndarray],
    measurements: Sequence[np.ndarray],
    kernel: np.ndarray,
    balances: Sequence[float] = BALANCES,
    restore: Callable[[np.ndarray, np.ndarray, float], np.ndarray] = wiener,
) -> float:
    """One balance for all images: the one whose results have the best mean PSNR.

    Give it the very images of the report, and measurements with the noise level of the report: the
    baseline is then tuned on its own test, a favour that the methods compared with it do not get.

    Args:
      images: true images (h, w, c) in [-1, 1].
      measurements: their blurred, noisy versions.
      kernel: (k, l), one for all, or one per image as (n, k, l).
      balances: candidates, in steps of half a decade by default. A choice at either end asks for
        a wider search.
      restore: `wiener` or `tikhonov`.
    """
    kernels = np.broadcast_to(kernel, (len(images), *np.shape(kernel)[-2:]))

    def mean_psnr(balance: float) -> float:
        triples = zip(images, measurements, kernels, strict=True)
        values = [psnr(jnp.asarray(restore(y, k, balance)), jnp.asarray(x)) for x, y, k in triples]
        return float(np.mean(values))

    return max(balances, key=mean_psnr)


@jax.jit
def _solve_normal_equations(
    forward: Callable, adjoint: Callable, y: Array, balance: float, iterations: int
) -> Array:
    def normal(x):
        roughness, laplacian_transpose = jax.vjp(_laplacian, x)
        return adjoint(forward(x)) + balance * laplacian_transpose(roughness)[0]

    return cg(normal, adjoint(y), maxiter=iterations, tol=1e-5)[0]


def _laplacian(x: Array) -> Array:
    """Four times the pixel less its neighbours, with reflection at the border."""
    framed = jnp.pad(x, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    return 4 * x - (framed[2:, 1:-1] + framed[:-2, 1:-1]) - framed[1:-1, 2:] - framed[1:-1, :-2]


def _clipped(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -1, 1).astype(np.float32)

"""How a state's channels are decomposed: (c, h, w) -> U (c, h, n), S (c, n), V (c, w, n).

n = min(h, w), the largest singular value first. A batch is one call of the decomposition on
(b, c, n, n) whatever `vmap` does: LAPACK and cuSOLVER loop over the matrices of an SVD, but a GPU
has one batched kernel for the symmetric eigen-decomposition.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

Factors = tuple[Array, Array, Array]

# Below HIGHEST a GPU rounds the factors of a product to TF32 and a TPU to bfloat16.
matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)

# Steps of the iteration in `gram_engine`: it tells singular values apart down to 1.5^-24, 6e-5, of
# the state's norm by their ratio, and smaller ones, down to 1e-6, by the ratio of their squares.
_STEPS = 24
# Right vectors that the iteration left shorter than this are rounding, of singular values below
# 3e-7 of the norm.
_ROUNDING = 1e-3


def svd_engine(z: Array) -> Factors:
    """`jnp.linalg.svd`, which squares nothing."""
    u, s, vt = jnp.linalg.svd(z, full_matrices=False)
    return u, s, vt.swapaxes(1, 2)


def gram_engine(z: Array) -> Factors:
    """Matrix products and one symmetric eigen-decomposition; as exact as the SVD in float32.

    The Gram matrix Z Z' itself would lose every singular value below 3e-4 of the largest, because
    it squares them. The Newton-Schulz iteration for the polar factor of Z,

        X <- (3 X - X X' X) / 2

    keeps the singular vectors and the order of the singular values. It multiplies each by 1.5 per
    step until it stays at 1, so the sum of X X' over all steps has eigenvalues that grow with the
    logarithm of the singular values. Its eigenvectors are U. The last X turns them into V.

    Right vectors are 0 where the singular value is 0 to rounding.
    """
    if z.shape[1] > z.shape[2]:
        v, s, u = gram_engine(z.swapaxes(1, 2))
        return u, s, v

    def step(_: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        x, total = carry
        gram = matmul(x, x.swapaxes(1, 2))
        return 1.5 * x - 0.5 * matmul(gram, x), total + gram

    norm = jnp.linalg.norm(z, axis=(1, 2), keepdims=True)
    x = z / jnp.maximum(norm, jnp.finfo(z.dtype).tiny)
    x, total = jax.lax.fori_loop(0, _STEPS, step, (x, jnp.zeros_like(z[:, :, : z.shape[1]])))
    u = jnp.linalg.eigh(total)[1][..., ::-1]
    s = jnp.linalg.norm(matmul(u.swapaxes(1, 2), z), axis=2)
    v = matmul(x.swapaxes(1, 2), u)
    length = jnp.linalg.norm(v, axis=1, keepdims=True)
    return u, s, jnp.where(length < _ROUNDING, 0, v / jnp.maximum(length, _ROUNDING))


def auto_engine(z: Array) -> Factors:
    """`svd_engine` on a CPU, `gram_engine` on a GPU or TPU: whatever the program is lowered for."""
    return jax.lax.platform_dependent(z, cpu=svd_engine, default=gram_engine)


ENGINES = {"auto": auto_engine, "svd": svd_engine, "gram": gram_engine}

"""Ways to a state's projectors: time, and how far the projection is from the exact one.

"subspace" is what `projection.ENGINES` leaves out: block subspace iteration, started from the
singular vectors of the state one step before. It tells what it misses, and "subspace or svd" takes
the SVD where that is more than tau allows. docs/speed.md has the reason for leaving it out. It is
written for one given number of vectors, which a rank rule decides from the data.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dsg_jax.projection import gram_engine, subspace, svd_engine
from dsg_jax.types import Projection
from experiments.speed.pieces import measured

CASES = ((1, 64), (16, 64), (1, 256), (4, 256))
"""(samples, side) of states with three channels."""
STEP = 0.02
"""alpha_bar grows by so much from one state to the next: a DDIM run of fifty steps."""


class Iterated(NamedTuple):
    """One step of subspace iteration on (c, h, w) matrices."""

    left: Array
    """(c, h, k) orthonormal."""
    right: Array
    """(c, w, k)."""
    missed: Array
    """(c,) share of the energy that lies outside."""


def iterate(z: Array, left: Array) -> Iterated:
    """Z Z' applied to the old left vectors, made orthonormal, and turned to singular vectors."""
    q, _ = jnp.linalg.qr(z @ (z.swapaxes(1, 2) @ left))
    core = q.swapaxes(1, 2) @ z
    values, turn = jnp.linalg.eigh(core @ core.swapaxes(1, 2))
    turn, s = turn[..., ::-1], jnp.sqrt(jnp.maximum(values[..., ::-1], 0))
    right = core.swapaxes(1, 2) @ (turn / jnp.maximum(s, 1e-6 * s[:, :1])[:, None])
    missed = 1 - jnp.sum(core**2, (1, 2)) / jnp.sum(z**2, (1, 2))
    return Iterated(q @ turn, right, missed)


def states(samples: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(samples, n, n, 3) smooth images in the middle of a run, and the same one step later."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(n) * n, np.fft.fftfreq(n) * n))
    spectrum = 1 / np.maximum(frequency, 1) ** 1.5
    noise = rng.standard_normal((2, samples, 3, n, n))
    image = np.fft.ifft2(np.fft.fft2(noise[0]) * spectrum).real
    image *= 0.5 / image.std()
    mixed = [np.sqrt(a) * image + np.sqrt(1 - a) * noise[1] for a in (0.5, 0.5 + STEP)]
    before, after = (np.moveaxis(z, 1, -1).astype(np.float32) for z in mixed)
    return before, after


def engines(rank: int, tau: Array | float) -> dict[str, Callable]:
    """Every way as a function of batches: states, gradients, and old left vectors."""

    def exactly(engine, z, g, old):
        u, _, v = engine(z)
        return projected(u[..., :rank], v[..., :rank], g)

    iterated = lambda z, g, old: projected(*iterate(z, old)[:2], g)
    guarded = lambda each: iterated_or_exact(each[0], each[1], each[2], tau)
    return {
        "svd": jax.vmap(partial(exactly, svd_engine)),
        "gram": jax.vmap(partial(exactly, gram_engine)),
        "subspace": jax.vmap(iterated),
        # one after the other, for under vmap both branches of a cond are run
        "subspace or svd": lambda z, g, old: jax.lax.map(guarded, (z, g, old)),
    }


def compare(samples: int, n: int, rule: str) -> list[dict]:
    """Rows of engines for one size: milliseconds, and worst relative error of the projection."""
    before, after = states(samples, n)
    noise = np.random.default_rng(1).standard_normal(after.shape).astype(np.float32)
    projection = Projection(rule=rule)
    rank = int(np.max(jax.vmap(lambda z: subspace(projection, z).rank)(after)))
    channels = lambda z: jnp.moveaxis(z, -1, 1)
    exact = [svd_engine(z)[0][..., :rank] for z in channels(before)]
    z, g, old = channels(after), channels(noise), jnp.stack(exact)
    calls = {name: (run, z, g, old) for name, run in engines(rank, projection.tau).items()}
    times = measured(calls, repeat=9)
    results = {name: np.asarray(jax.jit(f)(*given)) for name, (f, *given) in calls.items()}
    missed = jax.vmap(lambda z, old: iterate(z, old).missed)(z, old)
    return [
        {
            "case": f"{samples} x 3 x {n} x {n}",
            "rule": rule,
            "rank": rank,
            "engine": name,
            "milliseconds": times[name].milliseconds,
            "error": float(relative(results[name], results["svd"])),
            "missed_energy": float(np.max(missed)) if name.startswith("subspace") else None,
        }
        for name in calls
    ]


def iterated_or_exact(z: Array, g: Array, old: Array, tau: Array | float) -> Array:
    """P(g) by `iterate` if it holds the share tau of every channel's energy, else by the SVD."""
    found, rank = iterate(z, old), old.shape[-1]

    def exact() -> Array:
        u, _, v = svd_engine(z)
        return projected(u[..., :rank], v[..., :rank], g)

    enough = jnp.max(found.missed) <= 1 - tau
    return jax.lax.cond(enough, lambda: projected(found.left, found.right, g), exact)


def projected(u: Array, v: Array, g: Array) -> Array:
    """U U' G V V' of (c, h, w)."""
    return u @ (u.swapaxes(1, 2) @ g @ v) @ v.swapaxes(1, 2)


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """Worst ||a - b|| / ||b|| of the samples."""
    axes = tuple(range(1, a.ndim))
    return np.max(np.sqrt(np.sum((a - b) ** 2, axes) / np.sum(b**2, axes)))


def engine_rows() -> list[dict]:
    """The whole table."""
    return [
        row
        for samples, n in CASES
        for rule in ("official", "per_channel")
        for row in compare(samples, n, rule)
    ]

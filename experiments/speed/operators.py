"""Operators and projection engines against what they replace, as ratios within one run."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dsg_jax.operators.kernels import gaussian_kernel, motion_kernel
from dsg_jax.operators.linear import blur, gaussian_blur
from dsg_jax.projection import ENGINES, project, subspace
from dsg_jax.types import Projection
from experiments.speed.timer import Measured, measured

STATES = ((1, 64), (16, 64), (1, 256), (4, 256))
"""(samples, side) of states with three channels."""
Measure = Callable[[dict[str, tuple]], dict[str, Measured]]


def depthwise(kernel: np.ndarray, x: jax.Array) -> jax.Array:
    """The direct convolution that the fast blurs replace: reflect padding, one group a channel."""
    pad, c = kernel.shape[0] // 2, x.shape[-1]
    padded = jnp.pad(x, ((pad, pad), (pad, pad), (0, 0)), mode="reflect")[None]
    taps = jnp.repeat(jnp.asarray(kernel, jnp.float32)[:, :, None, None], c, axis=3)
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        padded, taps, (1, 1), "VALID", dimension_numbers=layout, feature_group_count=c
    )[0]


def residual_gradient(forward: Callable) -> Callable:
    """The gradient of 0.5 ||A(x) - y||^2."""
    return jax.grad(lambda x, y: 0.5 * jnp.sum((forward(x) - y) ** 2))


def rows(what: str, calls: dict[str, tuple], measure: Measure) -> list[dict]:
    """The cases of a group: milliseconds, and how many times faster than the first one."""
    times = {name: each.milliseconds for name, each in measure(calls).items()}
    first = next(iter(times.values()))
    return [
        {"what": what, "case": name, "milliseconds": ms, "times_faster": first / ms}
        for name, ms in times.items()
    ]


def operator_rows(measure: Measure = measured) -> list[dict]:
    """Both blurs at 256 x 256 x 3 with a 61 x 61 kernel against the direct convolution."""
    shape, table = (256, 256, 3), []
    x = jax.random.normal(jax.random.key(0), shape)
    motion = motion_kernel(np.random.RandomState(0), 61, 0.5)
    for name, kernel, operator in (
        ("Gaussian", gaussian_kernel(61, 3.0), gaussian_blur(shape, 61, 3.0)),
        ("motion", motion, blur(shape, motion)),
    ):
        both: dict[str, Callable] = {
            "direct convolution": partial(depthwise, kernel),
            "ours": operator.forward,
        }
        values = {case: (forward, x) for case, forward in both.items()}
        gradients = {case: (residual_gradient(forward), x, x) for case, forward in both.items()}
        table += rows(f"{name} blur, 256 px, 61 x 61: value", values, measure)
        table += rows(f"{name} blur, 256 px, 61 x 61: gradient", gradients, measure)
    return table


def engine_rows(measure: Measure = measured) -> list[dict]:
    """Every engine of the projection on noisy square states, against the first one."""
    table = []
    for samples, n in STATES:
        z = jax.random.normal(jax.random.key(0), (samples, n, n, 3))
        calls = {}
        for engine in ENGINES:
            choice: Any = engine
            projection = Projection(engine=choice)
            one = lambda z, g, p=projection: project(subspace(p, z), g)
            calls[engine] = (jax.vmap(one), z, z[::-1])
        table += rows(f"projection, {samples} x 3 x {n} x {n}", calls, measure)
    return table

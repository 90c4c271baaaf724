"""Shared by the tests of operators golden."""

import re

import jax
import jax.numpy as jnp
import numpy as np

from support.golden_case import assert_close, hwc, load, pattern_draw

_PARTS = ("rows", "cols", "stat")


def golden_image(case, prefix):
    _, images = load("operators/images")
    if prefix == "field":
        return jnp.asarray(hwc(images["field_small_i16"]) / 4096, jnp.float32)
    pixels = images["photo_big_u8" if case.endswith("big") else "photo_small_u8"]
    return jnp.asarray(pixels.astype(np.float32) / np.float32(127.5) - np.float32(1))


def half_square(operator, x, y):
    return 0.5 * jnp.sum((operator.forward(x) - y) ** 2)


def golden_values(operator, x, y):
    value, gradient = jax.jit(jax.value_and_grad(half_square, argnums=1))(operator, x, y)
    ax = jax.jit(lambda o, x: o.forward(x))(operator, x)
    values = {"Ax": ax, "grad": gradient, "loss": value}
    if operator.transpose is not None:
        values["T_y"] = operator.transpose(y)
        values["glue"] = values["T_y"] + (x - operator.transpose(ax))
    return values


def statistics(a):
    a64 = np.asarray(a, np.float64)
    patterns = [np.asarray(pattern_draw(k, a.shape), np.float64) for k in range(3)]
    powers = [a64.sum(), (a64**2).sum(), a64.max(), a64.min()]
    return np.array(powers + [(a64 * p).sum() for p in patterns])


def assert_statistics(name, value, expected, tolerance, kink=0.0):
    """The manifest's tolerances, and for the sum and the extremes two float32 roundings a term.

    The manifest gives these only relative to the result, but the sum of a glue image cancels and
    the least Fourier magnitude is nearly 0 beside a largest of 100. ``kink`` is the relative
    error of a gradient through ReLUs at their kink, which the last bits of a CPU decide.
    """
    rtol, atol = map(float, re.findall(r"\d\.\d+e[-+]\d+", tolerance))
    terms = np.abs(np.float64(value))
    rounding = np.array([2e-7 * terms.sum(), 0, *[(2e-7 + kink) * terms.max()] * 2])
    error = np.abs(statistics(value) - expected)
    assert np.all(error[:4] <= rtol * np.abs(expected[:4]) + rounding), f"{name}: {error}"
    projected = 4 * kink * np.sqrt(np.sum(terms**2))
    assert np.all(error[4:] <= atol + projected), f"{name}: {error}"


def assert_probes(values, arrays, manifest, prefix, places, kink=0.0):
    """Rows, columns and statistics of large arrays.

    ``places`` names the lists of indices for the values that have to be there; all others have
    "grad_probe".
    """
    probes = [name for name in arrays if "__" in name]
    assert {f"{prefix}{kind}__{part}" for kind in places for part in _PARTS} <= set(probes)
    for name in probes:
        kind, part = name.removeprefix(prefix).split("__")
        value = np.asarray(values[kind])
        if part == "stat":
            assert_statistics(name, value, arrays[name], manifest["tolerance"]["atol"][name], kink)
            continue
        where = manifest["config"][f"{places.get(kind, 'grad_probe')}_{part}"]
        value = value[where] if part == "rows" else value[:, where]
        assert_close(name, value, hwc(arrays[name]), manifest)

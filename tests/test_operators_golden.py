"""The operators against the reference's numbers: values, gradients, transposes and glue images."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.operators import (
    blur,
    gaussian_blur,
    hdr,
    inpainting,
    phase_retrieval,
    super_resolution,
)
from golden_case import assert_close, hwc, load, pattern_draw

SMALL = [
    "gaussian_k61_small",
    "gaussian_k9_small",
    "hdr_small",
    "inpaint_box_small",
    "phase_small",
    "sr_x2_small",
    "sr_x4_small",
]
PROBED = [
    "gaussian_k61_big",
    "hdr_big",
    "inpaint_box_big",
    "inpaint_random_big",
    "motion_k61_big",
    "phase_big",
    "phase_dps_form_small",
    "phase_dsg_form_small",
    "sr_x2_big",
    "sr_x4_big",
]
_PARTS = ("rows", "cols", "stat")


def golden_operator(config, arrays, shape):
    name = config["operator"]
    if name == "inpainting":
        return inpainting(hwc(arrays["mask"]))
    if name == "gaussian_blur":
        return gaussian_blur(shape, config["kernel_size"], config["std"])
    if name == "motion_blur":
        return blur(shape, arrays["kernel"])
    if name == "super_resolution":
        return super_resolution(shape, config["scale_factor"])
    if name == "phase_retrieval":
        unit_range = config["input_map"] == "(x+1)/2"
        return phase_retrieval(shape, config["oversample"], unit_range, pad=config["pad"])
    return hdr(config["scale"])


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


@pytest.mark.parametrize("case", SMALL)
def test_golden_small(case):
    manifest, arrays = load(f"operators/{case}")
    x, y = golden_image(case, "photo"), jnp.asarray(hwc(arrays["photo_y"]), jnp.float32)
    operator = golden_operator(manifest["config"], arrays, x.shape)
    values = golden_values(operator, x, y)
    names = [n for n in arrays if n.startswith("photo_") and n != "photo_y"]
    assert {"photo_Ax", "photo_grad", "photo_loss"} <= set(names)
    for name in names:
        expected = arrays[name] if arrays[name].ndim == 0 else hwc(arrays[name])
        assert_close(name, values[name.removeprefix("photo_")], expected, manifest)
    if operator.adjoint is not None:
        residual = operator.forward(x) - y
        assert_close("photo_grad", operator.adjoint(residual), hwc(arrays["photo_grad"]), manifest)


def statistics(a):
    a64 = np.asarray(a, np.float64)
    patterns = [np.asarray(pattern_draw(k, a.shape), np.float64) for k in range(3)]
    powers = [a64.sum(), (a64**2).sum(), a64.max(), a64.min()]
    return np.array(powers + [(a64 * p).sum() for p in patterns])


def assert_statistics(name, value, expected, tolerance):
    """The manifest's tolerances, and for the sum and the extremes two float32 roundings a term.

    The manifest gives these only relative to the result, but the sum of a glue image cancels and
    the least Fourier magnitude is nearly 0 beside a largest of 100.
    """
    rtol, atol = map(float, re.findall(r"\d\.\d+e[-+]\d+", tolerance))
    terms = np.abs(np.float64(value))
    rounding = 2e-7 * np.array([terms.sum(), 0, terms.max(), terms.max()])
    error = np.abs(statistics(value) - expected)
    assert np.all(error[:4] <= rtol * np.abs(expected[:4]) + rounding), f"{name}: {error}"
    assert np.all(error[4:] <= atol), f"{name}: {error}"


def assert_probes(values, arrays, manifest, prefix, places):
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
            assert_statistics(name, value, arrays[name], manifest["tolerance"]["atol"][name])
            continue
        where = manifest["config"][f"{places.get(kind, 'grad_probe')}_{part}"]
        value = value[where] if part == "rows" else value[:, where]
        assert_close(name, value, hwc(arrays[name]), manifest)


@pytest.mark.parametrize("case", PROBED)
def test_golden_probed(case):
    manifest, arrays = load(f"operators/{case}")
    config, prefix = manifest["config"], "field" if "field_loss" in arrays else "photo"
    x = golden_image(case, prefix)
    operator = golden_operator(config, arrays, x.shape)
    _, c, h, w = config["out_shape"]
    y = 0.5 * pattern_draw(4, (h, w, c))
    values = golden_values(operator, x, jnp.abs(y) if "phase" in case else y)
    assert_close(f"{prefix}_loss", values["loss"], arrays[f"{prefix}_loss"], manifest)
    assert_probes(values, arrays, manifest, f"{prefix}_", {"Ax": "probe", "grad": "grad_probe"})


def test_golden_slope_at_the_ties_of_hdr():
    _, arrays = load("operators/hdr_small")
    slope = jax.grad(lambda x: hdr().forward(x).sum())(arrays["tie_x"])
    np.testing.assert_array_equal(slope, arrays["tie_grad"])
    chex.assert_trees_all_equal(hdr().forward(jnp.array([-0.5, 0.5])), jnp.array([-1.0, 1.0]))

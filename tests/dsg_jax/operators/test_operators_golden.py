"""The operators against the reference's numbers: values, gradients, transposes and glue images."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.operators.linear import (
    blur,
    gaussian_blur,
    hdr,
    inpainting,
    phase_retrieval,
    super_resolution,
)
from support.golden_case import assert_close, hwc, load, pattern_draw
from support.operator_goldens import assert_probes, golden_image, golden_values

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

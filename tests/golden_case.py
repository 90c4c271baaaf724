"""Read the golden numbers: one manifest and one array file per case, NCHW -> unbatched HWC."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from checkpoints_convert.torch_zip import read_torch_zip
from dsg_jax.diffusion import Prior
from dsg_jax.schedule import linear_betas

GOLDEN = Path(__file__).parent / "golden"


def load(case: str) -> tuple[dict, dict[str, np.ndarray]]:
    """Manifest and arrays of a case such as "trajectories/dps_blur"."""
    manifest = json.loads((GOLDEN / f"{case}.json").read_text())
    with np.load(GOLDEN / f"{case}.npz") as arrays:
        return manifest, dict(arrays)


def hwc(x: np.ndarray) -> np.ndarray:
    """(..., 1, c, h, w) -> (..., h, w, c)."""
    return np.moveaxis(np.squeeze(x, axis=-4), -3, -1)


def pattern_draw(k, shape):
    """The golden replacement of the k-th Gaussian draw, for an HWC shape; k may be traced."""
    h, w, c = shape
    i = jnp.arange(1, c * h * w + 1)
    values = jax.pure_callback(_pattern, jax.ShapeDtypeStruct(i.shape, jnp.float32), k, i)
    return jnp.moveaxis(values.reshape(c, h, w), 0, -1)


def _pattern(k, i):
    k, i = np.asarray(k, np.float64), np.asarray(i, np.float64)
    return (np.sqrt(2) * np.sin(0.7 * i * (1 + 0.37 * k) + 1.3 * k)).astype(np.float32)


def relative(a, b) -> float:
    """||a - b|| / ||b||."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def assert_close(name: str, value, expected, manifest: dict) -> None:
    """Within the manifest's relative and absolute tolerance for the named array."""
    tolerance = manifest["tolerance"]
    error = relative(value, expected)
    assert error <= tolerance["rel_l2"][name], f"{name}: relative error {error:.2e}"
    worst = np.max(np.abs(np.asarray(value) - expected))
    assert worst <= tolerance["atol"][name], f"{name}: absolute error {worst:.2e}"


def _conv(weights, name, x):
    kernel = weights[f"{name}.weight"].transpose(2, 3, 1, 0)
    out = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return out + weights[f"{name}.bias"]


def _linear(weights, name, v):
    return v @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def tiny_eps(weights, x, t):
    """The golden set's small time-conditioned network, for one (h, w, c) state."""
    frequencies = 10000.0 ** (-jnp.arange(16) / 16)
    e = jnp.concatenate([jnp.cos(t * frequencies), jnp.sin(t * frequencies)])
    e = jax.nn.silu(_linear(weights, "temb", e))
    h = _conv(weights, "conv_in", x[None])
    for j in range(sum(name.startswith("film") for name in weights) // 2):
        scale, shift = jnp.split(_linear(weights, f"film.{j}", e), 2)
        h = h + _conv(weights, f"conv.{j}", jax.nn.silu(h * (1 + scale) + shift))
    return _conv(weights, "conv_out", jax.nn.silu(h))[0]


def tiny_prior() -> Prior:
    """The golden pixel prior with learned variance."""
    stored = read_torch_zip(GOLDEN / "weights" / "pixel_eps.pt")
    weights = {name: jnp.asarray(value, jnp.float32) for name, value in stored.items()}
    return Prior(Partial(tiny_eps, weights), jnp.asarray(linear_betas(), jnp.float32))

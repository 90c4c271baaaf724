"""Read the golden numbers: one manifest and one array file per case, NCHW -> unbatched HWC."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from checkpoints_convert.read import open_checkpoint
from dsg_jax.clock import adm_clock, table_clock
from dsg_jax.networks.layers import upsample_nearest
from dsg_jax.operators.blur import blur
from dsg_jax.operators.linear import hdr, inpainting, phase_retrieval, super_resolution
from dsg_jax.sample import run
from dsg_jax.schedule import scaled_linear_betas
from dsg_jax.types import FirstStage, Prior, Problem, Projection, Solver

GOLDEN = Path(__file__).parents[1] / "golden"
_RULE = {"official_flat": "official", "per_channel": "per_channel"}


def load(case: str) -> tuple[dict, dict[str, np.ndarray]]:
    """Manifest and arrays of a case such as "trajectories/dps_blur"."""
    manifest = json.loads((GOLDEN / f"{case}.json").read_text())
    with np.load(GOLDEN / f"{case}.npz") as arrays:
        return manifest, dict(arrays)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a checkpoint, by name."""
    return {name: tensor.read() for name, tensor in open_checkpoint(path).tensors.items()}


def hwc(x: np.ndarray) -> np.ndarray:
    """(..., 1, c, h, w) -> (..., h, w, c)."""
    return np.moveaxis(np.squeeze(x, axis=-4), -3, -1)


def pattern_draw(k, shape):
    """The golden replacement of the k-th Gaussian draw, for an HWC shape; k may be traced."""
    h, w, c = shape
    i = jnp.arange(1, c * h * w + 1)
    values = jax.pure_callback(_pattern, jax.ShapeDtypeStruct(i.shape, jnp.float32), k, i)
    return jnp.moveaxis(values.reshape(c, h, w), 0, -1)


def pattern_draws(count: int, size: int):
    """`pattern_draw` for the first ``count`` draws of up to ``size`` numbers, without callbacks."""
    values = _pattern(np.arange(count)[:, None], np.arange(1, size + 1))
    return Partial(_tabled_draw, jnp.asarray(values))


def _tabled_draw(values, k, shape):
    h, w, c = shape
    return jnp.moveaxis(values[k, : h * w * c].reshape(c, h, w), 0, -1)


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


def problem_of(manifest: dict, arrays: dict, shape: tuple[int, int, int]) -> Problem:
    """The measurement of a trajectory, of an image of the given shape."""
    config = manifest["config"]
    name = config["operator"]["name"]
    if name == "blur":
        operator = blur(shape, arrays["kernel"])
    elif name == "inpainting":
        operator = inpainting(arrays["mask"].reshape(shape[:2]))
    elif name == "high_dynamic_range":
        operator = hdr(config["operator"].get("scale", 2))
    elif name == "phase_retrieval":
        unit_range = config["operator"]["input_map"] == "(x+1)/2"
        operator = phase_retrieval(shape, unit_range=unit_range, pad=config["operator"]["pad"])
    else:
        operator = super_resolution(shape, config["operator"]["scale_factor"])
    return Problem(operator, jnp.asarray(hwc(arrays["y"])), config["sigma"])


def projection_of(manifest: dict) -> Projection | None:
    """The projection of a trajectory, None for a plain one."""
    chosen = manifest["config"].get("projection")
    return chosen and Projection(chosen["tau"], rule=_RULE[chosen["rank_rule"]])


def replay(solver: Solver, arrays: dict):
    """Last image, every state and info, with the golden noise pattern in place of random draws."""
    record = lambda state, info: (state, info)
    start = jnp.asarray(hwc(arrays["x_init"]))
    last, (states, info) = jax.jit(lambda x: run(pattern_draw, solver, x, record=record))(start)
    return np.asarray(solver.image(last)), states, jax.tree.map(np.asarray, info)


def check_trajectory(manifest: dict, arrays: dict, last, states, info) -> None:
    """States and image within the manifest's tolerances, ranks exactly."""
    assert_close("states", states, hwc(arrays["states"]), manifest)
    assert_close("final", last, hwc(arrays["final"]), manifest)
    assert info.finite.all()
    if "ranks" in arrays:
        full = min(states.shape[1:3])
        assert np.array_equal(info.rank, np.minimum(arrays["ranks"], full))
        assert ((info.share > 0) & (info.share <= 1 + 1e-5)).all()
    else:
        assert (info.share == 1).all()


def _conv(weights, name, x, stride=1):
    kernel = weights[f"{name}.weight"].transpose(2, 3, 1, 0)
    pad = (kernel.shape[0] // 2,) * 2
    out = jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), (pad, pad), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return out + weights[f"{name}.bias"]


def _linear(weights, name, v):
    return v @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def tiny_eps(weights, x, t, context=None):
    """The golden set's small time-conditioned network, for one (h, w, c) state."""
    frequencies = 10000.0 ** (-jnp.arange(16) / 16)
    e = jnp.concatenate([jnp.cos(t * frequencies), jnp.sin(t * frequencies)])
    e = _linear(weights, "temb", e)
    e = jax.nn.silu(e if context is None else e + _linear(weights, "ctx", context.mean(0)))
    h = _conv(weights, "conv_in", x[None])
    for j in range(sum(name.startswith("film") for name in weights) // 2):
        scale, shift = jnp.split(_linear(weights, f"film.{j}", e), 2)
        h = h + _conv(weights, f"conv.{j}", jax.nn.silu(h * (1 + scale) + shift))
    return _conv(weights, "conv_out", jax.nn.silu(h))[0]


def tiny_weights(name: str) -> dict:
    """One of the golden set's tiny trained networks."""
    stored = read_arrays(GOLDEN / "weights" / f"{name}.pt")
    return {name: jnp.asarray(value, jnp.float32) for name, value in stored.items()}


def tiny_prior() -> Prior:
    """The golden pixel prior with learned variance."""
    weights = tiny_weights("pixel_eps")
    return Prior(Partial(tiny_eps, weights), adm_clock())


def _tiny_encoder(weights, x):
    h = jax.nn.silu(_conv(weights, "encoder.c0", x[None]))
    h = jax.nn.silu(_conv(weights, "encoder.c1", h, 2))
    h = jax.nn.silu(_conv(weights, "encoder.c2", h, 2))
    return _conv(weights, "quant_conv", _conv(weights, "encoder.c3", h))[0]


def _tiny_decoder(weights, z):
    h = jax.nn.silu(_conv(weights, "decoder.c0", _conv(weights, "post_quant_conv", z[None])))
    h = jax.nn.silu(_conv(weights, "decoder.c1", upsample_nearest(h)))
    return _conv(
        weights, "decoder.c3", jax.nn.silu(_conv(weights, "decoder.c2", upsample_nearest(h)))
    )[0]


def _vq_decode(weights, z):
    codes = weights["quantize.embedding.weight"]
    flat = z.reshape(-1, 3)
    distance = jnp.sum(flat**2, 1, keepdims=True) + jnp.sum(codes**2, 1) - 2 * flat @ codes.T
    nearest = codes[jnp.argmin(distance, 1)].reshape(z.shape)
    return _tiny_decoder(weights, z + jax.lax.stop_gradient(nearest - z))


def _kl_encode(weights, x, noise):
    mean, log_variance = jnp.split(_tiny_encoder(weights, x), 2, axis=-1)
    std = jnp.exp(jnp.clip(log_variance, -30, 20) / 2)
    return 0.18215 * (mean if noise is None else mean + std * noise)


def _tiny_guided_eps(weights, context, uncond, scale, x, t):
    """Classifier-free guidance, eps_u + scale (eps_c - eps_u); ``uncond`` None is one pass."""
    eps = tiny_eps(weights, x, t, context)
    if uncond is None:
        return eps
    free = tiny_eps(weights, x, t, uncond)
    return free + scale * (eps - free)


def tiny_latent_prior(kind: str = "vq", context=None, uncond=None, scale: float = 1.0) -> Prior:
    """The golden latent prior: "vq" as the FFHQ model, or "kl" as Stable Diffusion.

    ``context`` and ``uncond`` (tokens, 8) condition and guide the network of "kl".
    """
    if kind == "vq":
        weights, betas = tiny_weights("vq"), scaled_linear_betas()
        encode = Partial(lambda weights, x, noise: _tiny_encoder(weights, x), weights)
        stage = FirstStage(Partial(_vq_decode, weights), encode, 4)
        network = Partial(tiny_eps, tiny_weights("latent_eps"))
    else:
        weights, betas = tiny_weights("kl"), scaled_linear_betas(0.00085, 0.012)
        decode = Partial(lambda weights, z: _tiny_decoder(weights, z / 0.18215), weights)
        stage = FirstStage(decode, Partial(_kl_encode, weights), 4)
        embeddings = (None if e is None else jnp.asarray(e) for e in (context, uncond))
        network = Partial(_tiny_guided_eps, tiny_weights("latent4_eps"), *embeddings, scale)
    return Prior(network, table_clock(betas), stage)

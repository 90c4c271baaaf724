"""Compare converted networks with recorded PyTorch outputs, block by block where they are there.

Recorded names, all NCHW: for a U-Net ``x``, ``t`` and perhaps ``context`` give ``output``,
``grad_x`` = d sum(output * pattern(9)) / dx, and ``block:NAME``, the output of any module by its
name in the checkpoint (``block:input_blocks.4.0``). For a first stage ``x`` gives ``encoded`` or
``moments``, and ``z`` (for KL ``z_scaled``) gives ``decoded``. For KernelWizard ``u`` in [0, 1] and
``k`` give ``features``, ``adapted``, ``output``; for LPIPS ``x`` and ``y`` give ``distance``.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from checkpoints_convert.recorded import Recorded, pattern
from dsg_jax.metrics.lpips import LPIPSWeights, lpips
from dsg_jax.networks.adm import ADMConfig, ADMUNet
from dsg_jax.networks.autoencoder import Autoencoder, AutoencoderConfig
from dsg_jax.networks.kernel_wizard import Adapter, BlurConfig, FeatureExtractor, Reconstruction
from dsg_jax.networks.ldm import LDMConfig, LDMUNet
from dsg_jax.priors import config_of
from dsg_jax.priors.first_stage import CODES, quantized

Arrays = dict[str, np.ndarray]

BLOCK = "block:"
_LATENT, _ENCODED = ("z", "z_scaled", "h"), ("encoded", "h", "moments")
_GRAD_X, _GRAD_Z = ("grad_x", "grad_x_encode"), ("grad_z", "grad_h_decode")


def errors(card: dict, params: Any, recorded: Recorded) -> dict[str, float]:
    """Relative L2 error of every recorded array that this kind of network can give.

    Raises:
      ValueError: it can give none.
    """
    arrays = recorded.arrays
    ours = _probed(OUTPUTS[card["kind"]](card, params, arrays), recorded.probes)
    found = {
        name: relative(ours[name], arrays[name])
        for name in arrays
        if name in ours and name not in ("x", "z", "t", "k", "u")
    }
    if not found:
        raise ValueError(
            f"the recorded arrays ({', '.join(arrays)}) are none of a {card['kind']} network: the "
            "head of checkpoints_convert/parity.py lists the names"
        )
    return found


def relative(a: Any, b: np.ndarray) -> float:
    """||a - b|| / ||b||; infinite for arrays of other shapes."""
    a, expected = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != expected.shape:
        return float("inf")
    return float(np.linalg.norm(a - expected) / max(float(np.linalg.norm(expected)), 1e-30))


def unet_outputs(network: nn.Module, params: Any, arrays: Arrays) -> Arrays:
    """Output, input gradient and blocks of a U-Net."""
    if not {"x", "t"} <= arrays.keys():
        return {}
    context = (arrays["context"],) if "context" in arrays else ()
    blocks = {name.removeprefix(BLOCK) for name in arrays if name.startswith(BLOCK)}

    @jax.jit
    def run(params, x, t, *context):
        def apply(x):
            return network.apply(
                {"params": params}, x, t, *context, capture_intermediates=bool(blocks),
                mutable=["intermediates"],
            )  # fmt: skip

        if "grad_x" not in arrays:
            output, state = apply(x)
            return {"output": output}, state
        output, vjp, state = jax.vjp(apply, x, has_aux=True)
        cotangent = jnp.moveaxis(pattern(9, _nchw(output).shape), 1, -1)
        return {"output": output, "grad_x": vjp(cotangent)[0]}, state

    outputs, state = run(params, _nhwc(arrays["x"]), arrays["t"], *context)
    inside = {b: state["intermediates"].get(b, {}).get("__call__") for b in blocks}
    found = {BLOCK + b: _nchw(value[0]) for b, value in inside.items() if value is not None}
    return jax.tree.map(_nchw, outputs) | found


def stage_outputs(config: AutoencoderConfig, params: Any, scale: float, arrays: Arrays) -> Arrays:
    """Both halves of a first stage, and those gradients that were recorded."""
    network, found = Autoencoder(config), {}

    def half(method: str, x: np.ndarray, name: str, gradient: str) -> None:
        def apply(params, x):
            if method == "decode" and config.codes:
                codes = params[CODES]["kernel"]
                x = jax.vmap(lambda z: quantized(codes, z))(x)
            return network.apply({"params": params}, x, method=method)

        @jax.jit
        def run(params, x):
            if gradient not in arrays:
                return {name: apply(params, x)}
            out, vjp = jax.vjp(lambda x: apply(params, x), x)
            cotangent = jnp.moveaxis(pattern(9, _nchw(out).shape), 1, -1)
            return {name: out, gradient: vjp(cotangent)[0]}

        found.update(jax.tree.map(_nchw, run(params, _nhwc(x))))

    if "x" in arrays:
        name = next((n for n in _ENCODED if n in arrays), "encoded")
        half("encode", arrays["x"], name, next((n for n in _GRAD_X if n in arrays), "grad_x"))
    given = next((n for n in _LATENT if n in arrays), None)
    if given:
        z = arrays[given] / (scale if given == "z_scaled" else 1)
        half("decode", z, "decoded", next((n for n in _GRAD_Z if n in arrays), "grad_z"))
    return found


def wizard_outputs(config: BlurConfig, params: Any, arrays: Arrays) -> Arrays:
    """The three parts of KernelWizard, and the gradient."""
    if not {"u", "k"} <= arrays.keys():
        return {}

    @jax.jit
    def run(params, u, code):
        apply = lambda part, name, *given: part(config).apply({"params": params[name]}, *given)

        def whole(u):
            features = apply(FeatureExtractor, "feature_extractor", u)
            adapted = apply(Adapter, "adapter.model", features, code)
            return u + apply(Reconstruction, "recon_trunk", adapted), (features, adapted)

        if not any(name.startswith("grad_u") for name in arrays):
            return {"output": whole(u)[0]}
        output, vjp, (features, adapted) = jax.vjp(whole, u, has_aux=True)
        gradient = vjp(jnp.moveaxis(pattern(9, _nchw(output).shape), 1, -1))[0]
        return {"features": features, "adapted": adapted, "output": output, "grad_u": gradient}

    return jax.tree.map(_nchw, run(params, _nhwc(arrays["u"]), _nhwc(arrays["k"])))


def _adm(card: dict, params: Any, arrays: Arrays) -> Arrays:
    return unet_outputs(ADMUNet(config_of(card["architecture"], ADMConfig)), params, arrays)


def _ldm(card: dict, params: Any, arrays: Arrays) -> Arrays:
    architecture, scale = card["architecture"], card["latent_scale"]
    network = LDMUNet(config_of(architecture["unet"], LDMConfig))
    found = unet_outputs(network, params["unet"], arrays)
    stage = config_of(architecture["first_stage"], AutoencoderConfig)
    images = {name: value for name, value in arrays.items() if name != "x" or not found}
    return found | stage_outputs(stage, params["first_stage"], scale, images)


def _stage(card: dict, params: Any, arrays: Arrays) -> Arrays:
    config = config_of(card["architecture"], AutoencoderConfig)
    return stage_outputs(config, params, card["latent_scale"], arrays)


def _wizard(card: dict, params: Any, arrays: Arrays) -> Arrays:
    return wizard_outputs(BlurConfig(**card["architecture"]), params, arrays)


def _lpips(card: dict, params: Any, arrays: Arrays) -> Arrays:
    if not {"x", "y"} <= arrays.keys():
        return {}
    weights = LPIPSWeights(**params, net=card["kind"].removeprefix("lpips-"))
    distance = jax.jit(jax.vmap(lambda x, y: lpips(weights, x, y)))
    return {"distance": np.asarray(distance(_nhwc(arrays["x"]), _nhwc(arrays["y"])))}


OUTPUTS: dict[str, Callable[[dict, Any, Arrays], Arrays]] = {
    "adm": _adm,
    "ldm": _ldm,
    "first-stage": _stage,
    "kernel-wizard": _wizard,
    "lpips-vgg": _lpips,
    "lpips-alex": _lpips,
}
"""Kind of a card -> recorded names and what our network gives in their place."""


def _probed(ours: Arrays, probes: dict[str, list[int]]) -> Arrays:
    """Add the rows and columns at which large arrays were recorded."""
    found = dict(ours)
    for name, value in ours.items():
        place = "feature_probe" if name in ("features", "adapted") else "probe"
        if f"{place}_rows" in probes:
            found[f"{name}__rows"] = value[:, :, probes[f"{place}_rows"], :]
            found[f"{name}__cols"] = value[:, :, :, probes[f"{place}_cols"]]
    return found


def _nhwc(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.asarray(x, np.float32), 1, -1)


def _nchw(x: Array) -> Any:
    return jnp.moveaxis(x, -1, 1)

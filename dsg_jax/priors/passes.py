"""What the networks of a folder compute, as functions of their parameters and a batch.

`verify` runs these and compares them with arrays that were recorded in PyTorch, under the names
here. Arrays are batched, NHWC.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
from jax import Array

from dsg_jax.diffusion import denoise
from dsg_jax.networks.autoencoder import Autoencoder, AutoencoderConfig
from dsg_jax.networks.inception import Inception
from dsg_jax.networks.kernel_wizard import Adapter, BlurConfig, FeatureExtractor, Reconstruction
from dsg_jax.networks.lpips import LPIPSWeights, lpips
from dsg_jax.priors.first_stage import CODES, quantized
from dsg_jax.types import Prior

BLOCK = "block:"


class Pass(NamedTuple):
    """One evaluation of a network or of a part of it.

    Attributes:
      inputs: names of the arrays that go in, the first of which has a gradient.
      output: names that the result may be recorded under; the first where it is not recorded.
      gradient: the same for the gradient of sum(output * pattern) in the first input.
      call: (params, *inputs) -> the output, and by name what was computed on the way.
      divisor: what the recorded first input is divided by before it goes in.
    """

    inputs: tuple[str, ...]
    output: tuple[str, ...]
    gradient: tuple[str, ...]
    call: Callable[..., tuple[Array, dict[str, Array]]]
    divisor: float = 1.0


def unet_pass(network: nn.Module, condition: str, *part: str) -> Pass:
    """A U-Net: x, t and perhaps more -> output, and ``block:NAME`` for each of its modules.

    Args:
      network: the module.
      condition: name of what else it takes, "context" or "y", the classes; "" for nothing.
      *part: name of its parameters in the folder's, where there are others.
    """

    def call(params: Any, *inputs: Array) -> tuple[Array, dict[str, Array]]:
        output, state = network.apply(
            {"params": _of(params, part)}, *inputs, capture_intermediates=True,
            mutable=["intermediates"],
        )  # fmt: skip
        modules = state["intermediates"].items()
        inside = {BLOCK + k: v["__call__"][0] for k, v in modules if "__call__" in v}
        return output, inside

    inputs = ("x", "t", condition) if condition else ("x", "t")
    return Pass(inputs, ("output",), ("grad_x",), call)


def denoiser_pass(build: Callable[[Any], Prior], *labels: str) -> Pass:
    """E[x0] of a prior over pixels: x = x0 + sigma noise, sigma and perhaps labels y -> output.

    Args:
      build: from parameters to the prior.
      *labels: "y", of a network with a field ``label``, or nothing.
    """

    def call(params: Any, x: Array, sigma: Array, *rows: Array) -> tuple[Array, dict]:
        prior = build(params)

        def one(x: Array, sigma: Array, *label: Array) -> Array:
            network: Any = prior.network
            labelled = replace(network, label=label[0]) if label else network
            return denoise(prior._replace(network=labelled), x, sigma)

        return jax.vmap(one)(x, sigma, *rows), {}

    return Pass(("x", "sigma", *labels), ("output",), ("grad_x",), call)


def stage_passes(config: AutoencoderConfig, scale: float, *part: str) -> tuple[Pass, ...]:
    """Both halves of a first stage; the latent may be recorded under three names.

    Args:
      config: its architecture.
      scale: what multiplies its latents before the diffusion network sees them, as ``z_scaled``.
      *part: as for `unet_pass`.
    """
    network: nn.Module = Autoencoder(config)

    def call(method: str, params: Any, x: Array) -> tuple[Any, dict[str, Array]]:
        params = _of(params, part)
        if method == "decode" and config.codes:
            x = jax.vmap(lambda z: quantized(params[CODES]["kernel"], z))(x)
        return network.apply({"params": params}, x, method=method), {}

    outputs, gradients = ("encoded", "h", "moments"), ("grad_x", "grad_x_encode")
    decode = partial(Pass, output=("decoded",), gradient=("grad_z", "grad_h_decode"))
    return (
        Pass(("x",), outputs, gradients, partial(call, "encode")),
        decode(("z",), call=partial(call, "decode")),
        decode(("z_scaled",), call=partial(call, "decode"), divisor=scale),
        decode(("h",), call=partial(call, "decode")),
    )


def wizard_pass(config: BlurConfig) -> Pass:
    """KernelWizard: u in [0, 1] and a code k -> output, with features and adapted inside."""

    def call(params: Any, u: Array, code: Array) -> tuple[Array, dict[str, Array]]:
        apply = lambda part, name, *inputs: part(config).apply({"params": params[name]}, *inputs)
        features = apply(FeatureExtractor, "feature_extractor", u)
        adapted = apply(Adapter, "adapter.model", features, code)
        output = u + apply(Reconstruction, "recon_trunk", adapted)
        return output, {"features": features, "adapted": adapted}

    return Pass(("u", "k"), ("output",), ("grad_u",), call)


def lpips_pass(net: str) -> Pass:
    """LPIPS: images x and y in [-1, 1] -> distance."""

    def call(params: Any, x: Array, y: Array) -> tuple[Array, dict[str, Array]]:
        return jax.vmap(partial(lpips, LPIPSWeights(**params, net=net)))(x, y), {}

    return Pass(("x", "y"), ("distance",), ("grad_x",), call)


def inception_pass() -> Pass:
    """FID's network: images x in [-1, 1] -> pool3, with logits inside."""

    def call(params: Any, x: Array) -> tuple[Array, dict[str, Array]]:
        pooled, logits = cast(Any, Inception().apply({"params": params}, x))
        return pooled, {"logits": logits}

    return Pass(("x",), ("pool3",), ("grad_x",), call)


def _of(params: Any, part: tuple[str, ...]) -> Any:
    return params[part[0]] if part else params

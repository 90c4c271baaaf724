"""Compare converted networks with recorded PyTorch outputs, block by block where they are there.

Recorded names, all NCHW: for a U-Net ``x``, ``t`` and perhaps ``context`` or ``y`` give ``output``,
``grad_x`` = d sum(output * pattern(9)) / dx, and ``block:NAME``, the output of any module by its
name in the checkpoint (``block:input_blocks.4.0``). For a prior over pixels ``x`` = image + sigma
noise and ``sigma`` in place of ``t`` give the denoised ``output``; EDM's networks with classes take
rows ``y`` besides. For a first stage ``x`` gives ``encoded`` or ``moments``, and ``z`` (for KL
``z_scaled``) gives ``decoded``. For KernelWizard ``u`` in [0, 1] and ``k`` give ``features``,
``adapted``, ``output``; for LPIPS ``x`` and ``y`` give ``distance``.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from checkpoints_convert.recorded import Recorded, pattern
from dsg_jax.priors.kinds import CARD_KINDS, architecture_of
from dsg_jax.priors.passes import Pass, denoiser_pass

Arrays = dict[str, np.ndarray]


def errors(card: dict, params: Any, recorded: Recorded) -> dict[str, float]:
    """Relative L2 error of every recorded array that this kind of network can give.

    Raises:
      ValueError: it can give none.
    """
    arrays = recorded.arrays
    ours = _probed(outputs(card, params, arrays), recorded.probes)
    compared = {name: relative(ours[name], arrays[name]) for name in arrays if name in ours}
    if not compared:
        raise ValueError(
            f"the recorded arrays ({', '.join(arrays)}) are none of a {card['kind']} network: the "
            "head of checkpoints_convert/parity.py lists the names"
        )
    return compared


def relative(a: Any, b: np.ndarray) -> float:
    """||a - b|| / ||b||; infinite for arrays of other shapes."""
    a, expected = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != expected.shape:
        return float("inf")
    return float(np.linalg.norm(a - expected) / max(float(np.linalg.norm(expected)), 1e-30))


def outputs(card: dict, params: Any, arrays: Arrays) -> Arrays:
    """What the networks of a folder give for these inputs, under the names of the recorded arrays.

    An array goes into the first pass that takes it: ``x`` is a U-Net's latent where there is also
    ``t``, and else the first stage's image. An output is computed once, by the first pass whose
    inputs are there: a latent may be recorded under three names.
    """
    results: Arrays = {}
    taken: set[str] = set()
    for one in _passes(card):
        first = one.inputs[0]
        computed = first in taken or any(name in results for name in one.output)
        if set(one.inputs) <= arrays.keys() and not computed:
            taken.add(first)
            results |= _evaluated(one, params, arrays)
    return results


def _passes(card: dict) -> tuple[Pass, ...]:
    """Those of the card's kind; what it has to denoise, too, where it is a prior over pixels."""
    kind, architecture = CARD_KINDS[card["kind"]], architecture_of(card)
    passes = kind.passes(card, architecture)
    if "clock" not in card or set(architecture) != {"unet"}:
        return passes
    build = lambda params: kind.build(card, architecture, params, "float32")
    rows = ["y"] if getattr(architecture["unet"], "label_dim", None) else []
    return *passes, *(denoiser_pass(build, *names) for names in (rows, []))


def _evaluated(one: Pass, params: Any, arrays: Arrays) -> Arrays:
    """The output of a pass, and of its gradient and what is inside what was recorded."""
    recorded = {name.partition("__")[0] for name in arrays}  # "output" of "output__rows"
    output_name = next((name for name in one.output if name in recorded), one.output[0])
    gradient_name = next((name for name in one.gradient if name in recorded), None)

    @jax.jit
    def evaluate(params: Any, first: Array, *others: Array) -> dict[str, Array]:
        apply = lambda first: one.call(params, first, *others)
        if gradient_name is None:
            output, inside = apply(first)
            gradient = {}
        else:
            output, vjp, inside = jax.vjp(apply, first, has_aux=True)
            shape = _nchw(output).shape
            gradient = {gradient_name: vjp(_nhwc(pattern(9, shape)))[0]}
        return {k: v for k, v in inside.items() if k in recorded} | {output_name: output} | gradient

    first, *others = (_nhwc(arrays[name]) for name in one.inputs)
    return jax.tree.map(_nchw, evaluate(params, first / one.divisor, *others))


def _probed(ours: Arrays, probes: dict[str, list[int]]) -> Arrays:
    """Add the rows and columns at which large arrays were recorded."""
    probed = dict(ours)
    for name, value in ours.items():
        place = "feature_probe" if name in ("features", "adapted") else "probe"
        if f"{place}_rows" in probes:
            probed[f"{name}__rows"] = value[:, :, probes[f"{place}_rows"], :]
            probed[f"{name}__cols"] = value[:, :, :, probes[f"{place}_cols"]]
    return probed


def _nhwc(x: np.ndarray) -> np.ndarray:
    """Images from NCHW, as float32; other arrays as they are."""
    return np.moveaxis(np.asarray(x, np.float32), 1, -1) if np.ndim(x) == 4 else x


def _nchw(x: Any) -> Any:
    return jnp.moveaxis(x, -1, 1) if x.ndim == 4 else x

"""LPIPS weights of two PyTorch files: torchvision's classifier and the official linear heads."""

from collections.abc import Mapping

import numpy as np

from checkpoints_convert.rename import to_flax
from dsg_jax.metrics.lpips import TRUNKS, LPIPSWeights, lpips_shapes

LAYERS = {"alex": (0, 3, 6, 8, 10), "vgg": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)}
"""Places of the convolutions in torchvision's ``features``; activations and pools lie between."""

DROPPED = {"classifier.": "the dense layers that name a class; LPIPS compares earlier activations"}
"""Prefixes of tensors that are left out, and why. Every other tensor is used exactly once."""


def lpips_from_torch(
    trunk: Mapping[str, np.ndarray], heads: Mapping[str, np.ndarray], net: str
) -> LPIPSWeights:
    """The weights of `dsg_jax.metrics.lpips` in float32, for `lpips` itself or for `save_lpips`.

    Args:
      trunk: state dict of torchvision's AlexNet or VGG16 (``alexnet-owt-7be5be79.pth``,
        ``vgg16-397923af.pth``): ``features.0.weight`` and so on.
      heads: state dict of LPIPS v0.1's ``alex.pth`` or ``vgg.pth``: ``lin0.model.1.weight`` to
        ``lin4.model.1.weight``.
      net: "alex" or "vgg".

    Raises:
      ValueError: another ``net``, or, as `to_flax`, tensors that are missing, left over or of
        another shape.
    """
    if net not in TRUNKS:
        raise ValueError(f"no LPIPS network {net!r}: choose from {', '.join(TRUNKS)}")
    shapes = lpips_shapes(net)
    layers = {f"features.{i}": c for i, c in zip(LAYERS[net], shapes.convolutions, strict=True)}
    lines = {f"lin{k}.model.1": {"kernel": _as_1x1(h)} for k, h in enumerate(shapes.heads)}
    kept = {k: v for k, v in trunk.items() if not str(k).startswith(tuple(DROPPED))}
    found = to_flax(kept | dict(heads), {"params": layers | lines})["params"]
    return LPIPSWeights(
        tuple(found[name] for name in layers),
        tuple(found[name]["kernel"].reshape(-1) for name in lines),
        net,
    )


def _as_1x1(head):
    """A vector's struct as that of the convolution that the file has in its place."""
    return type(head)((1, 1, head.shape[0], 1), head.dtype)

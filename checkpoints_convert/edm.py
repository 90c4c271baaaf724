"""The architecture of one of EDM's networks, as the names and shapes of its tensors tell it."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from checkpoints_convert.kind import Kind
from checkpoints_convert.layouts import ADM, EDM, EDM_SETS
from dsg_jax.networks.adm import ADM_CONSISTENCY_256
from dsg_jax.networks.edm import EDMConfig
from dsg_jax.priors.cards import check_architecture

_FIRST = "map_layer0.weight"
FILTER = "resample_filter"


def edm_architecture(tensors: Mapping[str, Any]) -> dict[str, EDMConfig]:
    """The architecture of the averaged weights in a file, or of its only ones.

    Args:
      tensors: name in the file -> what has a ``shape`` and, for filters, ``read``.

    Raises:
      ValueError: the names and shapes are those of no such network.
    """
    before = [name.removesuffix(_FIRST) for name in tensors if name.endswith(_FIRST)]
    if not before:
        raise ValueError(f"no tensor is named {_FIRST}, so these are not EDM's networks")
    stem = max(before, key=lambda name: name.startswith("ema."))
    inner = {n.removeprefix(stem): tensor for n, tensor in tensors.items() if n.startswith(stem)}
    try:
        config = _config({name: tuple(tensor.shape) for name, tensor in inner.items()})
    except (KeyError, IndexError, ZeroDivisionError) as error:
        raise ValueError(f"names and shapes under {stem!r} are not EDM's: {error!r}") from error
    filters = [tensor for name, tensor in inner.items() if name.endswith(FILTER)]
    config = config._replace(filter_taps=_taps(filters))
    check_architecture(config)
    return {"unet": config}


def _config(shapes: dict[str, tuple[int, ...]]) -> EDMConfig:
    sides = {int(m[1]) for name in shapes if (m := re.match(r"enc\.(\d{1,5})x\1_", name))}
    levels = [f"enc.{side}x{side}" for side in sorted(sides, reverse=True)]
    song = "out_norm.weight" not in shapes
    stem, noise = shapes[f"{levels[0]}_conv.weight"], shapes[_FIRST]
    width = stem[0] if song else noise[1]
    ends = [shapes[f"{level}_block0.norm1.weight"][0] for level in levels]
    last = f"dec.{levels[0][4:]}_aux_conv.weight" if song else "out_conv.weight"
    having = lambda ending: [level for level in levels if f"{level}_{ending}" in shapes]
    images = [name for name in shapes if name.startswith("dec.") and name.endswith("aux_conv.bias")]
    skip, residual = having("aux_skip.weight"), having("aux_residual.weight")
    return EDMConfig(
        family="song" if song else "dhariwal",
        resolution=max(sides),
        model_channels=width,
        channel_mult=tuple(end // width for end in ends),
        num_res_blocks=len([n for n in shapes if re.match(rf"{levels[0]}_block\d+\.conv0\.b", n)]),
        attention_resolutions=tuple(int(n.split("x")[1]) for n in having("block0.qkv.weight")),
        in_channels=stem[1],
        out_channels=shapes[last][0],
        label_dim=shapes["map_label.weight"][1] if "map_label.weight" in shapes else None,
        embedding_mult=noise[0] // width,
        noise_mult=noise[1] // width,
        embedding="fourier" if "map_noise.freqs" in shapes else "positional",
        encoder="skip" if skip else "residual" if residual else "standard",
        decoder="skip" if len(images) > 1 else "standard",
    )


def _taps(filters: list[Any]) -> tuple[int, ...]:
    """Whole numbers whose outer product, over its sum, is each of the filters.

    Raises:
      ValueError: there are none.
    """
    if not filters:
        return 1, 1
    marginal = np.asarray(filters[0].read(), np.float64).reshape(filters[0].shape[-2:]).sum(axis=0)
    with np.errstate(all="ignore"):
        taps = np.round(marginal / marginal.min())
    kernel = np.outer(taps, taps) / taps.sum() ** 2
    same = lambda stored: (
        stored.shape[-2:] == kernel.shape and np.allclose(stored.read(), kernel, atol=1e-5)
    )
    if not np.isfinite(taps).all() or not all(map(same, filters)):
        raise ValueError("its resampling filters are not one of positive taps: none other is read")
    return tuple(map(int, taps))


# The kinds of `kinds.KINDS` whose networks know noise levels.
EDM_KINDS: dict[str, Kind] = {
    "consistency": Kind(
        "edm_bedroom256_ema.pt, edm_cat256_ema.pt, 2.1 GB each (Song et al., consistency_models); "
        "cd_* and ct_* are no priors",
        "adm",
        {"unet": ADM_CONSISTENCY_256},
        (ADM,),
        {
            "time_embed.0.weight": (1024, 256),
            "input_blocks.10.0.in_layers.2.weight": (512, 512, 3, 3),
            "middle_block.1.qkv.weight": (3072, 1024, 1, 1),
            "out.2.weight": (3, 256, 3, 3),
        },
        {
            "parametrisation": "edm",
            "clock": {"kind": "edm", "times": "consistency", "sigma_data": 0.5},
            "image_range": [-1, 1],
            "size": 256,
        },
    ),
    "edm": Kind(
        "SongUNet (DDPM++, NCSN++) or DhariwalUNet of any size: NVlabs' edm-*.pkl and "
        "training-state-*.pt (Karras et al.), InverseBench's *.pt",
        "edm",
        {},
        (EDM_SETS, EDM),
        {"map_layer0.weight": (512, 128), "map_layer1.weight": (512, 512)},
        {"image_range": [-1, 1]},
        read=edm_architecture,
    ),
}

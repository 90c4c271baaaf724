"""How published files name the tensors of our networks.

A `Layout` forms a file's name from a part of the model ("unet") and the tensor's name within the
part ("out.2.weight", which is our parameter's path, see `rename`). Names are always formed forward,
from the network's own: those of averaged weights have lost their dots and cannot be read back.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

Namer = Callable[[str, str], str]
"""(part, name within the part) -> name in the file."""

_SCHEDULE = (
    r"(betas|alphas_cumprod.*|sqrt_.*|log_one_minus_.*|posterior_.*|lvlb_weights)$",
    "schedule tables; recomputed in float64",
)
_AVERAGING = r"model_ema\.(decay|num_updates)$", "bookkeeping of the averaging"
_LOSS = r"(first_stage_model\.)?loss\.", "the autoencoder's training loss"
_TEXT = (
    r"(cond_stage_model\.(transformer|model)\.|text_encoder\.)",
    "text encoder; the embeddings of its prompts are stored instead",
)
_SAFETY = r"(safety_checker|image_encoder)\.", "classifies images; no part of the prior"
_RUN = r"(optimizer\w*|opt|scheduler|sched|lr_schedulers?|callbacks|loops)\.", "of the training run"


class Layout(NamedTuple):
    """One way to name the tensors of a kind."""

    about: str
    name: Namer
    averaged: Namer | None = None
    """The same for averaged weights, where a file may hold both."""
    dropped: tuple[tuple[str, str], ...] = ()
    """(pattern, reason): names that begin so and that are no weights of ours are left out."""
    outer: tuple[str, ...] = ("state_dict.", "")
    """What may stand before all names; what stands elsewhere then belongs to the training run."""


def prefixed(**prefixes: str) -> Namer:
    """The part's prefix before the name; of parts that are not named here there is none."""
    return lambda part, name: prefixes[part] + name


_COMPVIS = {
    "unet": "model.diffusion_model.",
    "first_stage": "first_stage_model.",
    "conditions": "cond_stage_model.",
}


def _compvis_averaged(part: str, name: str) -> str:
    if part != "unet":
        return _COMPVIS[part] + name
    return "model_ema.diffusion_model" + name.replace(".", "")


COMPVIS = Layout(
    "a latent diffusion checkpoint",
    prefixed(**_COMPVIS),
    _compvis_averaged,
    (_SCHEDULE, _AVERAGING, _LOSS, _TEXT),
)
ADM = Layout("a flat state dict", prefixed(unet=""))
INVERSE_BENCH = Layout(
    "an InverseBench checkpoint",
    prefixed(unet="net.model."),
    prefixed(unet="ema.model."),
    (_RUN,),
    ("",),
)
STAGE = Layout("an autoencoder's own file", prefixed(first_stage=""), None, (_LOSS,))
STAGE_INSIDE = Layout(
    "the autoencoder inside of a latent diffusion checkpoint",
    prefixed(first_stage="first_stage_model."),
    None,
    (
        _LOSS,
        _SCHEDULE,
        (r"(model|model_ema|cond_stage_model)\.", "other parts of a latent diffusion model"),
    ),
)
KERNEL_WIZARD = Layout(
    "a flat state dict",
    prefixed(network=""),
    None,
    (
        (
            r"kernel_extractor\.",
            "estimates a blur code from a sharp and a blurred image; blurring with a given code "
            "never runs it",
        ),
    ),
)
LPIPS = Layout(
    "torchvision's classifier and the official heads",
    prefixed(trunk="", heads=""),
    None,
    ((r"classifier\.", "dense layers that name a class; LPIPS compares earlier activations"),),
)

_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_ATTENTION = {
    "older": {"norm": "group_norm", "q": "query", "k": "key", "v": "value"}
    | {"proj_out": "proj_attn"},
    "newer": {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"},
}


def diffusers_unet(name: str) -> str:
    """Of Stable Diffusion: "input_blocks.4.0.out_layers.3.bias" -> "down_blocks.1.resnets.0..."."""
    module, leaf = name.rsplit(".", 1)
    if module in _ENDS:
        return f"{_ENDS[module]}.{leaf}"
    if module.startswith("middle_block."):
        _, place, rest = name.split(".", 2)
        block = ("resnets.0", "attentions.0", "resnets.1")[int(place)]
        return f"mid_block.{block}.{_inside(rest, resnet=place != '1')}"
    side, number, place, rest = name.split(".", 3)
    down = side == "input_blocks"
    level, index = divmod(int(number) - (1 if down else 0), 3)
    if rest.startswith(("op.", "conv.")):
        block = "down_blocks.{}.downsamplers" if down else "up_blocks.{}.upsamplers"
        return f"{block.format(level)}.0.conv.{leaf}"
    kind = "resnets" if place == "0" else "attentions"
    block = f"{'down' if down else 'up'}_blocks.{level}.{kind}.{index}"
    return f"{block}.{_inside(rest, resnet=place == '0')}"


def _inside(rest: str, resnet: bool) -> str:
    module, leaf = rest.rsplit(".", 1)
    return f"{_RESNET[module] if resnet else module}.{leaf}"


def diffusers_stage(name: str, attention: str, levels: int = 4) -> str:
    """KL-f8: "decoder.up.3.block.0.norm1.bias" -> "decoder.up_blocks.0.resnets.0.norm1.bias"."""
    name = name.replace("nin_shortcut", "conv_shortcut").replace("norm_out", "conv_norm_out")
    name = re.sub(r"\.mid\.block_(\d)", lambda m: f".mid_block.resnets.{int(m[1]) - 1}", name)
    found = re.fullmatch(r"(\w+)\.mid\.attn_1\.(\w+)\.(\w+)", name)
    if found:
        half, module, leaf = found.groups()
        return f"{half}.mid_block.attentions.0.{_ATTENTION[attention][module]}.{leaf}"
    flipped = lambda m: f".up_blocks.{levels - 1 - int(m[1])}."
    name = re.sub(r"\.up\.(\d)\.", flipped, re.sub(r"\.down\.(\d)\.", r".down_blocks.\1.", name))
    name = re.sub(r"\.block\.(\d)\.", r".resnets.\1.", name)
    return re.sub(r"\.(down|up)sample\.conv", r".\1samplers.0.conv", name)


def _diffusers(attention: str) -> Layout:
    def name(part: str, name: str) -> str:
        if part == "unet":
            return f"unet.{diffusers_unet(name)}"
        return f"vae.{diffusers_stage(name, attention)}"

    return Layout(f"a diffusers folder, {_about(attention)}", name, None, (_TEXT, _SAFETY), ("",))


def _diffusers_stage(attention: str) -> Layout:
    name = lambda part, name: diffusers_stage(name, attention)
    return Layout(f"a diffusers autoencoder, {_about(attention)}", name, None, (), ("",))


def _about(attention: str) -> str:
    return f"with the {attention} names of the autoencoder's attention"


DIFFUSERS = _diffusers("older"), _diffusers("newer")
DIFFUSERS_STAGE = _diffusers_stage("older"), _diffusers_stage("newer")

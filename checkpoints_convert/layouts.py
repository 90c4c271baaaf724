"""How published files name the tensors of our networks.

A `Layout` forms a file's name from ours, which is the parameter's path (`match.our_name`):
"out.2.weight", or with the part in front where a kind has several, "unet.out.2.weight". Names are
always formed forward, from ours: those of averaged weights have lost their dots and cannot be read
back.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

# Our name -> name in the file.
Namer = Callable[[str], str]

_SCHEDULE = (
    r"(betas|alphas_cumprod.*|sqrt_.*|log_one_minus_.*|posterior_.*|lvlb_weights)$",
    "schedule tables; recomputed in float64",
)
_SCALE = r"scale_factor$", "the card has it as latent_scale"
_AVERAGING = r"model_ema\.(decay|num_updates)$", "bookkeeping of the averaging"
_LOSS = r"(first_stage_model\.)?loss\.", "the autoencoder's training loss"
_TEXT = (
    r"(cond_stage_model\.(transformer|model)\.|text_encoder\.)",
    "text encoder; the embeddings of its prompts are stored instead",
)
_SAFETY = r"(safety_checker|image_encoder)\.", "classifies images; no part of the prior"
_RUN = (
    r"(optimizer\w*|opt|scheduler|sched|lr_schedulers?|callbacks|loops)\.|(epoch|(global_)?step)$",
    "of the training run",
)
_STEPS = r"checkpoint-\d+\.", "steps of the training run"


class Layout(NamedTuple):
    """One way to name the tensors of a kind.

    Attributes:
      averaged: the same for averaged weights, where a file may hold both.
      dropped: (pattern, reason): names that begin so and that are no weights of ours are left out.
      outer: what may stand before all names; what stands elsewhere then belongs to the training
        run.
    """

    about: str
    name: Namer
    averaged: Namer | None = None
    dropped: tuple[tuple[str, str], ...] = ()
    outer: tuple[str, ...] = ("", "state_dict.", "model_state_dict.", "model.", "ema.")


_COMPVIS = {
    "unet": "model.diffusion_model.",
    "first_stage": "first_stage_model.",
    "conditions": "cond_stage_model.embedding.weight",
}


def _compvis(name: str) -> str:
    part, _, rest = name.partition(".")
    return _COMPVIS[part] + rest


def _compvis_averaged(name: str) -> str:
    part, _, rest = name.partition(".")
    return f"model_ema.diffusion_model{rest.replace('.', '')}" if part == "unet" else _compvis(name)


def _same(name: str) -> str:
    return name


COMPVIS = Layout(
    "a latent diffusion checkpoint",
    _compvis,
    _compvis_averaged,
    (_SCHEDULE, _SCALE, _AVERAGING, _LOSS, _TEXT),
)
ADM = Layout("a flat state dict", _same)
INVERSE_BENCH = Layout(
    "an InverseBench checkpoint",
    "net.model.{}".format,
    "ema.model.{}".format,
    (_RUN,),
    ("",),
)
_CONSTANTS = r"(.*\.)?(resample_filter|u)$", "constants of the code, compared with ours"
_AUGMENT = r"(.*\.)?map_augment\.weight$", "for augmented images, which only training has"
EDM = Layout(
    "a state dict of EDM's",
    _same,
    None,
    (_CONSTANTS, _AUGMENT, _RUN),
    ("", "model.", "state_dict.", "state_dict.model.", "net.", "ema."),
)
EDM_SETS = INVERSE_BENCH._replace(
    about="a checkpoint of InverseBench or NVlabs", dropped=(_CONSTANTS, _AUGMENT, _RUN)
)
STAGE = Layout("an autoencoder's own file", _same, None, (_LOSS,))
STAGE_INSIDE = Layout(
    "the autoencoder inside of a latent diffusion checkpoint",
    "first_stage_model.{}".format,
    None,
    (
        _LOSS,
        _SCHEDULE,
        _SCALE,
        (r"(model|model_ema|cond_stage_model)\.", "other parts of a latent diffusion model"),
    ),
)
KERNEL_WIZARD = Layout(
    "a flat state dict",
    _same,
    None,
    (
        (
            r"kernel_extractor\.",
            "estimates a blur code from a sharp and a blurred image; blurring with a given code "
            "never runs it",
        ),
    ),
)
INCEPTION = Layout(
    "a state dict of pytorch-fid's network",
    _same,
    None,
    ((r".*\.num_batches_tracked$", "bookkeeping of training"),),
)
# Places of the convolutions in torchvision's ``features``; activations and pools lie between.
_PLACES = {"alex": (0, 3, 6, 8, 10), "vgg": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)}


def lpips_layout(net: str) -> Layout:
    """The two files of an LPIPS network together."""

    def name(ours: str) -> str:
        part, number, *leaf = ours.split(".")
        if part == "heads":
            return f"lin{number}.model.1.weight"
        return f"features.{_PLACES[net][int(number)]}.{leaf[0]}"

    reason = "dense layers that name a class; LPIPS compares earlier activations"
    about = "torchvision's classifier and the official heads"
    return Layout(about, name, None, ((r"classifier\.", reason),))


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
    """A U-Net entry of Stable Diffusion: "input_blocks.4..." -> "down_blocks.1.resnets.0..."."""
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
    """KL autoencoders: "decoder.up.3.block.0.norm1" -> "decoder.up_blocks.0.resnets.0.norm1"."""
    name = name.replace("nin_shortcut", "conv_shortcut").replace("norm_out", "conv_norm_out")
    name = re.sub(r"\.mid\.block_(\d)", lambda m: f".mid_block.resnets.{int(m[1]) - 1}", name)
    attention_name = re.fullmatch(r"(\w+)\.mid\.attn_1\.(\w+)\.(\w+)", name)
    if attention_name:
        half, module, leaf = attention_name.groups()
        return f"{half}.mid_block.attentions.0.{_ATTENTION[attention][module]}.{leaf}"
    inner = re.fullmatch(r"(\w+\.(?:down|up)\.\d)\.attn\.(\d)\.(\w+)\.(\w+)", name)
    if inner:
        level, number, module, leaf = inner.groups()
        name = f"{level}.attentions.{number}.{_ATTENTION[attention][module]}.{leaf}"
    flipped = lambda m: f".up_blocks.{levels - 1 - int(m[1])}."
    name = re.sub(r"\.up\.(\d)\.", flipped, re.sub(r"\.down\.(\d)\.", r".down_blocks.\1.", name))
    name = re.sub(r"\.block\.(\d)\.", r".resnets.\1.", name)
    return re.sub(r"\.(down|up)sample\.conv", r".\1samplers.0.conv", name)


def _diffusers(attention: str) -> Layout:
    def name(ours: str) -> str:
        part, _, rest = ours.partition(".")
        if part == "unet":
            return f"unet.{diffusers_unet(rest)}"
        return f"vae.{diffusers_stage(rest, attention)}"

    return Layout(f"a diffusers folder, {_about(attention)}", name, None, (_TEXT, _SAFETY), ("",))


def _diffusers_stage(attention: str) -> Layout:
    name = lambda ours: diffusers_stage(ours, attention)
    return Layout(f"a diffusers autoencoder, {_about(attention)}", name, None, (), ("",))


def _unet2d(attention: str, pipeline: bool) -> Layout:
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def name(ours: str) -> str:
        if attention == "newer":
            return ours
        return re.sub(r"(to_\w(?:ut\.0)?)(?=\.\w+$)", lambda match: names[match[1]], ours)

    about = f"a UNet2DModel with the {attention} names of attention"
    if not pipeline:
        return Layout(about, name, None, (), ("",))
    inside = lambda part: lambda ours: f"{part}.{name(ours)}"
    return Layout(about, inside("unet"), inside("unet_ema"), (_STEPS,), ("",))


def _about(attention: str) -> str:
    return f"with the {attention} names of the autoencoder's attention"


UNET2D = tuple(
    _unet2d(attention, pipeline) for pipeline in (True, False) for attention in ("newer", "older")
)
DIFFUSERS = _diffusers("older"), _diffusers("newer")
DIFFUSERS_STAGE = _diffusers_stage("older"), _diffusers_stage("newer")

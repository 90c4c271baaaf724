"""Checkpoints that can be converted, as data; what they should hold follows from our networks."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from checkpoints_convert import models
from checkpoints_convert.layouts import (
    ADM,
    COMPVIS,
    DIFFUSERS,
    DIFFUSERS_STAGE,
    INVERSE_BENCH,
    KERNEL_WIZARD,
    LPIPS,
    STAGE,
    STAGE_INSIDE,
    Layout,
)
from checkpoints_convert.models import Architecture
from dsg_jax.networks import autoencoder, kernel_wizard, ldm
from dsg_jax.networks.adm import ADM_FFHQ_256, ADM_IMAGENET_256


class Kind(NamedTuple):
    """A published model: what its file holds and what its card says."""

    origin: str
    """Names of the files, size, and who published them."""
    architecture: Architecture
    wanted: Callable[[Architecture], dict]
    """-> {part: nested modules of structs}, by `jax.eval_shape`: the tensors that must be there."""
    save: Callable[[Path, dict, Architecture, dict], dict]
    """(folder, arrays in the form of ``wanted``, architecture, card) -> the completed card."""
    layouts: tuple[Layout, ...]
    signature: dict[str, dict[str, tuple[int, ...]]]
    """part -> name -> shape in the file: what tells this kind from the others at little cost."""
    card: dict = {}
    prompts: bool = False
    """Whether embeddings of prompts are to be stored, which the file does not hold."""


ADM_FACTS = {
    "parametrisation": "eps",
    "betas": "linear 1e-4 to 0.02, 1000 steps",
    "learned_variance": True,
    "image_range": [-1, 1],
    "size": 256,
}
LDM_FACTS = {
    "parametrisation": "eps",
    "betas": {"start": 0.0015, "end": 0.0195, "steps": 1000},
    "latent_scale": 1.0,
    "image_range": [-1, 1],
    "size": 256,
}
SD_FACTS = LDM_FACTS | {
    "betas": {"start": 0.00085, "end": 0.012, "steps": 1000},
    "latent_scale": 0.18215,
    "size": 512,
}
STAGE_FACTS = {"image_range": [-1, 1], "size": 256}
CLASSES = {"names": [], "default": 1000, "about": "ImageNet's classes 0 to 999; 1000 is no class"}


def _lpips(net: str, origin: str, signature: dict) -> Kind:
    given = {"trunk": signature, "heads": {}}
    return Kind(
        origin, {"net": net}, models.lpips_wanted, models.save_lpips_folder, (LPIPS,), given
    )


_Signature = dict[str, tuple[int, ...]]
_VQ_SIGNATURE: _Signature = {
    "quantize.embedding.weight": (8192, 3),
    "encoder.conv_out.weight": (3, 512, 3, 3),
}
_KL_SIGNATURE: _Signature = {
    "quant_conv.weight": (8, 8, 1, 1),
    "encoder.conv_out.weight": (8, 512, 3, 3),
    "decoder.mid.attn_1.q.weight": (512, 512, 1, 1),
}
_QKV, _TO_K = "middle_block.1.qkv.weight", "middle_block.1.transformer_blocks.0.attn2.to_k.weight"

KINDS: dict[str, Kind] = {
    "adm-ffhq": Kind(
        "ffhq_10m.pt, 374 MB (Chung et al., diffusion-posterior-sampling); also InverseBench's "
        "ffhq256.pt, the same model with other names",
        {"unet": ADM_FFHQ_256},
        models.adm_wanted,
        models.save_adm_folder,
        (ADM, INVERSE_BENCH),
        {"unet": {"time_embed.0.weight": (512, 128), _QKV: (1536, 512, 1)}},
        ADM_FACTS,
    ),
    "adm-imagenet": Kind(
        "256x256_diffusion_uncond.pt, 2.2 GB (Dhariwal & Nichol, guided-diffusion)",
        {"unet": ADM_IMAGENET_256},
        models.adm_wanted,
        models.save_adm_folder,
        (ADM,),
        {"unet": {"time_embed.0.weight": (1024, 256), _QKV: (3072, 1024, 1)}},
        ADM_FACTS,
    ),
    "ldm-ffhq": Kind(
        "model.ckpt of ffhq.zip, 2.4 GB of tensors (Rombach et al., latent-diffusion)",
        {"unet": ldm.LDM_FFHQ, "first_stage": autoencoder.VQ_F4},
        models.ldm_wanted,
        models.save_ldm_folder,
        (COMPVIS,),
        {
            "unet": {"time_embed.0.weight": (896, 224), _QKV: (2688, 896, 1)},
            "first_stage": _VQ_SIGNATURE,
        },
        LDM_FACTS,
    ),
    "ldm-imagenet": Kind(
        "model.ckpt of cin256-v2, 1.8 GB of tensors (Rombach et al., latent-diffusion)",
        {"unet": ldm.LDM_CIN256, "first_stage": autoencoder.VQ_F4, "classes": 1001},
        models.ldm_wanted,
        models.save_ldm_folder,
        (COMPVIS,),
        {
            "unet": {"time_embed.0.weight": (768, 192), _TO_K: (960, 512)},
            "first_stage": _VQ_SIGNATURE,
        },
        LDM_FACTS | {"conditions": CLASSES},
    ),
    "sd15": Kind(
        "v1-5-pruned-emaonly.ckpt or .safetensors, 4.3 GB, v1-5-pruned.ckpt, 7.7 GB, or the "
        "diffusers folder (Stable Diffusion v1.5, Runway)",
        {"unet": ldm.SD_1_5, "first_stage": autoencoder.KL_F8},
        models.ldm_wanted,
        models.save_ldm_folder,
        (COMPVIS, *DIFFUSERS),
        {
            "unet": {"time_embed.0.weight": (1280, 320), _TO_K: (1280, 768)},
            "first_stage": _KL_SIGNATURE,
        },
        SD_FACTS,
        prompts=True,
    ),
    "vq-f4": Kind(
        "model.ckpt of vq-f4, 0.2 GB and its training loss (latent-diffusion, first stages)",
        {"first_stage": autoencoder.VQ_F4},
        models.stage_wanted,
        models.save_stage_folder,
        (STAGE, STAGE_INSIDE),
        {"first_stage": _VQ_SIGNATURE},
        STAGE_FACTS | {"latent_scale": 1.0},
    ),
    "kl-f8": Kind(
        "the autoencoder of Stable Diffusion v1.5, 0.3 GB, alone or inside of its checkpoint",
        {"first_stage": autoencoder.KL_F8},
        models.stage_wanted,
        models.save_stage_folder,
        (STAGE, STAGE_INSIDE, *DIFFUSERS_STAGE),
        {"first_stage": _KL_SIGNATURE},
        STAGE_FACTS | {"latent_scale": 0.18215, "size": 512},
    ),
    "kernel-wizard": Kind(
        "GOPRO_wVAE.pth, 461 MB (Tran et al., blur-kernel-space-exploring)",
        {"network": kernel_wizard.GOPRO_WVAE},
        models.wizard_wanted,
        models.save_wizard_folder,
        (KERNEL_WIZARD,),
        {"network": {"recon_trunk.28.weight": (3, 64, 3, 3)}},
    ),
    "lpips-vgg": _lpips(
        "vgg",
        "two files: vgg16-397923af.pth, 553 MB (torchvision), and LPIPS v0.1's vgg.pth",
        {"features.0.weight": (64, 3, 3, 3), "features.28.weight": (512, 512, 3, 3)},
    ),
    "lpips-alex": _lpips(
        "alex",
        "two files: alexnet-owt-7be5be79.pth, 244 MB (torchvision), and LPIPS v0.1's alex.pth",
        {"features.0.weight": (64, 3, 11, 11), "features.10.weight": (256, 256, 3, 3)},
    ),
}
"""Name of a kind, for ``--kind``, and everything that is known of it."""

"""Checkpoints that can be converted, as data; what they should hold follows from our networks."""

from checkpoints_convert.edm import EDM_KINDS
from checkpoints_convert.kind import Kind, Signature
from checkpoints_convert.layouts import (
    ADM,
    COMPVIS,
    DIFFUSERS,
    DIFFUSERS_STAGE,
    INCEPTION,
    INVERSE_BENCH,
    KERNEL_WIZARD,
    STAGE,
    STAGE_INSIDE,
    UNET2D,
    lpips_layout,
)
from dsg_jax.networks import autoencoder, kernel_wizard, ldm
from dsg_jax.networks.adm import (
    ADM_FFHQ_256,
    ADM_IMAGENET_256,
    ADM_IMAGENET_CLASSES,
)
from dsg_jax.networks.unet2d_blocks import DDPM_256

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
SD21_FACTS = SD_FACTS | {"parametrisation": "v", "size": 768}
# Of google/ddpm-celebahq-256; `diffusers` reads a folder's own.
UNET2D_FACTS = {
    "parametrisation": "eps",
    "clock": {"kind": "table", "schedule": "linear"},
    "learned_variance": False,
    "image_range": [-1, 1],
    "size": 256,
}
STAGE_FACTS = {"image_range": [-1, 1], "size": 256}


_VQ_SIGNATURE: Signature = {
    "quantize.embedding.weight": (8192, 3),
    "encoder.conv_out.weight": (3, 512, 3, 3),
}
_KL_SIGNATURE: Signature = {
    "quant_conv.weight": (8, 8, 1, 1),
    "encoder.conv_out.weight": (8, 512, 3, 3),
    "decoder.mid.attn_1.q.weight": (512, 512, 1, 1),
}
_TIME, _QKV = "time_embed.0.weight", "middle_block.1.qkv.weight"
_INNER = "input_blocks.10.0.in_layers.2.weight"
_QUERY = "mid_block.attentions.0.to_q.weight"
_TO_K = "middle_block.1.transformer_blocks.0.attn2.to_k.weight"


def _latent(unet: Signature, first_stage: Signature) -> Signature:
    """Both signatures, with the part in front of every name."""
    unet = {f"unet.{name}": shape for name, shape in unet.items()}
    return unet | {f"first_stage.{name}": shape for name, shape in first_stage.items()}


_ADM_256: Signature = {
    _TIME: (1024, 256),
    _QKV: (3072, 1024, 1),
    _INNER: (512, 512, 3, 3),
    "out.2.weight": (6, 256, 3, 3),
}
_SD21 = _latent({_TIME: (1280, 320), _TO_K: (1280, 1024)}, _KL_SIGNATURE)


def _with_classes(side: int, origin: str, inner: tuple[int, ...], **facts) -> Kind:
    """A class-conditional ADM of ImageNet; ``inner`` is the shape of its block 10."""
    config = ADM_IMAGENET_CLASSES[side]
    width, middle = config.model_channels, int(config.channel_mult[-1] * config.model_channels)
    signature: Signature = {
        "label_emb.weight": (1000, 4 * width),
        _TIME: (4 * width, width),
        _QKV: (3 * middle, middle, 1),
        _INNER: inner,
        "out.2.weight": (6, width, 3, 3),
    }
    about = f"{origin} (Dhariwal & Nichol, guided-diffusion); wants a class"
    return Kind(
        about, "adm", {"unet": config}, (ADM,), signature, ADM_FACTS | {"size": side} | facts
    )


# Name of a kind, for ``--kind``, and everything that is known of it.
KINDS: dict[str, Kind] = {
    "adm-ffhq": Kind(
        "ffhq_10m.pt, 374 MB (Chung et al., diffusion-posterior-sampling); also InverseBench's "
        "ffhq256.pt, the same model with other names",
        "adm",
        {"unet": ADM_FFHQ_256},
        (ADM, INVERSE_BENCH),
        {_TIME: (512, 128), _QKV: (1536, 512, 1), "out.2.weight": (6, 128, 3, 3)},
        ADM_FACTS,
    ),
    "adm-imagenet": Kind(
        "256x256_diffusion_uncond.pt, 2.2 GB (Dhariwal & Nichol, guided-diffusion)",
        "adm",
        {"unet": ADM_IMAGENET_256},
        (ADM,),
        _ADM_256,
        ADM_FACTS,
    ),
    "adm-lsun": Kind(
        "lsun_bedroom.pt, lsun_cat.pt, lsun_horse.pt, 2.2 GB each (guided-diffusion)",
        "adm",
        {"unet": ADM_IMAGENET_256},
        (ADM,),
        _ADM_256,
        ADM_FACTS,
        named=r"lsun|bedroom|cat|horse",
    ),
    "adm-imagenet64-cond": _with_classes(
        64,
        "64x64_diffusion.pt, 1.2 GB",
        (576, 384, 3, 3),
        betas="cosine, 1000 steps",
        clock={"kind": "table", "schedule": "cosine", "steps": 1000},
    ),
    "adm-imagenet128-cond": _with_classes(128, "128x128_diffusion.pt, 1.7 GB", (768, 512, 3, 3)),
    "adm-imagenet256-cond": _with_classes(256, "256x256_diffusion.pt, 2.2 GB", (512, 512, 3, 3)),
    "adm-imagenet512-cond": _with_classes(512, "512x512_diffusion.pt, 2.2 GB", (512, 256, 3, 3)),
    "unet2d": Kind(
        "a diffusers folder of a UNet2DModel, such as google/ddpm-celebahq-256 or what the "
        "training script of unconditional image generation writes",
        "unet2d",
        {"unet": DDPM_256},
        UNET2D,
        {"mid_block.attentions.0.group_norm.weight": (512,), _QUERY: (512, 512)},
        UNET2D_FACTS,
    ),
    **EDM_KINDS,
    "ldm-ffhq": Kind(
        "model.ckpt of ffhq.zip, 2.4 GB of tensors (Rombach et al., latent-diffusion)",
        "ldm",
        {"unet": ldm.LDM_FFHQ, "first_stage": autoencoder.VQ_F4},
        (COMPVIS,),
        _latent({_TIME: (896, 224), _QKV: (2688, 896, 1)}, _VQ_SIGNATURE),
        LDM_FACTS,
    ),
    "ldm-imagenet": Kind(
        "model.ckpt of cin256-v2, 1.8 GB of tensors (Rombach et al., latent-diffusion)",
        "ldm",
        {"unet": ldm.LDM_CIN256, "first_stage": autoencoder.VQ_F4, "classes": 1001},
        (COMPVIS,),
        _latent({_TIME: (768, 192), _TO_K: (960, 512)}, _VQ_SIGNATURE),
        LDM_FACTS,
    ),
    "sd15": Kind(
        "v1-5-pruned-emaonly.ckpt or .safetensors, 4.3 GB, v1-5-pruned.ckpt, 7.7 GB, or the "
        "diffusers folder (Stable Diffusion v1.5, Runway)",
        "ldm",
        {"unet": ldm.SD_1_5, "first_stage": autoencoder.KL_F8},
        (COMPVIS, *DIFFUSERS),
        _latent({_TIME: (1280, 320), _TO_K: (1280, 768)}, _KL_SIGNATURE),
        SD_FACTS,
        prompts="clip-l",
    ),
    "sd21": Kind(
        "v2-1_768-ema-pruned.ckpt or .safetensors, 5.2 GB, or the diffusers folder (Stable "
        "Diffusion v2 and v2.1, Stability AI): 768 px, predicts v",
        "ldm",
        {"unet": ldm.SD_2_1, "first_stage": autoencoder.KL_F8},
        (COMPVIS, *DIFFUSERS),
        _SD21,
        SD21_FACTS,
        prompts="openclip-h",
        named=r"768",
    ),
    "sd21-base": Kind(
        "v2-1_512-ema-pruned.ckpt or .safetensors, 5.2 GB, or the diffusers folder: the same for "
        "512 px, predicts the noise",
        "ldm",
        {"unet": ldm.SD_2_1, "first_stage": autoencoder.KL_F8},
        (COMPVIS, *DIFFUSERS),
        _SD21,
        SD_FACTS,
        prompts="openclip-h",
        named=r"512|base",
    ),
    "vq-f4": Kind(
        "model.ckpt of vq-f4, 0.2 GB and its training loss (latent-diffusion, first stages)",
        "first-stage",
        {"first_stage": autoencoder.VQ_F4},
        (STAGE, STAGE_INSIDE),
        _VQ_SIGNATURE,
        STAGE_FACTS | {"latent_scale": 1.0},
    ),
    "kl-f8": Kind(
        "the autoencoder of Stable Diffusion v1.5, 0.3 GB, alone or inside of its checkpoint",
        "first-stage",
        {"first_stage": autoencoder.KL_F8},
        (STAGE, STAGE_INSIDE, *DIFFUSERS_STAGE),
        _KL_SIGNATURE,
        STAGE_FACTS | {"latent_scale": 0.18215, "size": 512},
    ),
    "kernel-wizard": Kind(
        "GOPRO_wVAE.pth, 461 MB (Tran et al., blur-kernel-space-exploring)",
        "kernel-wizard",
        {"network": kernel_wizard.GOPRO_WVAE},
        (KERNEL_WIZARD,),
        {"recon_trunk.28.weight": (3, 64, 3, 3)},
    ),
    "inception-fid": Kind(
        "pt_inception-2015-12-05-6726825d.pth, 96 MB (pytorch-fid; clean-fid's legacy_pytorch)",
        "inception-fid",
        {},
        (INCEPTION,),
        {"Mixed_6e.branch1x1.conv.weight": (192, 768, 1, 1)},
    ),
    "lpips-vgg": Kind(
        "two files: vgg16-397923af.pth, 553 MB (torchvision), and LPIPS v0.1's vgg.pth",
        "lpips-vgg",
        {},
        (lpips_layout("vgg"),),
        {"convolutions.0.weight": (64, 3, 3, 3), "convolutions.12.weight": (512, 512, 3, 3)},
    ),
    "lpips-alex": Kind(
        "two files: alexnet-owt-7be5be79.pth, 244 MB (torchvision), and LPIPS v0.1's alex.pth",
        "lpips-alex",
        {},
        (lpips_layout("alex"),),
        {"convolutions.0.weight": (64, 3, 11, 11), "convolutions.4.weight": (256, 256, 3, 3)},
    ),
}

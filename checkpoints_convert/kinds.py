"""Checkpoints that can be converted, as data; what they should hold follows from our networks."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from checkpoints_convert.edm import edm_architecture
from checkpoints_convert.layouts import (
    ADM,
    COMPVIS,
    DIFFUSERS,
    DIFFUSERS_STAGE,
    EDM,
    EDM_SETS,
    INVERSE_BENCH,
    KERNEL_WIZARD,
    STAGE,
    STAGE_INSIDE,
    Layout,
    lpips_layout,
)
from dsg_jax.networks import autoencoder, kernel_wizard, ldm
from dsg_jax.networks.adm import ADM_CONSISTENCY_256, ADM_FFHQ_256, ADM_IMAGENET_256
from dsg_jax.priors.kinds import Architecture, structs_of

# Our name of a tensor -> its shape in the file.
Signature = dict[str, tuple[int, ...]]


class Kind(NamedTuple):
    """A published model: what its file holds and what its card says.

    Attributes:
      origin: names of the files, size, and who published them.
      card_kind: key of `dsg_jax.priors.kinds.CARD_KINDS`: what the converted folder is.
      architecture: the card kind's parts; "classes" is the number of rows of a class table.
      signature: what tells this kind from the others at little cost.
      card: entries of its card that the architecture does not say.
      prompts: whether embeddings of prompts are to be stored, which the file does not hold.
      read: the architecture that a file's tensors tell, where it is no published one.
    """

    origin: str
    card_kind: str
    architecture: Architecture
    layouts: tuple[Layout, ...]
    signature: Signature
    card: dict = {}
    prompts: bool = False
    read: Callable[[Mapping[str, Any]], Architecture] | None = None

    def of(self, tensors: Mapping[str, Any]) -> "Kind":
        """The kind with the architecture of a file.

        Raises:
          ValueError: the tensors are of no such network.
        """
        return self if self.read is None else self._replace(architecture=self.read(tensors))

    @property
    def stored_architecture(self) -> Architecture:
        """The architecture as `CARD_KINDS` takes it: classes are conditions of one token."""
        parts = dict(self.architecture)
        if "classes" in parts:
            parts["conditions"] = (parts.pop("classes"), 1, parts["unet"].context_dim)
        return parts

    def structs(self) -> dict:
        """The tensors that the file must hold, as our parameters, by `jax.eval_shape`."""
        return structs_of(self.card_kind, self.stored_architecture)


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
_TO_K = "middle_block.1.transformer_blocks.0.attn2.to_k.weight"


def _latent(unet: Signature, first_stage: Signature) -> Signature:
    """Both signatures, with the part in front of every name."""
    unet = {f"unet.{name}": shape for name, shape in unet.items()}
    return unet | {f"first_stage.{name}": shape for name, shape in first_stage.items()}


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
        {_TIME: (1024, 256), _QKV: (3072, 1024, 1), "out.2.weight": (6, 256, 3, 3)},
        ADM_FACTS,
    ),
    "consistency": Kind(
        "edm_bedroom256_ema.pt, edm_cat256_ema.pt, 2.1 GB each (Song et al., consistency_models); "
        "cd_* and ct_* are no priors",
        "adm",
        {"unet": ADM_CONSISTENCY_256},
        (ADM,),
        {_TIME: (1024, 256), _QKV: (3072, 1024, 1, 1), "out.2.weight": (3, 256, 3, 3)},
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
        LDM_FACTS | {"conditions": CLASSES},
    ),
    "sd15": Kind(
        "v1-5-pruned-emaonly.ckpt or .safetensors, 4.3 GB, v1-5-pruned.ckpt, 7.7 GB, or the "
        "diffusers folder (Stable Diffusion v1.5, Runway)",
        "ldm",
        {"unet": ldm.SD_1_5, "first_stage": autoencoder.KL_F8},
        (COMPVIS, *DIFFUSERS),
        _latent({_TIME: (1280, 320), _TO_K: (1280, 768)}, _KL_SIGNATURE),
        SD_FACTS,
        prompts=True,
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

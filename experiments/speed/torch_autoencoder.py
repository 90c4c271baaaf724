"""VQ-f4 in PyTorch, for comparison: see `torch_networks`."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.speed.torch_networks import conv, doubled


def norm(groups: int, c: int) -> nn.GroupNorm:
    """A group norm with the autoencoders' constant."""
    return nn.GroupNorm(groups, c, eps=1e-6)


class Resnet(nn.Module):
    """Two normalised convolutions beside a shortcut."""

    def __init__(self, c: int, out: int, groups: int):
        super().__init__()
        self.norm1, self.conv1 = norm(groups, c), conv(c, out)
        self.norm2, self.conv2 = norm(groups, out), conv(out, out)
        if c != out:
            self.nin_shortcut = conv(c, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, out, h, w)."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x) + h


class Attention(nn.Module):
    """Self-attention of one head over all pixels."""

    def __init__(self, c: int, groups: int):
        super().__init__()
        self.norm = norm(groups, c)
        self.q, self.k, self.v, self.proj_out = (conv(c, c, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> the same."""
        h = self.norm(x)
        q, k, v = (f(h).flatten(2).transpose(1, 2) for f in (self.q, self.k, self.v))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        return x + self.proj_out(attended.contiguous(memory_format=torch.channels_last))


class Half(nn.Module):
    """The encoder or the decoder of a configuration of `AutoencoderConfig`."""

    def __init__(self, config: dict[str, Any], is_encoder: bool):
        super().__init__()
        self.is_encoder, groups = is_encoder, config["norm_groups"]
        widths = [config["channels"] * mult for mult in config["channel_mult"]]
        count = config["num_res_blocks"] + (not is_encoder)
        latent = config["latent_channels"]
        c = config["channels"] if is_encoder else widths[-1]
        self.conv_in = conv(config["image_channels"] if is_encoder else latent, c)
        if not is_encoder:
            self.mid = self._middle(c, groups)
        levels: list[nn.Module] = []
        order = list(enumerate(widths))
        for level, width in order if is_encoder else order[::-1]:
            blocks = [Resnet(c if i == 0 else width, width, groups) for i in range(count)]
            c, parts = width, {"block": nn.ModuleList(blocks)}
            if is_encoder and level + 1 < len(widths):
                parts["downsample"] = nn.ModuleDict({"conv": conv(c, c, 3, 2, 0)})
            if not is_encoder and level:
                parts["upsample"] = nn.ModuleDict({"conv": conv(c, c)})
            levels.append(nn.ModuleDict(parts))
        setattr(
            self, "down" if is_encoder else "up", nn.ModuleList(levels[:: 1 if is_encoder else -1])
        )
        if is_encoder:
            self.mid = self._middle(c, groups)
        self.norm_out = norm(groups, c)
        self.conv_out = conv(c, latent if is_encoder else config["image_channels"])

    @staticmethod
    def _middle(c: int, groups: int) -> nn.ModuleDict:
        parts = {"block_1": Resnet(c, c, groups), "attn_1": Attention(c, groups)}
        return nn.ModuleDict(parts | {"block_2": Resnet(c, c, groups)})

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) image or latent -> the other."""
        x = self.conv_in(x)
        if not self.is_encoder:
            x = self._through_middle(x)
        for level in self.down if self.is_encoder else reversed(self.up):
            for block in level["block"]:
                x = block(x)
            if "downsample" in level:
                x = level["downsample"]["conv"](F.pad(x, (0, 1, 0, 1)))
            if "upsample" in level:
                x = level["upsample"]["conv"](doubled(x))
        if self.is_encoder:
            x = self._through_middle(x)
        return self.conv_out(F.silu(self.norm_out(x)))

    def _through_middle(self, x: Tensor) -> Tensor:
        for block in self.mid.values():
            x = block(x)
        return x


class VQ(nn.Module):
    """Both halves and the codes; the gradient of the nearest code is the identity's."""

    def __init__(self, config: dict[str, Any]):
        super().__init__()
        c = config["latent_channels"]
        self.encoder, self.decoder = Half(config, True), Half(config, False)
        self.quant_conv, self.post_quant_conv = conv(c, c, 1), conv(c, c, 1)
        self.quantize = nn.ModuleDict({"embedding": nn.Embedding(config["codes"], c)})

    def encode(self, x: Tensor) -> Tensor:
        """(b, 3, h, w) images -> (b, c, h', w') latents."""
        return self.quant_conv(self.encoder(x))

    def decode(self, z: Tensor) -> Tensor:
        """(b, c, h', w') latents -> (b, 3, h, w) images, by way of the nearest codes."""
        codes = self.quantize["embedding"].weight
        with torch.no_grad():
            flat = z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])
            squares = (codes**2).sum(1)
            nearest = torch.addmm(squares, flat, codes.T, alpha=-2).argmin(1)
            code = codes[nearest].reshape(z.shape[0], *z.shape[2:], -1).permute(0, 3, 1, 2)
        return self.decoder(self.post_quant_conv(z + (code - z).detach()))

"""ADM's and latent diffusion's networks in PyTorch, for comparison; no part of the product.

The architectures of `dsg_jax.networks`, written for speed: channels-last maps, PyTorch's fused
attention, no checkpointing. Modules have the names of the published checkpoints, so that weights go
from one to the other by name. An architecture comes as the JSON of its configuration.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv(features: int, out: int, size: int = 3, stride: int = 1, padding: int | None = None):
    """A square convolution, zero-padded by half its size."""
    return nn.Conv2d(features, out, size, stride, size // 2 if padding is None else padding)


def timestep_embedding(t: Tensor, width: int) -> Tensor:
    """Sinusoids of (b,) times, cosines first."""
    half = torch.arange(width // 2, dtype=torch.float32, device=t.device) / (width // 2)
    angles = t[:, None] * torch.exp(-torch.log(torch.tensor(10000.0)) * half)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class Residual(nn.Module):
    """A residual block; the embedded time scales and shifts (ADM) or is added (latent)."""

    def __init__(self, c: int, out: int, emb: int, groups: int, shifts: bool, resample: str = ""):
        super().__init__()
        self.shifts, self.resample = shifts, resample
        self.in_layers = nn.Sequential(nn.GroupNorm(groups, c), nn.SiLU(), conv(c, out))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb, out * (1 + shifts)))
        layers = nn.GroupNorm(groups, out), nn.SiLU(), nn.Identity(), conv(out, out)
        self.out_layers = nn.Sequential(*layers)
        self.skip_connection = nn.Identity() if c == out else conv(c, out, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, out, h', w')."""
        h = self.in_layers[:2](x)
        if self.resample:
            change = halved if self.resample == "down" else doubled
            h, x = change(h), change(x)
        h, emb = self.in_layers[2](h), self.emb_layers(emb)[:, :, None, None]
        if self.shifts:
            scale, shift = emb.chunk(2, dim=1)
            h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        else:
            h = self.out_layers(h + emb)
        return self.skip_connection(x) + h


def halved(x: Tensor) -> Tensor:
    """2 x 2 means."""
    return F.avg_pool2d(x, 2)


def doubled(x: Tensor) -> Tensor:
    """Every pixel twice along both axes."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


class Attention(nn.Module):
    """Self-attention over the pixels, the channels ordered (heads, qkv) as in the checkpoints."""

    def __init__(self, c: int, heads: int, groups: int):
        super().__init__()
        self.heads = heads
        self.norm, self.qkv = nn.GroupNorm(groups, c), nn.Linear(c, 3 * c)
        self.proj_out = nn.Linear(c, c)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """(b, c, h, w) -> the same."""
        del emb
        b, c, h, w = x.shape
        tokens = self.norm(x).permute(0, 2, 3, 1).reshape(b, h * w, c)
        qkv = self.qkv(tokens).reshape(b, h * w, self.heads, 3, c // self.heads)
        q, k, v = qkv.permute(3, 0, 2, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, h * w, c)
        return x + self.proj_out(attended).reshape(b, h, w, c).permute(0, 3, 1, 2)


class Resample(nn.Module):
    """Half or double size by one convolution."""

    def __init__(self, c: int, direction: str):
        super().__init__()
        self.direction = direction
        setattr(self, "op" if direction == "down" else "conv", conv(c, c, 3, 1 + self.is_down))

    @property
    def is_down(self) -> bool:
        """Whether it halves."""
        return self.direction == "down"

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, c, h', w')."""
        del emb
        return self.op(x) if self.is_down else self.conv(doubled(x))


class UNet(nn.Module):
    """The U-Net of a configuration of `ADMConfig` (which has ``patch``) or `LDMConfig`."""

    def __init__(self, config: dict[str, Any]):
        super().__init__()
        self.width, self.patch = config["model_channels"], config.get("patch", 1)
        self.config, groups = config, config["norm_groups"]
        is_adm, emb = "patch" in config, 4 * self.width
        residual = lambda c, out, way="": Residual(c, out, emb, groups, is_adm, way)
        attention = lambda c: Attention(c, self.heads(c), groups)
        moves = config.get("resblock_updown", False)
        resample = lambda c, way: residual(c, c, way) if moves else Resample(c, way)
        self.time_embed = nn.Sequential(nn.Linear(self.width, emb), nn.SiLU(), nn.Linear(emb, emb))
        c, factor, area = self.width, 1, self.patch**2
        mults, blocks = config["channel_mult"], config["num_res_blocks"]
        self.input_blocks = nn.ModuleList([nn.ModuleList([conv(config["in_channels"] * area, c)])])
        skips = [c]
        for level, mult in enumerate(mults):
            for _ in range(blocks):
                block = [residual(c, mult * self.width)]
                c = mult * self.width
                block += [attention(c)] if factor in config["attention_factors"] else []
                self.input_blocks.append(nn.ModuleList(block))
                skips.append(c)
            if level + 1 < len(mults):
                self.input_blocks.append(nn.ModuleList([resample(c, "down")]))
                skips.append(c)
                factor *= 2
        middle = [attention(c)] if config.get("middle_attention", True) else [nn.Identity()]
        self.middle_block = nn.ModuleList([residual(c, c), *middle, residual(c, c)])
        self.output_blocks = nn.ModuleList()
        for level, mult in reversed(list(enumerate(mults))):
            for i in range(blocks + 1):
                block = [residual(c + skips.pop(), mult * self.width)]
                c = mult * self.width
                block += [attention(c)] if factor in config["attention_factors"] else []
                if level and i == blocks:
                    block += [resample(c, "up")]
                    factor //= 2
                self.output_blocks.append(nn.ModuleList(block))
        out = conv(c, config["out_channels"] * area)
        self.out = nn.Sequential(nn.GroupNorm(groups, c), nn.SiLU(), out)

    def heads(self, c: int) -> int:
        """Heads of an attention over c channels."""
        each = self.config["num_head_channels"]
        return self.config["num_heads"] if each == -1 else c // each

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """(b, c, h, w) and (b,) times -> (b, c', h, w)."""
        emb = self.time_embed(timestep_embedding(t, self.width))
        h, skips = self.input_blocks[0][0](unshuffled(x, self.patch)), []
        skips.append(h)
        for block in self.input_blocks[1:]:
            for layer in block:
                h = layer(h, emb)
            skips.append(h)
        for layer in self.middle_block:
            h = h if isinstance(layer, nn.Identity) else layer(h, emb)
        for block in self.output_blocks:
            h = torch.cat([h, skips.pop()], dim=1)
            for layer in block:
                h = layer(h, emb)
        return shuffled(self.out(h), self.patch)


def unshuffled(x: Tensor, factor: int) -> Tensor:
    """(b, c, h, w) -> (b, factor factor c, h', w'), the channels innermost."""
    b, c, h, w = x.shape
    x = x.reshape(b, c, h // factor, factor, w // factor, factor).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(b, -1, h // factor, w // factor).contiguous(memory_format=torch.channels_last)


def shuffled(x: Tensor, factor: int) -> Tensor:
    """Inverse of `unshuffled`."""
    b, c, h, w = x.shape
    x = x.reshape(b, factor, factor, -1, h, w).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(b, -1, h * factor, w * factor)

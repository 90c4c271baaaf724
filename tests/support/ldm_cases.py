"""Shared by the tests of ldm."""

from dsg_jax.networks.autoencoder import VQ_F4
from dsg_jax.networks.ldm import LDMConfig

FFHQ_LIKE = LDMConfig(32, (1, 1), 1, attention_factors=(2,), num_head_channels=16)


SD_LIKE = LDMConfig(
    32, (1,), 1, (1,), num_heads=2, num_head_channels=-1, context_dim=16, in_channels=4,
    out_channels=4,
)  # fmt: skip


TINY = LDMConfig(32, (1,), 1, attention_factors=(1,), num_head_channels=16)


TINY_VQ = VQ_F4._replace(channels=32, channel_mult=(1, 1, 1), num_res_blocks=1, codes=64)

"""Shared by the tests of blur network."""

from checkpoints_convert.kernel_wizard import kernel_wizard_params
from checkpoints_convert.read.torch_zip import read_torch_zip
from dsg_jax.networks.kernel_wizard import (
    BlurConfig,
)
from dsg_jax.operators.blur_network import (
    BlurNetwork,
)
from support.golden_case import GOLDEN

REDUCED = BlurConfig(channels=4, front_blocks=2, back_blocks=3, code_channels=32)


def reduced_network() -> BlurNetwork:
    weights = read_torch_zip(GOLDEN / "networks" / "kernel_wizard_reduced.pt")
    return BlurNetwork(kernel_wizard_params(weights, REDUCED), REDUCED)

"""The latent diffusion U-Net against golden numbers and the published key lists."""

import math
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.networks.ldm import (
    LDM_CIN256,
    LDM_FFHQ,
    SD_1_5,
    SD_2_1,
    LDMConfig,
    LDMUNet,
    init_params,
)
from dsg_jax.priors import load_prior
from dsg_jax.priors.latent import LDMNetwork
from support.golden_case import GOLDEN, load, read_arrays, relative
from support.golden_models import FFHQ_LIKE, SD_LIKE, TINY_VQ, converted, golden_folder
from support.network_cases import (
    check_golden,
    nhwc,
    published_keys,
    recipe_weights,
    torch_shapes,
)
from support.state_files import entries, write_state

GOLDEN_CASES = {
    "ldm_unet_ffhq_like": ("ldm-ffhq", FFHQ_LIKE),
    "ldm_unet_sd_like": ("ldm-imagenet", SD_LIKE),
}
"""Case -> the kind whose converted folder holds it, and its architecture."""
SMALL = LDMConfig(
    8, (1,), 0, (), num_heads=2, num_head_channels=-1, context_dim=8, norm_groups=4
)  # fmt: skip
BLOCKS_OF_SMALL = 4  # residual, transformer, residual in the middle; residual on the way up
PUBLISHED = {
    "ldm_ffhq_unet": (LDM_FFHQ, 274_056_163, 368),
    "ldm_cin_unet": (LDM_CIN256, 400_920_579, 688),
    "sd15_unet": (SD_1_5, 859_520_964, 686),
    "sd21_unet": (SD_2_1, 865_910_724, 686),
}


def shapes(config: LDMConfig) -> dict:
    return {"params": jax.eval_shape(partial(init_params, config), jax.random.key(0))}


def stored(case: str) -> dict:
    """The golden weights as variables."""
    kind, config = GOLDEN_CASES[case]
    network = load_prior(golden_folder(kind))[0].network
    assert network.config == config
    return {"params": network.params}


@pytest.mark.parametrize("case", GOLDEN_CASES)
def test_golden_network(case):
    arrays = load(f"networks/{case}")[1]
    context = (arrays["context"],) if "context" in arrays else ()
    network = LDMUNet(GOLDEN_CASES[case][1])
    check_golden(case, network, stored(case), arrays["x"], arrays["t"], *context)


@pytest.mark.slow
def test_golden_full_size_ffhq(tmp_path):
    manifest, arrays = load("networks/full_ldm_ffhq_unet")
    unet = recipe_weights(manifest, "ldm_ffhq_unet")
    stage = read_arrays(GOLDEN / "networks" / "vq_f4.pt")
    state = {f"model.diffusion_model.{name}": array for name, array in unet.items()}
    state |= {f"first_stage_model.{name}": array for name, array in stage.items()}
    path = write_state(tmp_path / "ldm.ckpt", entries(state))
    network = load_prior(converted(path, "ldm-ffhq", {"first_stage": TINY_VQ}))[0].network
    x = np.random.RandomState(3150001).standard_normal((1, 3, 8, 8)).astype(np.float32)
    variables = {"params": network.params}
    check_golden("full_ldm_ffhq_unet", LDMUNet(LDM_FFHQ), variables, x, arrays["t"])


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_names_and_shapes(name):
    config, count, tensors = PUBLISHED[name]
    params = shapes(config)["params"]
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) == count
    ours, published = torch_shapes(params), published_keys(name)
    if name == "sd21_unet":  # linear layers, of which a 1x1 convolution is the same
        linear = [
            name for name in published if name.endswith(("proj_in.weight", "proj_out.weight"))
        ]
        published |= {name: (*published[name], 1, 1) for name in linear}
    assert len(ours) == tensors
    assert ours == published


@pytest.mark.slow
def test_remat_changes_neither_names_nor_numbers():
    rng = np.random.RandomState(0)
    z = rng.standard_normal((1, 4, 4, 3)).astype(np.float32)
    inputs = z, np.array([500.0], np.float32), rng.standard_normal((1, 2, 8)).astype(np.float32)
    plain_network, wrapped = LDMUNet(SMALL), LDMUNet(SMALL, remat=True)
    names = shapes(SMALL)
    chex.assert_trees_all_equal_shapes_and_dtypes(
        jax.eval_shape(wrapped.init, jax.random.key(0), *inputs), names
    )
    params = jax.tree.map(
        lambda leaf: (0.3 * rng.standard_normal(leaf.shape)).astype(np.float32), names
    )
    assert str(jax.make_jaxpr(wrapped.apply)(params, *inputs)).count("remat2[") == BLOCKS_OF_SMALL

    @jax.jit
    def both(params, z, t, context):
        loss = lambda z, network: jnp.sum(jnp.sin(network.apply(params, z, t, context)))
        return [jax.value_and_grad(loss)(z, network) for network in (plain_network, wrapped)]

    plain, recomputed = both(params, *inputs)
    chex.assert_trees_all_close(recomputed, plain, rtol=1e-5, atol=1e-5)
    assert float(jnp.abs(plain[1]).mean()) > 1e-3


def test_unbatched_bfloat16_compute():
    """The measured error is 1.4 % of the output (bfloat16 steps are 0.4 %), bounded by 2 %."""
    arrays = load("networks/ldm_unet_sd_like")[1]
    params = stored("ldm_unet_sd_like")["params"]
    network = LDMNetwork(params, SD_LIKE, arrays["context"][0], dtype="bfloat16")
    predict = jax.jit(lambda network, z, t: network(z, t))
    out = predict(network, nhwc(arrays["x"])[0], arrays["t"][0])
    assert out.dtype == jnp.float32
    assert 1e-3 < relative(out, nhwc(arrays["output"])[0]) < 2e-2

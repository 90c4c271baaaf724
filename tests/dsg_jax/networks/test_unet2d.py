"""Diffusers' U-Net against golden numbers, the published names, and itself with other options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.networks.layers import timestep_embedding
from dsg_jax.networks.unet2d import UNet2D, init_params
from dsg_jax.networks.unet2d_blocks import DDPM_256, UNet2DConfig
from dsg_jax.priors.cards import config_of
from support.golden_case import GOLDEN, load, relative
from support.golden_models import SCRIPT_LIKE
from support.network_cases import (
    check_golden,
    module_params,
    published_keys,
    recipe_weights,
    torch_shapes,
)
from support.state_files import entries, write_state

TINY = UNet2DConfig(
    block_out_channels=(8,),
    layers_per_block=1,
    down_block_types=("DownBlock2D",),
    up_block_types=("UpBlock2D",),
    norm_num_groups=4,
)


def config_in(manifest: dict) -> UNet2DConfig:
    fields = {k: v for k, v in manifest["config"].items() if k in UNet2DConfig._fields}
    return config_of(fields, UNet2DConfig)


@pytest.mark.parametrize(
    "case", ["unet2d_scale_shift_v", pytest.param("unet2d_script_like", marks=pytest.mark.slow)]
)
def test_golden_network(case):
    manifest, arrays = load(f"networks/{case}")
    network = UNet2D(config_in(manifest))
    inputs = [arrays[name] for name in ("x", "t", "y") if name in arrays]
    example = np.moveaxis(inputs[0], 1, -1), *inputs[1:]
    params = module_params(GOLDEN / "networks" / f"{case}.pt", network, *example)
    check_golden(case, network, params, *inputs)


def test_published_names_and_shapes():
    params = jax.eval_shape(lambda: init_params(DDPM_256, jax.random.key(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 113_673_219
    assert torch_shapes(params) == published_keys("ddpm_celebahq_256")


@pytest.mark.slow
def test_golden_full_size(tmp_path):
    manifest, arrays = load("networks/full_ddpm_celebahq")
    assert config_in(manifest) == DDPM_256
    state = recipe_weights(manifest, "ddpm_celebahq_256")
    path = write_state(tmp_path / "ddpm.pt", entries(state))
    x = np.random.RandomState(6050001).standard_normal((1, 3, 32, 64)).astype(np.float32)
    example = np.moveaxis(x, 1, -1), arrays["t"]
    params = module_params(path, UNet2D(DDPM_256), *example)
    check_golden("full_ddpm_celebahq", UNet2D(DDPM_256), params, x, arrays["t"])


def normal_params(config: UNet2DConfig) -> dict:
    """Of no layer at zero."""
    structs = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    rng = np.random.RandomState(0)
    return jax.tree.map(
        lambda leaf: (0.3 * rng.standard_normal(leaf.shape)).astype(np.float32), structs
    )


def outputs(config: UNet2DConfig, params: dict, *inputs) -> jax.Array:
    shape = len(inputs[0]), 8, 8, 3
    x = np.random.RandomState(1).standard_normal(shape).astype(np.float32)
    return jax.jit(UNet2D(config).apply)({"params": params}, x, *map(jnp.asarray, inputs))


def test_learned_times_are_rows_of_a_table():
    """With the sinusoids for rows it is the network of whole times; others are rounded."""
    params = normal_params(TINY)
    table = timestep_embedding(jnp.arange(20), 8)
    learned = TINY._replace(time_embedding_type="learned", num_train_timesteps=20)
    with_table = params | {"time_proj": {"kernel": table.T}}
    ours = outputs(learned, with_table, [7.0, 7.3, 25.0])
    np.testing.assert_allclose(ours, outputs(TINY, params, [7.0, 7.0, 19.0]), rtol=1e-5, atol=1e-5)


def test_labels_of_all_types_are_added_to_the_time():
    """A label's row, its own embedding, and its sinusoids through a perceptron of its own."""
    params, width = normal_params(TINY), TINY.embedding_width
    rows = np.random.RandomState(2).standard_normal((3, width)).astype(np.float32)
    as_table = TINY._replace(num_class_embeds=3)
    with_table = params | {"class_embedding": {"kernel": rows.T}}
    as_vector = TINY._replace(class_embed_type="identity")
    by_row = outputs(as_table, with_table, [7.0], [2])
    np.testing.assert_array_equal(by_row, outputs(as_vector, params, [7.0], rows[2:]))
    as_time = TINY._replace(class_embed_type="timestep")
    embedded = {
        name.replace("time_", "class_"): layer
        for name, layer in params.items()
        if name.startswith("time_embedding")
    }
    first = lambda x, k: (
        x @ params[f"time_embedding.linear_{k}"]["kernel"]
        + (params[f"time_embedding.linear_{k}"]["bias"])
    )
    vector = first(jax.nn.silu(first(timestep_embedding(jnp.asarray([2.0]), 8), 1)), 2)
    ours = outputs(as_time, params | embedded, [7.0], [2])
    np.testing.assert_allclose(
        ours, outputs(as_vector, params, [7.0], vector), rtol=1e-4, atol=1e-4
    )


def test_a_middle_that_adds_nothing_is_none():
    """Nor does its attention where it adds nothing."""
    params = normal_params(TINY)
    silent = lambda *names: (
        params
        | {
            block: params[block] | {name: jax.tree.map(jnp.zeros_like, params[block][name])}
            for block, name in names
        }
    )
    attention = ("mid_block.attentions.0", "to_out.0")
    blocks = [(f"mid_block.resnets.{i}", "conv2") for i in range(2)]
    quiet = outputs(TINY, silent(attention, *blocks), [7.0])
    np.testing.assert_allclose(outputs(TINY._replace(mid_block_type=None), params, [7.0]), quiet)
    quiet = outputs(TINY, silent(attention), [7.0])
    assert relative(outputs(TINY, params, [7.0]), quiet) > 1e-3
    np.testing.assert_allclose(outputs(TINY._replace(add_attention=False), params, [7.0]), quiet)


def test_script_like_is_what_its_manifest_says():
    assert SCRIPT_LIKE == config_in(load("networks/unet2d_script_like")[0])

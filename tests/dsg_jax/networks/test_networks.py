"""The ADM U-Net against golden numbers and the published checkpoints' key lists."""

import math
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.networks.adm import (
    ADM_FFHQ_256,
    ADM_IMAGENET_256,
    ADM_IMAGENET_CLASSES,
    ADMConfig,
    ADMUNet,
    AttentionBlock,
)
from dsg_jax.priors import init_params, load_prior
from support.golden_case import GOLDEN, load, relative
from support.golden_models import MODELS, converted, golden_folder
from support.network_cases import (
    check_golden,
    module_params,
    nchw,
    nhwc,
    published_keys,
    recipe_weights,
    torch_shapes,
)
from support.state_files import entries, write_state

PUBLISHED = {
    "adm_ffhq": (ADM_FFHQ_256, 93_563_910, 362),
    "adm_imagenet": (ADM_IMAGENET_256, 552_814_086, 566),
    "adm_64_class_cond": (ADM_IMAGENET_CLASSES[64], 295_904_454, 541),
    "adm_128_class_cond": (ADM_IMAGENET_CLASSES[128], 421_529_606, 493),
    "adm_256_class_cond": (ADM_IMAGENET_CLASSES[256], 553_838_086, 567),
    "adm_512_class_cond": (ADM_IMAGENET_CLASSES[512], 558_997_638, 645),
}
OURS = ADMConfig(
    model_channels=16,
    channel_mult=(1, 2),
    attention_factors=(2,),
    num_head_channels=-1,
    num_heads=2,
    resblock_updown=False,
    out_channels=3,
    patch=2,
    norm_groups=8,
)


def variables(config: ADMConfig):
    """Shapes of the network's parameters."""
    return {"params": jax.eval_shape(partial(init_params, ADMUNet(config)))}


def random_params(config: ADMConfig):
    """No layer at zero, so that every path through the network counts."""
    rng = np.random.RandomState(0)
    return jax.tree.map(
        lambda leaf: (0.1 * rng.standard_normal(leaf.shape)).astype(np.float32), variables(config)
    )


def stored(folder) -> tuple[ADMConfig, dict]:
    """The network of a converted folder: its architecture and its variables."""
    network = load_prior(folder)[0].network
    return network.config, {"params": network.params}


@pytest.mark.parametrize("kind", ["adm-ffhq", "adm-imagenet", "adm-imagenet256-cond"])
def test_golden_network(kind):
    case, arrays = MODELS[kind].cases[""], load(f"networks/{MODELS[kind].cases['']}")[1]
    config, params = stored(golden_folder(kind))
    assert config == MODELS[kind].parts["unet"]
    labels = [arrays["y"]] if "y" in arrays else []
    check_golden(case, ADMUNet(config), params, arrays["x"], arrays["t"], *labels)


def test_a_network_of_one_class():
    """A prior is asked by one class, which it was loaded with or a problem names."""
    folder, arrays = golden_folder("adm-imagenet256-cond"), load("networks/adm_class_cond")[1]
    x, time, label = nhwc(arrays["x"])[0], arrays["t"][0], int(arrays["y"][0])
    prior, card = load_prior(folder, condition=label)
    assert card["classes"] == 10
    out = prior.network(x, time)
    assert relative(out, nhwc(arrays["output"])[0]) < 3e-5
    assert relative(prior.network.of_class(label - 1)(x, time), out) > 1e-3
    with pytest.raises(ValueError, match="no condition 10; it stores 0 to 9"):
        load_prior(folder, condition=10)


def test_heads_on_the_way_up_and_added_times():
    """What ``num_heads_upsample`` and ``use_scale_shift_norm`` change, and what they leave."""
    x, t = np.random.RandomState(0).standard_normal((1, 8, 8, 3)).astype(np.float32), jnp.ones(1)
    wide = OURS._replace(attention_factors=(1,), num_heads_upsample=4, middle_attention=False)
    params = random_params(wide)
    of = lambda config: np.asarray(ADMUNet(config).apply(params, x, t))
    alike = wide._replace(num_heads=4)  # the one attention on the way down counts too
    assert relative(of(wide), of(alike)) > 1e-4
    assert relative(of(wide), of(wide._replace(num_heads_upsample=2))) > 1e-4
    np.testing.assert_array_equal(
        of(wide._replace(num_heads_upsample=2)), of(wide._replace(num_heads_upsample=-1))
    )
    added = torch_shapes(variables(wide._replace(use_scale_shift_norm=False))["params"])
    scaled = torch_shapes(variables(wide)["params"])
    differing = {name for name in scaled if scaled[name] != added[name]}
    assert differing == {name for name in scaled if ".emb_layers.1." in name}
    assert all(scaled[name][0] == 2 * added[name][0] for name in differing)


@pytest.mark.parametrize("order", ["legacy", "new"])
@pytest.mark.parametrize("heads", ["headch16", "heads4"])
def test_golden_attention(order, heads):
    case = f"adm_attention_{order}_{heads}"
    config = ADMConfig(
        num_heads=4,
        num_head_channels=16 if heads == "headch16" else -1,
        new_attention_order=order == "new",
    )
    module = AttentionBlock(config, jnp.float32)
    arrays = load(f"networks/{case}")[1]
    x = nhwc(arrays["x"])
    params = module_params(GOLDEN / "networks" / f"{case}.pt", module, x)
    check_golden(case, module, params, arrays["x"])
    other = AttentionBlock(config._replace(new_attention_order=order != "new"), jnp.float32)
    assert relative(nchw(other.apply(params, x)), arrays["output"]) > 0.01  # the order matters


@pytest.mark.slow
def test_golden_full_size_ffhq(tmp_path):
    manifest, arrays = load("networks/full_adm_ffhq")
    path = write_state(tmp_path / "adm.pt", entries(recipe_weights(manifest, "adm_ffhq")))
    config, params = stored(converted(path, "adm-ffhq", {}))
    assert config == ADM_FFHQ_256
    x = np.random.RandomState(3050001).standard_normal((1, 3, 32, 32)).astype(np.float32)
    check_golden("full_adm_ffhq", ADMUNet(ADM_FFHQ_256), params, x, arrays["t"])


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_names_and_shapes(name):
    config, count, tensors = PUBLISHED[name]
    params = variables(config)["params"]
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) == count
    ours = torch_shapes(params)
    assert len(ours) == tensors
    assert ours == published_keys(name)


def test_bfloat16_compute():
    """bfloat16 keeps 8 bits (relative step 2**-8 = 0.4 %); over the ~40 layers of this network the
    measured error is 1.2 % of the output, to be bounded by 2 %; parameters and output are float32.
    """
    arrays = load("networks/adm_ffhq_like")[1]
    config, params = stored(golden_folder("adm-ffhq"))
    out = jax.jit(ADMUNet(config, jnp.bfloat16).apply)(params, nhwc(arrays["x"]), arrays["t"])
    assert out.dtype == jnp.float32
    assert 1e-3 < relative(nchw(out), arrays["output"]) < 2e-2


@pytest.mark.parametrize("config", [MODELS["adm-ffhq"].parts["unet"], OURS], ids=["adm", "ours"])
@pytest.mark.slow
def test_unbatched_under_vmap_equals_batched(config):
    network, params = ADMUNet(config), random_params(config)
    rng = np.random.RandomState(1)
    x = rng.standard_normal((3, 16, 8, 3)).astype(np.float32)
    t = np.array([0.0, 17.5, 999.0], np.float32)

    def noise(params, x, t):
        return network.apply(params, x[None], t[None])[0]

    batched = jax.jit(network.apply)(params, x, t)
    chex.assert_shape(batched, (3, 16, 8, config.out_channels))
    mapped = jax.jit(jax.vmap(noise, in_axes=(None, 0, 0)))(params, x, t)
    chex.assert_trees_all_close(mapped, batched, rtol=1e-5, atol=1e-5)
    assert float(jnp.abs(batched[0] - batched[1]).mean()) > 1e-3  # image and time matter


def test_bad_sizes_name_the_mend():
    def init(config, shape):
        jax.eval_shape(ADMUNet(config).init, jax.random.key(0), jnp.zeros(shape), jnp.zeros(1))

    with pytest.raises(ValueError, match="30x32 pixels.*multiples of 4"):
        init(OURS, (1, 30, 32, 3))
    with pytest.raises(ValueError, match="36 channels cannot be split into 8 groups"):
        init(OURS._replace(model_channels=36), (1, 32, 32, 3))
    with pytest.raises(ValueError, match="32 channels.*num_head_channels=64"):
        init(OURS._replace(num_head_channels=64), (1, 32, 32, 3))
    with pytest.raises(ValueError, match="32 channels.*num_heads=3"):
        init(OURS._replace(num_heads=3), (1, 32, 32, 3))

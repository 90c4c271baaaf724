"""The nonlinear blur against golden numbers, its checkpoint's names, codes and folder."""

import json
import math
import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.networks.kernel_wizard import (
    Adapter,
    BlurConfig,
    BlurNetwork,
    FeatureExtractor,
    Reconstruction,
    init_params,
)
from dsg_jax.operators.blur_network import blur_code, load_blur_network, nonlinear_blur
from dsg_jax.operators.tasks import operator_for, reference_operator
from dsg_jax.priors import save_folder
from experiments.__main__ import main
from support.golden_case import assert_close, hwc, load
from support.golden_models import REDUCED, converted, golden_folder
from support.network_cases import nhwc, pattern, published_keys, torch_shapes
from support.operator_goldens import assert_probes, golden_image, golden_values
from support.state_files import entries, write_state

TINY = BlurConfig(channels=2, front_blocks=1, back_blocks=1, code_channels=5)
TENSORS, PARAMETERS, USED = 159, 115_265_475, 23_662_531


def shapes(config: BlurConfig) -> dict:
    return jax.eval_shape(partial(init_params, config), jax.random.key(0))


def reduced_network() -> BlurNetwork:
    """The small golden weights."""
    network = load_blur_network(golden_folder("kernel-wizard"))
    assert network.config == REDUCED
    return network


def save(folder, network: BlurNetwork, card: dict | None = None) -> dict:
    parts = {"network": network.config}
    return save_folder(folder, "kernel-wizard", network.params, parts, card or {})


def recipe_network(config: dict, folder) -> BlurNetwork:
    """The full-size case's random weights, by the recipe in its manifest, converted."""
    weights = {}
    for j, (key, shape) in enumerate(published_keys("kernel_wizard").items()):
        if key.startswith("kernel_extractor."):
            continue
        z = np.random.RandomState(config["weights_seed"] + j).standard_normal(shape)
        gain = config["gain_adapter"] if key.startswith("adapter.") else config["gain"]
        z *= gain / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else 0.05
        weights[key] = z.astype(np.float32)
    path = write_state(folder / "wizard.pth", entries(weights))
    return load_blur_network(converted(path, "kernel-wizard", {}))


def random_network(config: BlurConfig, seed: int = 0) -> BlurNetwork:
    """Of a size that keeps signals alive, so that every layer counts."""
    rng = np.random.RandomState(seed)
    scale = lambda leaf: 1.2 / math.sqrt(math.prod(leaf.shape[:-1])) if leaf.ndim > 1 else 0.05
    draw = lambda leaf: (scale(leaf) * rng.standard_normal(leaf.shape)).astype(np.float32)
    return BlurNetwork(jax.tree.map(draw, shapes(config)), config)


def check_golden_operator(case: str, network: BlurNetwork) -> None:
    """Float32 rounding moves a few of the network's ReLUs over their kink, which the manifest's
    bound on the gradient's norm allows for and that on its sums does not: it gets 1e-4.
    """
    manifest, arrays = load(f"operators/{case}")
    sums = manifest["tolerance"]["atol"]
    sums["photo_grad__stat"] = re.sub(r"rtol \S+", "rtol 1.0e-04", sums["photo_grad__stat"])
    x = golden_image(case, "photo")
    code = blur_code(np.random.RandomState(0), x.shape, network.config.code_channels)
    if "kernel" in arrays:
        np.testing.assert_array_equal(code, hwc(arrays["kernel"]))
    y = 0.5 * jnp.moveaxis(jnp.asarray(pattern(4, (3, 256, 256))), 0, -1)
    values = golden_values(nonlinear_blur(network, code), x, y)
    assert_close("photo_loss", values["loss"], arrays["photo_loss"], manifest)
    assert_probes(values, arrays, manifest, "photo_", {"Ax": "probe", "grad": "grad_probe"})


def test_golden_operator():
    check_golden_operator("nonlinear_blur_reduced_big", reduced_network())


@pytest.mark.slow
def test_golden_full_size_operator(tmp_path):
    config = load("operators/nonlinear_blur_full_recipe_big")[0]["config"]
    check_golden_operator("nonlinear_blur_full_recipe_big", recipe_network(config, tmp_path))


@partial(jax.jit, static_argnames="config")
def golden_parts(params: dict, u, code, cotangent, config: BlurConfig) -> dict:
    apply = lambda part, name, *inputs: part(config).apply({"params": params[name]}, *inputs)

    def whole(u):
        features = apply(FeatureExtractor, "feature_extractor", u)
        adapted = apply(Adapter, "adapter.model", features, code)
        return u + apply(Reconstruction, "recon_trunk", adapted), (features, adapted)

    output, vjp, (features, adapted) = jax.vjp(whole, u, has_aux=True)
    values = {"features": features, "adapted": adapted, "output": output, "grad_u": vjp(cotangent)}
    return jax.tree.map(lambda a: a[0], values | {"grad_u": values["grad_u"][0]})


@pytest.mark.slow
def test_golden_parts():
    manifest, arrays = load("networks/kernel_wizard_parts")
    u = (golden_image("photo_big", "photo")[None] + 1) / 2
    cotangent = nhwc(pattern(9, (1, 3, 256, 256)))
    values = golden_parts(reduced_network().params, u, nhwc(arrays["k"]), cotangent, REDUCED)
    places = {"features": "feature_probe", "adapted": "feature_probe"}
    places |= {"output": "probe", "grad_u": "probe"}
    # The reference's own float32 gradient is 1.2e-4 from float64, for ReLUs at their kink.
    assert_probes(values, arrays, manifest, "", places, kink=1.2e-4)


def test_published_names_and_shapes():
    params = shapes(BlurConfig())
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) == USED
    published, ours = published_keys("kernel_wizard"), torch_shapes(params)
    assert len(published) == TENSORS and len(ours) == len(jax.tree.leaves(params))
    assert sum(math.prod(shape) for shape in published.values()) == PARAMETERS
    extractor = {k: shape for k, shape in published.items() if k.startswith("kernel_extractor.")}
    assert not extractor.keys() & ours.keys()
    assert ours | extractor == published


def test_codes_are_the_references_at_seed_0_and_the_images_own_elsewhere():
    shape = (256, 256, 3)
    code = blur_code(np.random.RandomState(0), shape)
    first = [2.1168628, 0.48018864, 1.1744856, 2.689072]
    np.testing.assert_allclose(code[..., 0].ravel(), first, rtol=1e-6)
    np.testing.assert_allclose(code.astype(np.float64).sum(), -36.9263776, rtol=1e-6)
    network = random_network(TINY)
    build = lambda seed: operator_for("nonlinear_deblur", shape, seed, blur_network=network)
    of = lambda operator: np.asarray(operator.forward.args[1])
    reference = reference_operator("nonlinear_deblur", shape, blur_network=network)
    np.testing.assert_array_equal(of(reference), of(build(0)))
    np.testing.assert_array_equal(of(build((7, 1))), of(build((7, 1))))
    assert not np.array_equal(of(build((7, 1))), of(build((7, 2))))
    assert jax.tree.structure(build(0)) == jax.tree.structure(build((7, 2)))


@pytest.mark.slow
def test_one_program_for_all_codes_at_a_multiple_of_128():
    network, shape = random_network(TINY), (128, 256, 3)
    rng = np.random.RandomState(1)
    codes = np.stack([blur_code(rng, shape, TINY.code_channels)] * 3)
    codes[1] = np.maximum(codes[0], 0)
    codes[2] = np.abs(codes[0])
    x = jnp.asarray(rng.uniform(-1, 1, shape), jnp.float32)
    blurred = jax.jit(lambda network, code, x: nonlinear_blur(network, code).forward(x))
    y, positive, other = (blurred(network, code, x) for code in codes)
    assert blurred._cache_size() == 1
    assert y.shape == shape and float(jnp.abs(y).max()) == 1.0
    chex.assert_trees_all_close(y, positive, atol=1e-6)  # negative entries act as 0
    assert float(jnp.abs(y - other).mean()) > 1e-3


def test_what_does_not_fit_is_named():
    network = random_network(TINY)
    with pytest.raises(ValueError, match=r"\(96, 128, 3\).*multiples of 128"):
        operator_for("nonlinear_deblur", (96, 128, 3), 0, blur_network=network)
    with pytest.raises(ValueError, match="three channels"):
        operator_for("nonlinear_deblur", (128, 128, 1), 0, blur_network=network)
    with pytest.raises(ValueError, match=r"\(h/128, w/128, 5\), got \(1, 1, 4\)"):
        nonlinear_blur(network, np.zeros((1, 1, 4)))
    operator = nonlinear_blur(network, np.zeros((1, 1, 5)))
    with pytest.raises(ValueError, match="256x128 pixels and code of 1x1"):
        jax.eval_shape(operator.forward, jax.ShapeDtypeStruct((256, 128, 3), jnp.float32))


def test_folder(tmp_path):
    network, folder = random_network(TINY), tmp_path / "blur"
    half = jax.tree.map(lambda leaf: leaf.astype(np.float16), network.params)
    card = save(folder, BlurNetwork(half, TINY), {"source": "made here"})
    assert card["kind"] == "kernel-wizard" and card["source"] == "made here"
    assert json.loads((folder / "card.json").read_text()) == card
    assert card["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(half))
    loaded = load_blur_network(folder)
    assert loaded.config == TINY
    expected = jax.tree.map(lambda leaf: leaf.astype(np.float32), half)
    chex.assert_trees_all_equal(loaded.params, expected)
    save(folder, network)
    chex.assert_trees_all_equal(load_blur_network(folder), network)
    assert [path.name for path in tmp_path.iterdir()] == ["blur"]


def test_folders_that_are_none(tmp_path):
    folder = tmp_path / "blur"
    with pytest.raises(FileNotFoundError, match="has no card.json"):
        load_blur_network(folder)
    card = save(folder, random_network(TINY))
    other = lambda **changes: (folder / "card.json").write_text(json.dumps(card | changes))
    other(kind="adm")
    with pytest.raises(ValueError, match="kind 'adm'.*wanted here is kernel-wizard"):
        load_blur_network(folder)
    for architecture in ({"channels": 2}, TINY._replace(channels=3)._asdict()):
        other(architecture=architecture)
        with pytest.raises(ValueError, match="does not hold what its card says"):
            load_blur_network(folder)
    (folder / "card.json").write_text("{")
    with pytest.raises(ValueError, match="no readable JSON"):
        load_blur_network(folder)
    with pytest.raises(ValueError, match="holds other files.*card.json is not as this program"):
        save(folder, random_network(TINY))


@pytest.mark.slow
def test_restore_by_the_command(tmp_path):
    """DAPS at 128 pixels; the same command again has nothing left to do."""
    save(tmp_path / "blur", random_network(TINY))
    text = "restore --task nonlinear_deblur --size 128 --levels 2 --inner-steps 3 --count 1"
    command = [*text.split(), "--blur-network", str(tmp_path / "blur"), "--out", str(tmp_path)]
    assert main(command) == 0
    lines = (tmp_path / "metrics.jsonl").read_text()
    records = [json.loads(line) for line in lines.splitlines()]
    assert len(records) == 2 and all(r["finite"] and r["psnr"] > 3 for r in records)
    assert main(command) == 0
    assert (tmp_path / "metrics.jsonl").read_text() == lines

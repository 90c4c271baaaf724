"""The autoencoders of latent priors against golden numbers and the published key lists."""

import math
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from dsg_jax.networks.autoencoder import KL_F8, VQ_F4, Autoencoder, init_params
from dsg_jax.priors import load_folder
from dsg_jax.priors.first_stage import (
    CHUNK,
    CODES,
    kl_first_stage,
    nearest_code,
    quantized,
    vq_first_stage,
)
from support.golden_case import assert_close, load, relative
from support.golden_models import KL_LIKE, TINY_VQ, converted, golden_folder
from support.network_cases import (
    nchw,
    nhwc,
    pattern,
    recipe_weights,
    torch_shapes,
)
from support.state_files import entries, write_state


def shapes(config):
    return jax.eval_shape(partial(init_params, config), jax.random.key(0))


def stored(folder) -> dict:
    """The parameters of a converted first stage."""
    return load_folder(folder, "first-stage")[2]


@pytest.fixture(scope="module")
def vq():
    return stored(golden_folder("vq-f4"))


@pytest.fixture(scope="module")
def kl():
    return stored(golden_folder("kl-f8"))


@jax.jit
def output_and_gradient(function, inputs, cotangent):
    """For a batch; `inputs` is the tuple of arguments, the gradient is that of the first."""
    out, vjp = jax.vjp(lambda *inputs: jax.vmap(function)(*inputs), *inputs)
    return out, vjp(cotangent)[0]


def check(names: tuple[str, str], function, inputs, manifest, arrays) -> None:
    value, gradient = names
    cotangent = nhwc(pattern(9, arrays[value].shape))
    out, slope = output_and_gradient(function, inputs, cotangent)
    assert_close(value, nchw(out), arrays[value], manifest)
    assert_close(gradient, nchw(slope), arrays[gradient], manifest)


def encode_mean(encode, x):
    return encode(x, None)


def encode_unscaled(encode, x, noise):
    return encode(x, noise) / 0.18215


def check_vq(params, config, case: str, x, z, names: dict, index_shape) -> None:
    """Everything that the golden cases of the small and of the full network share."""
    manifest, arrays = load(f"networks/{case}")
    stage = vq_first_stage(params, config)
    encode = Partial(encode_mean, stage.encode)
    check((names["encoded"], names["grad_x"]), encode, (x,), manifest, arrays)
    check(("decoded", names["grad_z"]), stage.decode, (z,), manifest, arrays)
    indices = jax.vmap(nearest_code, in_axes=(None, 0))(params[CODES]["kernel"], z)
    np.testing.assert_array_equal(indices.reshape(index_shape), arrays["indices"])


def test_golden_vq(vq):
    manifest, arrays = load("networks/vq_f4")
    z = nhwc(arrays["h"])
    names = {"encoded": "h", "grad_x": "grad_x_encode", "grad_z": "grad_h_decode"}
    check_vq(vq, TINY_VQ, "vq_f4", nhwc(arrays["x"]), z, names, (2, 8, 8))
    plain = vq_first_stage(vq, TINY_VQ, force_not_quantize=True).decode
    unquantised = ("decoded_no_quantise", "grad_h_decode_no_quantise")
    check(unquantised, plain, (z,), manifest, arrays)
    zq = jax.vmap(quantized, in_axes=(None, 0))(vq[CODES]["kernel"], z)
    assert_close("zq", nchw(zq), arrays["zq"], manifest)


def test_straight_through_gradient_is_the_decoders_at_the_code(vq):
    arrays = load("networks/vq_f4")[1]
    cotangent = nhwc(pattern(9, arrays["decoded"].shape))
    z, code = nhwc(arrays["h"]), nhwc(arrays["zq"])
    decode = vq_first_stage(vq, TINY_VQ).decode
    plain = vq_first_stage(vq, TINY_VQ, force_not_quantize=True).decode
    at_code = output_and_gradient(plain, (code,), cotangent)
    chex.assert_trees_all_close(
        output_and_gradient(decode, (z,), cotangent), at_code, rtol=1e-4, atol=1e-4
    )
    elsewhere = output_and_gradient(plain, (z,), cotangent)
    assert relative(elsewhere[0], at_code[0]) > 0.01 and relative(elsewhere[1], at_code[1]) > 0.01


def test_attention_in_a_level_is_behind_each_of_its_blocks(vq):
    config = TINY_VQ._replace(attention_factors=(2,))
    with_it, plain = shapes(config), torch_shapes(vq)
    places = "encoder.down.1.attn.0", "decoder.up.1.attn.0", "decoder.up.1.attn.1"
    layers = "norm", "q", "k", "v", "proj_out"
    assert torch_shapes(with_it).keys() - plain.keys() == {
        f"{p}.{layer}.{leaf}" for p in places for layer in layers for leaf in ("weight", "bias")
    }
    x = nhwc(load("networks/vq_f4")[1]["x"])

    def decoded(value: float):
        """Of an image, with the parameters of the attention all of this value."""
        fill = lambda struct: jnp.full(struct.shape, value)
        params = {part: jax.tree.map(fill, struct) | vq[part] for part, struct in with_it.items()}
        network = Autoencoder(config)
        z = network.apply({"params": params}, x, method="encode")
        return network.apply({"params": params}, z, method="decode")

    variables = {"params": vq}
    z = Autoencoder(TINY_VQ).apply(variables, x, method="encode")
    expected = Autoencoder(TINY_VQ).apply(variables, z, method="decode")
    chex.assert_trees_all_close(decoded(0.0), expected, rtol=1e-5, atol=1e-5)
    assert relative(decoded(0.1), expected) > 1e-3


def test_a_scale_multiplies_latents_only(vq):
    arrays = load("networks/vq_f4")[1]
    z, cotangent = nhwc(arrays["h"]), nhwc(pattern(9, arrays["decoded"].shape))
    stage, scaled = (vq_first_stage(vq, TINY_VQ, scale=scale) for scale in (1.0, 4.0))
    encode = [Partial(encode_mean, s.encode) for s in (stage, scaled)]
    x, one = nhwc(arrays["x"]), nhwc(pattern(9, arrays["h"].shape))
    plain, large = (output_and_gradient(e, (x,), one)[0] for e in encode)
    chex.assert_trees_all_close(4 * plain, large, rtol=1e-5)
    out, slope = output_and_gradient(stage.decode, (z,), cotangent)
    expected = out, slope / 4
    chex.assert_trees_all_close(
        output_and_gradient(scaled.decode, (4 * z,), cotangent), expected, rtol=1e-4, atol=1e-5
    )


def test_golden_kl(kl):
    manifest, arrays = load("networks/autoencoder_kl")
    stage = kl_first_stage(kl, KL_LIKE)
    x, noise = nhwc(arrays["x"]), nhwc(pattern(0, arrays["sample"].shape))
    encode = Partial(encode_unscaled, stage.encode)
    check(("sample", "grad_x_sample"), encode, (x, noise), manifest, arrays)
    check(("decoded", "grad_z_decode"), stage.decode, (nhwc(arrays["z_scaled"]),), manifest, arrays)

    @jax.jit
    def moments_mean_sample(params, x, noise):
        encode = kl_first_stage(params, KL_LIKE).encode
        moments = Autoencoder(KL_LIKE).apply({"params": params}, x, method="encode")
        return moments, jax.vmap(partial(encode_mean, encode))(x), jax.vmap(encode)(x, noise)

    moments, mean, sample = moments_mean_sample(kl, x, noise)
    assert_close("moments", nchw(moments), arrays["moments"], manifest)
    assert_close("mode", nchw(mean / 0.18215), arrays["mode"], manifest)
    assert_close("z_scaled", nchw(sample), arrays["z_scaled"], manifest)
    for shift, bound in ((500.0, 20.0), (-500.0, -30.0)):  # beyond what is clipped
        bias = kl["quant_conv"]["bias"] + np.repeat(np.float32([0, shift]), 4)
        extreme = kl | {"quant_conv": kl["quant_conv"] | {"bias": bias}}
        _, mean, sample = moments_mean_sample(extreme, x, noise)
        expected = mean + 0.18215 * math.exp(bound / 2) * noise
        chex.assert_trees_all_close(sample, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 16, 35, 512])
def test_chunked_search_equals_direct_search(chunk):
    rng = np.random.RandomState(0)
    codes = rng.standard_normal((3, 150)).astype(np.float32)
    codes = np.concatenate([codes, codes], axis=1)  # of equal codes the first counts
    z = rng.standard_normal((10, 7, 3)).astype(np.float32)
    distance = np.sum((z[..., None].astype(np.float64) - codes) ** 2, axis=2)
    index = nearest_code(codes, z, chunk)
    np.testing.assert_array_equal(index, np.argmin(distance, axis=-1))
    chex.assert_type(index, jnp.int32)


def test_search_of_8192_codes_never_holds_all_distances():
    codes, z = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((3, 8192), (64, 64, 3)))
    compiled = jax.jit(nearest_code).lower(codes, z).compile()
    chunks = compiled.memory_analysis().temp_size_in_bytes / (4 * CHUNK * 8192)
    assert 0.5 < chunks < 3 < 64 * 64 / CHUNK


@pytest.mark.slow
def test_remat_gives_the_same_gradients_with_less_memory():
    config = TINY_VQ._replace(channels=8, channel_mult=(1, 2), norm_groups=4)
    rng = np.random.RandomState(1)
    params = jax.tree.map(lambda leaf: 0.1 * rng.standard_normal(leaf.shape), shapes(config))
    params = jax.tree.map(np.float32, params)
    z = rng.standard_normal((1, 8, 8, 3)).astype(np.float32)
    cotangent = pattern(9, (1, 16, 16, 3))
    stored, recomputed = (vq_first_stage(params, config, remat=on).decode for on in (False, True))
    chex.assert_trees_all_close(
        *(output_and_gradient(decode, (z,), cotangent) for decode in (stored, recomputed)),
        rtol=1e-4,
        atol=1e-5,
    )

    def residual_size(decode) -> int:
        """Entries of all arrays that wait for the backward pass."""
        residuals = jax.eval_shape(lambda z: jax.vjp(decode, z)[1], z[0])
        return sum(leaf.size for leaf in jax.tree.leaves(residuals))

    assert residual_size(recomputed) < residual_size(stored) / 2


def test_bfloat16_compute(vq):
    """As for the diffusion networks: some rounding, all of it small, float32 outside."""
    arrays = load("networks/vq_f4")[1]
    decode = vq_first_stage(vq, TINY_VQ, dtype="bfloat16").decode
    out = jax.jit(jax.vmap(decode))(nhwc(arrays["h"]))
    assert out.dtype == jnp.float32
    assert 1e-3 < relative(nchw(out), arrays["decoded"]) < 3e-2  # measured 1.9e-2


@pytest.mark.slow
def test_golden_full_size_vq(tmp_path):
    manifest = load("networks/full_vq_f4")[0]
    path = write_state(tmp_path / "vq.ckpt", entries(recipe_weights(manifest, "vq_f4")))
    params = stored(converted(path, "vq-f4", {}))
    x = np.clip(0.6 * np.random.RandomState(3250001).standard_normal((1, 3, 32, 32)), -1, 1)
    z = np.random.RandomState(3250004).standard_normal((1, 3, 8, 8))
    x, z = (nhwc(a.astype(np.float32)) for a in (x, z))
    names = {"encoded": "encoded", "grad_x": "grad_x", "grad_z": "grad_z"}
    check_vq(params, VQ_F4, "full_vq_f4", x, z, names, (64,))


def test_bad_configurations_name_the_mend():
    with pytest.raises(ValueError, match="codes=None.*kl_first_stage"):
        vq_first_stage({}, KL_F8)
    with pytest.raises(ValueError, match="codes=8192.*vq_first_stage"):
        kl_first_stage({}, VQ_F4)
    with pytest.raises(ValueError, match="30x32 pixels.*multiples of 4"):
        stage = vq_first_stage(shapes(TINY_VQ), TINY_VQ)
        jax.eval_shape(partial(encode_mean, stage.encode), jnp.zeros((30, 32, 3)))

"""What an accelerator is given to run, read from programs lowered for it on a CPU."""

import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsg_jax.operators.linear import inpainting
from dsg_jax.projection import project, subspace
from dsg_jax.sample import sample
from dsg_jax.solvers import SOLVERS, settings_for
from dsg_jax.types import Problem, Projection
from support.golden_case import tiny_latent_prior, tiny_prior

SVD = {"cpu": "lapack_sgesdd_ffi"}
# The symmetric eigen-decomposition: a batch is one call.
EIGH = {"cuda": "cusolver_syevd_ffi", "rocm": "hipsolver_syevd_ffi", "tpu": "Eigh"}
SHORT = {
    "dps": {"steps": 4},
    "daps": {"levels": 3, "ode_steps": 2, "inner_steps": 3},
    "psld": {"steps": 4},
    "resample": {"steps": 30, "pixel_limit": 20, "latent_limit": 10},
    "latent-dps": {"steps": 4},
    "latent-daps": {"levels": 3, "ode_steps": 2, "inner_steps": 3},
    "fast-dips": {"levels": 3},
    "latent-fast-dips": {"levels": 3, "passes": 2, "corrections": 2},
    "flowdps": {"steps": 4},
    "flowchef": {"steps": 4},
    "pnpdm": {"levels": 3, "reverse_steps": 8, "inner_steps": 3, "likelihood": "langevin"},
    "sitcom": {"steps": 3, "inner_steps": 3},
    "pigdm": {"steps": 3},
    "diffpir": {"steps": 6},
    "red-diff": {"steps": 6},
    "spgd": {"levels": 3, "inner_steps": 3},
}
# Decompositions of a step: Latent FAST-DIPS has one for images and one for latents.
DECOMPOSED = {"latent-fast-dips": 2}


def lowered(traced, platform: str) -> tuple[str, Counter]:
    """StableHLO of a traced function for a platform, and how often each custom call is in it."""
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    return text, Counter(re.findall(r"custom_call @(\w+)", text))


def traced_projection(shape: tuple[int, ...], engine: str = "auto"):
    """A projected gradient of states (..., h, w, c)."""
    one = lambda z, g: project(subspace(Projection(engine=engine), z), g)
    for _ in shape[3:]:
        one = jax.vmap(one)
    states = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.jit(one).trace(states, states)


@pytest.mark.parametrize("side", [64, 256])
@pytest.mark.parametrize("batch", [(), (10,), (2, 5)], ids=str)
def test_a_batch_of_states_is_decomposed_in_one_call(batch, side):
    traced = traced_projection((*batch, side, side, 3))
    for platform, name in (SVD | EIGH).items():
        text, calls = lowered(traced, platform)
        assert calls == {name: 1}, platform
        (call,) = (line for line in text.splitlines() if f"@{name}" in line)
        sizes = "x".join(map(str, (*batch, 3, side, side)))
        assert f"(tensor<{sizes}xf32>" in call, platform


@pytest.mark.parametrize("engine", ["svd", "gram"])
def test_every_product_of_the_projection_is_full_float32(engine):
    text, _ = lowered(traced_projection((16, 16, 3), engine), "cuda")
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) == {"svd": 4, "gram": 8}[engine]
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in products)


@pytest.mark.parametrize("projection", [None, Projection(0.9)], ids=["plain", "projected"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_whole_run_lowers_for_accelerators(solver, projection):
    latent = SOLVERS[solver].prior == "latent"
    prior = tiny_latent_prior() if latent else tiny_prior()
    shape, state = (16, 16, 3), (4, 4, 3) if latent else (16, 16, 3)
    problem = Problem(inpainting(np.ones(shape[:2], np.float32)), jnp.zeros(shape), 0.05)
    settings = settings_for(solver, "box_inpainting", prior, **SHORT[solver])

    def restore(keys, prior, problem, projection, settings):
        built = SOLVERS[solver].solve(prior, problem, projection, settings)
        return jax.vmap(lambda key: sample(key, built, state))(keys)

    keys = jax.random.split(jax.random.key(0), 2)
    traced = jax.jit(restore).trace(keys, prior, problem, projection, settings)
    for platform in ("cuda", "tpu"):
        text, calls = lowered(traced, platform)
        name = EIGH[platform]
        assert calls == ({name: DECOMPOSED.get(solver, 1)} if projection else {}), platform
        # The channels of both samples together.
        assert all("(tensor<2x3x" in line for line in text.splitlines() if f"@{name}(" in line)
        assert "callback" not in text and "f64" not in text

"""Our side of the comparison: a program of a case, compiled once cold and once from the cache.

Needs jax, flax, optax, orbax and numpy and nothing else, so that a machine with an accelerator and
no network can run it.
"""

from experiments.environment import set_cpu_flags

set_cpu_flags()

import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from functools import partial  # noqa: E402
from typing import Any  # noqa: E402

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax import Array  # noqa: E402

from dsg_jax.projection import ENGINES, project, subspace  # noqa: E402
from dsg_jax.sample import normal_draws, run  # noqa: E402
from dsg_jax.solvers import SOLVERS  # noqa: E402
from dsg_jax.types import Prior, Projection  # noqa: E402
from experiments.files import versions_and_hardware  # noqa: E402
from experiments.programs import planned_bytes, solver_of, state_shape  # noqa: E402
from experiments.speed.pieces import excerpt, low_resolution  # noqa: E402
from experiments.speed.published import prior_of  # noqa: E402
from experiments.speed.worker import Built, process_peak, serve  # noqa: E402

# Outer steps in one call: two, so that they are in a loop as in a run.
STEPS = 2
# A prior of so few parameters computes the same images as PyTorch's with its weights.
SMALL = 5_000_000


def wave(*shape: int) -> Array:
    """The input that both sides have: sin(0), sin(1), ..."""
    return jnp.asarray(np.sin(np.arange(np.prod(shape), dtype=np.float64)).reshape(shape), "f4")


def smooth_and_noisy(side: int) -> dict[str, Array]:
    """Two states (n, n, 3): a spectrum as of photographs, 1 / f, without and with noise."""
    rng = np.random.default_rng(0)
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]) + 1 / side
    spectrum = np.fft.rfft2(rng.standard_normal((side, side, 3)), axes=(0, 1)) / f[..., None] ** 1.5
    clean = np.fft.irfft2(spectrum, (side, side), axes=(0, 1))
    clean = clean / np.abs(clean).max()
    noisy = clean + 0.3 * rng.standard_normal(clean.shape)
    return {"clean": jnp.asarray(clean, "f4"), "noisy": jnp.asarray(noisy, "f4")}


def projected(projection: Projection, z: Array, g: Array) -> tuple[Array, Array]:
    """A gradient on the subspace of a state, and the ranks."""
    space = subspace(projection, z)
    return project(space, g), space.rank


def projection_error(projection: Projection, z: Array, g: Array) -> float:
    """Largest difference to float64's projection of the same ranks, over the gradient's largest."""
    result, rank = jax.jit(projected)(projection, z, g)
    exact = np.empty(g.shape)
    for i, r in enumerate(np.asarray(rank)):
        u, _, vt = np.linalg.svd(np.asarray(z[..., i], np.float64))
        left, right = u[:, :r] @ u[:, :r].T, vt[:r].T @ vt[:r]
        exact[..., i] = left @ np.asarray(g[..., i], np.float64) @ right
    return float(np.abs(result - exact).max() / np.abs(g).max())


def projection_program(case: dict) -> tuple[Callable, tuple, dict]:
    """Decomposition, projectors and one projected gradient of a batch of states."""
    projection, side = Projection(engine=case["engine"]), case["side"]
    states = smooth_and_noisy(side)
    g = jax.random.normal(jax.random.key(1), states["noisy"].shape)
    errors = {f"error_{name}": projection_error(projection, z, g) for name, z in states.items()}
    z = jax.random.normal(jax.random.key(0), (case["batch"], side, side, 3))
    return lambda z, g: jax.vmap(partial(projected, projection))(z, g)[0], (z, z[::-1]), errors


def network_program(case: dict, prior: Prior, shape: tuple) -> tuple[Callable, tuple, dict]:
    """A prediction, its input gradient, or the decoder's."""
    x = wave(case["batch"], *shape)
    predict = lambda prior, x: prior.network(x, jnp.float32(300.0))[..., : x.shape[-1]]
    one = (lambda prior, z: prior.first_stage.decode(z)) if "decoder" in case["what"] else predict
    batch = lambda prior, x: jax.vmap(partial(one, prior))(x)
    if case["what"] != "forward":
        loss = lambda x, prior: jnp.sum(batch(prior, x) ** 2)
        return lambda prior, x: jax.grad(loss)(x, prior), (prior, x), {}
    return batch, (prior, x), {}


def step_program(case: dict, prior: Prior, shape: tuple) -> tuple[Callable, tuple, dict]:
    """Some outer steps of a solver from the second third of a run on."""
    name, side = case["what"].removesuffix(" step"), case["side"]
    settings, _ = excerpt(name, prior, STEPS)
    projection = Projection() if case["projected"] else None

    def steps(keys: Array, problem: Any, noise: Array, arrays: tuple) -> Any:
        solver = solver_of(name, arrays, problem)

        def one(key: Array, noise: Array) -> Any:
            return run(normal_draws(key), solver, solver.init(noise))

        return jax.vmap(one)(keys, noise)

    keys = jax.random.split(jax.random.key(0), case["batch"])
    arguments = keys, low_resolution((side, side, 3)), wave(case["batch"], *shape)
    counts = {"steps": STEPS}
    if name == "daps":
        counts |= {"ode_steps": settings.steps.ode_sigma.shape[-1]}
        counts |= {"inner_steps": settings.inner_steps}
    return steps, (*arguments, (projection, prior, settings)), counts


def program_of(case: dict) -> tuple[Callable, tuple, dict[str, Any]]:
    """Function, arguments, and facts that PyTorch's program is made by."""
    if case["what"] == "projection":
        return projection_program(case)
    prior, image, architecture, params = prior_of(case["model"], case.get("dtype", "float32"))
    case = case | {"side": image[0]}
    shape = state_shape(prior, image)
    make = step_program if case["what"].removesuffix(" step") in SOLVERS else network_program
    function, arguments, facts = make(case, prior, shape)
    used = {"decoder gradient": ["first_stage"], "psld step": ["unet", "first_stage"]}
    parts = {part: architecture[part] for part in used.get(case["what"], ["unet"])}
    trees = {part: params.get(part, params) for part in parts}
    facts |= {part: sum(leaf.size for leaf in jax.tree.leaves(trees[part])) for part in parts}
    facts |= {"side": image[0], "state": shape, "parts": list(parts)}
    facts["architecture"] = {part: config._asdict() for part, config in parts.items()}
    if sum(facts[part] for part in parts) < SMALL:
        np.savez(case["weights"], allow_pickle=False, **torch_weights(trees))
        facts["weights"] = case["weights"]
    return function, arguments, facts


def torch_weights(trees: dict[str, Any]) -> dict[str, np.ndarray]:
    """Parameters by the checkpoints' names, behind their part's, in PyTorch's order of axes."""
    weights = {}
    for part, tree in trees.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            *names, kind = (entry.key for entry in path)
            array = np.asarray(leaf)
            turned = {"kernel": (3, 2, 0, 1) if array.ndim == 4 else (1, 0)}.get(kind)
            name = ".".join([*names, "bias" if kind == "bias" else "weight"])
            weights[f"{part}/{name}"] = array if turned is None else array.transpose(turned)
    return weights


def build(case: dict) -> Built:
    """Compile a case's program twice, for the second time from jax's persistent cache."""
    function, arguments, facts = program_of(case)
    seconds = []
    for _ in range(2):
        jax.clear_caches()
        started = time.perf_counter()
        lowered = jax.jit(function).lower(*arguments)
        compiled = lowered.compile()
        seconds.append(time.perf_counter() - started)
    call = lambda: jax.block_until_ready(compiled(*arguments))
    result = jax.tree.leaves(call())[0]
    facts = {"steps": 1, "shape": list(result.shape)} | facts
    facts |= dict(zip(("compile_cold", "compile_warm"), seconds, strict=True))
    planned = planned_bytes(compiled)
    facts["planned_bytes"] = None if np.isnan(planned) else planned
    if "weights" in facts and facts["steps"] == 1:
        np.save(case["output"], result)
        facts["output"] = case["output"]
    return Built(call, facts, peak_bytes)


def peak_bytes() -> int | None:
    """The most memory so far, of the device where it counts it."""
    if jax.default_backend() == "cpu":
        return process_peak()
    return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


if __name__ == "__main__":
    serve(lambda: versions_and_hardware() | {"engines": list(ENGINES)}, build)

"""Samples of 16 pairs at several batch sizes on 1, 2 and 8 devices: how far they are apart.

Started by test_mesh.py in a process of its own, with eight CPU devices:
    mesh_cases.py SOLVER...                  a JSON line per case: how many are equal, how far
                                             apart the others
    mesh_cases.py --restore                  what `restore` writes on 1 and 8 devices
    mesh_cases.py --memory                   what a device needs with parameters copied and split
    mesh_cases.py SOLVER... --prior=emoji    with a network, its parameters also split
"""

import json
import sys
from functools import partial, reduce
from tempfile import TemporaryDirectory

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from dsg_jax.mesh import data_mesh, over_pairs, place_parameters
from dsg_jax.operators.linear import identity, inpainting
from dsg_jax.operators.noise import measure
from dsg_jax.priors import load_prior
from dsg_jax.sample import sample
from dsg_jax.solvers import settings_for
from dsg_jax.types import Prior, Problem, Projection
from experiments.files import array_hash
from experiments.programs import planned_bytes, solver_of, state_shape
from experiments.restore.batch import Program, compile_batch, program_count
from experiments.restore.command import restore
from support.gaussian_prior import gaussian_prior
from support.linear_stage import linear_prior
from support.words import settings_of

PAIRS = 16
CASES = [(1, 1), (5, 1), (16, 1), (16, 2), (16, 8), (5, 2), (1, 8)]
"""(batch size, devices); the first is what the others are compared with."""
QUICK = {
    "dps": {"steps": 4},
    "daps": {"levels": 3, "ode_steps": 2, "inner_steps": 3},
    "psld": {"steps": 4, "step_factor": 0.1},
    "resample": {"steps": 30, "pixel_limit": 20, "latent_limit": 10},
    "latent-dps": {"steps": 4},
    "latent-daps": {"levels": 3, "ode_steps": 2, "inner_steps": 3},
}


def prior_of(solver: str, name: str | None):
    """A closed-form prior, or the bundled one of that name: (prior, image shape)."""
    if name:
        return load_prior(name)[0], (32, 32, 3)
    return (
        (gaussian_prior(), (8, 8, 3)) if solver in ("dps", "daps") else (linear_prior(), (8, 8, 1))
    )


def problem_of(key, shape) -> Problem:
    """Inpainting of a random image by a random mask."""
    image, mask, noise = jax.random.split(key, 3)
    x = 0.5 * jax.random.normal(image, shape)
    operator = inpainting(jax.random.bernoulli(mask, 0.6, shape[:2]).astype(jnp.float32))
    return Problem(operator, measure(noise, operator, x, 0.05), jnp.float32(0.05))


def batched(solver: str, shape: tuple):
    """A function of a batch of keys and problems, as a user would write it."""

    def run(pairs, prior, settings):
        def one(key, problem):
            return sample(
                key, solver_of(solver, (Projection(0.99), prior, settings), problem), shape
            )

        return jax.vmap(one)(*pairs)

    return run


def samples(run, prior, settings, pairs, batch: int, devices: int, how: str = "replicated"):
    """The 16 samples, ``batch`` at a time."""
    mesh = data_mesh(devices)
    prior = place_parameters(prior, mesh, how)
    restore = over_pairs(run, mesh, how)
    found = []
    for i in range(0, PAIRS, batch):
        some = jax.tree.map(lambda leaf, i=i: leaf[i : i + batch], pairs)
        images, info = restore(some, prior, settings)
        assert info.misfit.shape[0] == len(images) == min(batch, PAIRS - i)
        found.append(np.asarray(images))
    return np.concatenate(found)


def compare(solver: str, name: str | None = None) -> None:
    """Print how the cases of a solver compare."""
    prior, shape = prior_of(solver, name)
    settings = settings_for(solver, "box_inpainting", prior, **QUICK[solver])
    run = batched(solver, state_shape(prior, shape))
    keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(0)))(jnp.arange(PAIRS))
    pairs = keys, jax.vmap(partial(problem_of, shape=shape))(keys)
    cases = [(*case, "replicated") for case in CASES]
    if name:  # its programs take long to compile
        cases = [cases[0], (16, 8, "sharded")]
    first = None
    for batch, devices, how in cases:
        x = samples(run, prior, settings, pairs, batch, devices, how)
        first = x if first is None else first
        case = {"solver": solver, "batch": batch, "devices": devices, "parameters": how}
        case |= {"equal": int(sum(map(np.array_equal, x, first))), "bits": array_hash(x)}
        case |= {"scale": float(np.abs(first).max()), "worst": float(np.abs(x - first).max())}
        print(json.dumps(case), flush=True)


def restored() -> None:
    """Print the lines of `restore` for 5 samples: one by one on one device; on eight devices."""
    card = {"name": "emoji", "size": 16, "size_multiple": 4, "channels": 3}
    words = "--task identity --solver dps --steps 4 --size 16 --count 5 --projection none".split()
    for devices, size, how in ((1, 1, "replicated"), (8, 2, "replicated"), (8, 2, "sharded")):
        programs = program_count()
        with TemporaryDirectory() as out:
            chosen = ["--devices", devices, "--batch-size", size, "--parameters", how, "--out", out]
            lines = restore(settings_of("restore", *words, *chosen), (wide_prior(), card))
        shown = [[line["image"], line["sample"], line["misfit"], line["psnr"]] for line in lines]
        case = {"devices": devices, "parameters": how, "programs": program_count() - programs}
        print(json.dumps(case | {"lines": shown}), flush=True)


def planned() -> None:
    """Print what a device needs for DPS with a network of 20 layers, by the compiler's plan."""
    layers = [jax.random.normal(jax.random.key(i), (256, 256)) / 16 for i in range(20)]
    prior = gaussian_prior()._replace(network=Partial(layered_network, layers))
    settings = settings_for("dps", "identity", prior, steps=4)
    keys = jax.random.split(jax.random.key(0), 8)
    problems = Problem(identity(), jnp.zeros((8, 16, 16, 1)), jnp.float32(0.05))
    axes, shape = (0, None), (16, 16, 1)
    for how in ("replicated", "sharded"):
        placed = place_parameters(prior, data_mesh(8), how)
        program = Program("dps", settings, None, placed, axes, shape)
        runner = compile_batch(keys, problems, program)
        need = planned_bytes(runner.compiled)
        whole = sum(layer.nbytes for layer in layers)
        print(json.dumps({"parameters": how, "bytes": need, "whole": whole}), flush=True)


def layered_network(layers, x, t):
    """Dense layers, recomputed in the backward pass as the blocks of a U-Net with ``remat``."""
    step = jax.checkpoint(lambda h, layer: h + 0.1 * jnp.tanh(h @ layer))
    return reduce(step, layers, x.reshape(1, -1)).reshape(x.shape)


def wide_prior() -> Prior:
    """The Gaussian prior, with an array that is large enough to be split."""
    network = Partial(wide_network, jnp.zeros((8, 2**14)), gaussian_prior().network)
    return gaussian_prior()._replace(network=network)


def wide_network(zeros, network, x, t):
    """The network's prediction, and nothing of the zeros."""
    return network(x, t) + jnp.sum(zeros)


if __name__ == "__main__":
    words = sys.argv[1:]
    names = [word.removeprefix("--prior=") for word in words if word.startswith("--prior=")]
    for word in words:
        if not word.startswith("--"):
            compare(word, *names)
    if "--memory" in words:
        planned()
    if "--restore" in words:
        restored()

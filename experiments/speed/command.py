"""Where the time goes, on the hardware at hand: `make bench`, `make bench-gpu`, docs/speed.md.

    python -m experiments speed --out results/speed.json

Ceilings (matrix product, copy), networks against them, the pieces of every solver's step, scaling
with the batch, projection engines, and what showing progress costs.
"""

import json
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dsg_jax.priors import BUNDLED, load_prior
from dsg_jax.sample import sample
from dsg_jax.solvers import SOLVERS
from dsg_jax.types import Prior, Projection
from experiments.files import versions_and_hardware, write_atomically
from experiments.restore.methods import state_shape
from experiments.speed.bench_latent import EXCERPTS, PIXEL_EXCERPTS, excerpt
from experiments.speed.engines import engine_rows
from experiments.speed.peer import peer_rows
from experiments.speed.pieces import measured, no_camera, split, step_calls
from experiments.speed.random_priors import PUBLISHED, random_prior
from experiments.speed.report import tables

LARGE_LATENTS = ("psld", "resample")
"""Solvers that are timed with latents of 64 x 64 too, for a prior whose own are smaller."""
PROGRESS_STEPS = 20


def ceilings() -> dict[str, float]:
    """What the device reaches on its own terms: FLOP/s of matrix products, bytes/s of a copy."""
    n, large = (2048, 2**26) if jax.default_backend() == "cpu" else (8192, 2**28)
    found = {}
    for dtype in ("float32", "bfloat16"):
        a = jnp.ones((n, n), dtype)
        ms = measured({"it": (lambda a, b: a @ b, a, a)})["it"].milliseconds
        found[f"matrix_product_{dtype}_flops_per_second"] = 2 * n**3 / (1e-3 * ms)
    ms = measured({"it": (lambda x: x * 1.5, jnp.ones(large // 4))})["it"].milliseconds
    return found | {"copy_bytes_per_second": 2 * large / (1e-3 * ms)}


def processor_time() -> np.ndarray | None:
    """What Linux counts: seconds/100 of all cores since the start, by use; elsewhere None."""
    counted = Path("/proc/stat")
    if not counted.is_file():
        return None
    return np.array(counted.read_text().splitlines()[0].split()[1:9], float)


def stolen(before: np.ndarray | None, after: np.ndarray | None) -> float | None:
    """Share of a virtual machine's processor time that its host gave to others."""
    if before is None or after is None:
        return None
    spent = after - before
    return float(spent[7] / max(spent.sum(), 1.0))


def chosen_prior(name: str) -> tuple[Prior, int]:
    """A bundled or converted prior, or one of random weights; and the side of its images."""
    if name in PUBLISHED and name not in BUNDLED:
        return random_prior(name)
    prior, card = load_prior(name)
    return prior, card["size"]


def network_rows(name: str, prior: Prior, size: int, batch: int, top: dict) -> list[dict]:
    """One prediction and one input gradient of a batch against the ceilings."""
    shape = state_shape(prior, (size, size, 3))
    x = jax.random.normal(jax.random.key(0), (batch, *shape))
    predict = lambda network, x: jax.vmap(lambda x: network(x, jnp.float32(300.0)))(x)
    gradient = lambda network, x: jax.grad(lambda x: jnp.sum(predict(network, x) ** 2))(x)
    calls: dict[str, tuple] = {
        "prediction": (predict, prior.network, x),
        "input gradient": (gradient, prior.network, x),
    }
    rows = []
    for what, found in measured(calls).items():
        seconds = 1e-3 * found.milliseconds
        rows.append(
            {
                "prior": name,
                "state": shape,
                "batch": batch,
                "what": what,
                "milliseconds": found.milliseconds,
                "gflop": found.flops / 1e9,
                "flops_per_second": found.flops / seconds,
                "of_matrix_product": found.flops
                / seconds
                / top["matrix_product_float32_flops_per_second"],
                "of_copy": found.bytes_accessed / seconds / top["copy_bytes_per_second"],
            }
        )
    return rows


def settings_of(prior: Prior, size: int) -> Iterator[tuple[str, int]]:
    """(solver, side of the images) to be timed for a prior."""
    if prior.first_stage is None:
        yield from ((solver, size) for solver in PIXEL_EXCERPTS)
        return
    own = state_shape(prior, (size, size, 3))[0]
    for solver in EXCERPTS:
        yield solver, size
        if solver in LARGE_LATENTS and own < 64:
            yield solver, size * 64 // own


def step_rows(name: str, prior: Prior, size: int, batch: int) -> list[dict]:
    """The pieces of an outer step for all solvers that go with a prior."""
    rows = []
    for solver, side in settings_of(prior, size):
        state = state_shape(prior, (side, side, 3))
        large = state[0] >= 64 and prior.first_stage is not None
        at_once = 1 if large else batch
        found = split(solver, prior, side, at_once, Projection())
        rows.append({"prior": name, "solver": solver, "state": state, "batch": at_once} | found)
        print(".", end="", flush=True)
    return rows


def scaling_rows(name: str, prior: Prior, size: int, batches: list[int]) -> list[dict]:
    """A whole step of the prior's first solver for growing batches."""
    solver = "daps" if prior.first_stage is None else "psld"
    rows = []
    for batch in batches:
        calls, count = step_calls(solver, prior, size, batch, Projection())
        found = measured({"it": calls["whole"]})["it"]
        each = {"per_sample": found.milliseconds / count / batch, "bytes": found.planned_bytes}
        rows.append({"prior": name, "solver": solver, "batch": batch} | each)
        print(".", end="", flush=True)
    return rows


def progress_rows(prior: Prior, size: int) -> list[dict]:
    """A run of DPS in one call, and in one that calls the host after every step."""
    shape = (size, size, 3)
    traced, static, _ = excerpt("dps", prior)
    steps = jax.tree.map(lambda a: jnp.repeat(a[:1], PROGRESS_STEPS, axis=0), traced["steps"])
    traced = traced | {"steps": steps}
    problem = no_camera(shape)

    def run(progress: Callable | None) -> Callable:
        def whole(key: Array, prior: Prior, traced: dict) -> Array:
            made = SOLVERS["dps"](prior, problem, None, **traced, **static)
            return sample(key, made, shape, progress=progress)[0]

        return whole

    given = (jax.random.key(0), prior, traced)
    found = measured({"one call": (run(None), *given), "callback": (run(np.asarray), *given)})
    return [
        {"how": how, "steps": PROGRESS_STEPS, "milliseconds_per_step": each.milliseconds / 20}
        for how, each in found.items()
    ]


def speed(arguments: Namespace) -> None:
    """Measure, print the tables, and write them, as JSON and as Markdown beside it."""
    print("ceilings, priors, engines: some minutes; a dot for every solver and batch", flush=True)
    before, top = processor_time(), ceilings()
    report: dict[str, Any] = {"ceilings": top} | versions_and_hardware()
    for table in ("networks", "steps", "scaling", "progress", "peers"):
        report[table] = []
    for name in arguments.priors:
        prior, size = chosen_prior(name)
        batch = 1 if name in PUBLISHED else arguments.batch_size
        report["networks"] += network_rows(name, prior, size, batch, top)
        report["steps"] += step_rows(name, prior, size, batch)
        if name not in PUBLISHED or jax.default_backend() != "cpu":
            report["scaling"] += scaling_rows(name, prior, size, arguments.batches)
        if not report["progress"] and prior.first_stage is None:
            report["progress"] = progress_rows(prior, size)
            report["peers"] = peer_rows(prior, size, batch)
    report["engines"] = engine_rows()
    report["stolen"] = stolen(before, processor_time())
    write_atomically(arguments.out, (json.dumps(report, indent=1) + "\n").encode())
    shown = tables(report)
    write_atomically(arguments.out.with_suffix(".md"), (shown + "\n").encode())
    print(f"\n{shown}\n{arguments.out} has all of it")

"""Where the time goes, on the hardware at hand: `make bench`, `make bench-gpu`, docs/speed.md.

    dsg-jax speed --out results/speed.json

Ceilings (matrix product, copy), networks against them, the pieces of every solver's step, scaling
with the batch, and projection engines.
"""

import itertools
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from dsg_jax.priors import BUNDLED, PRIOR_KINDS, load_prior
from dsg_jax.priors.folder import read_card
from dsg_jax.projection import ENGINES, project, subspace
from dsg_jax.types import Prior, Projection
from experiments.files import versions_and_hardware, write_atomically
from experiments.restore.batch import state_shape
from experiments.speed.pieces import solvers_for, split, step_calls
from experiments.speed.published import MODELS, random_prior
from experiments.speed.report import tables
from experiments.speed.settings import SpeedSettings
from experiments.speed.timer import measured

# Side of latents that a prior with smaller ones is timed at too, one sample at once.
LARGE = 64
# (samples, side) of the states with three channels that engines of the projection are timed at.
STATES = ((1, 64), (16, 64), (1, 256), (4, 256))


def plan_speed(settings: SpeedSettings) -> Callable[[], None]:
    """Check `speed`: whether the priors exist."""
    for name in set(settings.priors) - set(MODELS):
        folder = BUNDLED.get(name, Path(name))
        if not (folder / "card.json").is_file():
            raise ValueError(
                f"no prior {name!r}: give a folder with card.json, or "
                f"{', '.join((*sorted(BUNDLED), *MODELS))}"
            )
        read_card(folder, *PRIOR_KINDS)
    return lambda: speed(settings)


def ceilings() -> dict[str, float]:
    """What the device reaches on its own terms: FLOP/s of matrix products, bytes/s of a copy."""
    n, size = (2048, 2**26) if jax.default_backend() == "cpu" else (8192, 2**28)
    calls: dict[str, tuple] = {"copy": (lambda x: x * 1.5, jnp.ones(size // 4))}
    for dtype in ("float32", "bfloat16"):
        calls[dtype] = jnp.matmul, jnp.ones((n, n), dtype), jnp.ones((n, n), dtype)
    seconds = {name: 1e-3 * each.milliseconds for name, each in measured(calls).items()}
    return {
        "matrix_product_float32_flops_per_second": 2 * n**3 / seconds["float32"],
        "matrix_product_bfloat16_flops_per_second": 2 * n**3 / seconds["bfloat16"],
        "copy_bytes_per_second": 2 * size / seconds["copy"],
    }


def processor_time() -> np.ndarray:
    """What Linux counts: seconds/100 of all cores since the start, by use; elsewhere nothing."""
    counted = Path("/proc/stat")
    return np.array(counted.read_text().split()[1:9] if counted.is_file() else [], float)


def stolen(before: np.ndarray, after: np.ndarray) -> float | None:
    """Share of a virtual machine's processor time that its host gave to others; None: unknown."""
    spent = after - before
    return float(spent[7] / max(spent.sum(), 1.0)) if spent.size else None


def chosen_prior(name: str) -> tuple[Prior, int]:
    """A bundled or converted prior, or one of random weights; and the side of its images."""
    if name in MODELS:
        return random_prior(MODELS[name]), MODELS[name].card["size"]
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
    rows, product = [], top["matrix_product_float32_flops_per_second"]
    for what, each in measured(calls).items():
        seconds = 1e-3 * each.milliseconds
        rows.append(
            {
                "prior": name,
                "state": shape,
                "batch": batch,
                "what": what,
                "milliseconds": each.milliseconds,
                "gflop": each.flops / 1e9,
                "flops_per_second": each.flops / seconds,
                "of_matrix_product": each.flops / seconds / product,
                "of_copy": each.bytes_accessed / seconds / top["copy_bytes_per_second"],
            }
        )
    return rows


def step_rows(name: str, prior: Prior, size: int, batch: int) -> list[dict]:
    """The pieces of an outer step for all solvers that go with a prior."""
    rows, latent = [], prior.first_stage is not None
    side = state_shape(prior, (size, size, 3))[0]
    sizes = [size, size * LARGE // side] if latent and side < LARGE else [size]
    for solver, pixels in itertools.product(solvers_for(prior), sizes):
        state = state_shape(prior, (pixels, pixels, 3))
        at_once = 1 if latent and state[0] >= LARGE else batch
        row = {"prior": name, "solver": solver, "state": state, "batch": at_once}
        rows.append(row | split(solver, prior, pixels, at_once))
        print(".", end="", flush=True)
    return rows


def scaling_rows(name: str, prior: Prior, size: int, batches: Sequence[int]) -> list[dict]:
    """A whole step of the prior's first solver for growing batches."""
    rows, solver = [], solvers_for(prior)[0]
    for batch in batches:
        calls, count = step_calls(solver, prior, size, batch)
        whole = measured({"whole": calls["whole"]})["whole"]
        rows.append(
            {
                "prior": name,
                "solver": solver,
                "batch": batch,
                "per_sample": whole.milliseconds / count / batch,
                "bytes": whole.planned_bytes,
            }
        )
        print(".", end="", flush=True)
    return rows


def engine_rows() -> list[dict]:
    """Every engine of the projection on noisy states: milliseconds, and against the first one."""
    rows: list[dict] = []
    projected = lambda engine, z, g: project(subspace(Projection(engine=engine), z), g)
    for samples, n in STATES:
        z = jax.random.normal(jax.random.key(0), (samples, n, n, 3))
        calls = {name: (jax.vmap(partial(projected, name)), z, z[::-1]) for name in ENGINES}
        times = {name: each.milliseconds for name, each in measured(calls).items()}
        what = f"projection, {samples} x 3 x {n} x {n}"
        rows += (
            {"what": what, "case": name, "milliseconds": ms, "times_faster": times["svd"] / ms}
            for name, ms in times.items()
        )
    return rows


def speed(settings: SpeedSettings) -> None:
    """Measure, print the tables, and write them, as JSON and as Markdown beside it."""
    print("ceilings, priors, engines: some minutes; a dot for every solver and batch", flush=True)
    before, top = processor_time(), ceilings()
    rows: dict[str, list[dict]] = {"networks": [], "steps": [], "scaling": []}
    for name in settings.priors:
        prior, size = chosen_prior(name)
        batch = 1 if name in MODELS else settings.batch_size
        rows["networks"] += network_rows(name, prior, size, batch, top)
        rows["steps"] += step_rows(name, prior, size, batch)
        if name not in MODELS or jax.default_backend() != "cpu":
            rows["scaling"] += scaling_rows(name, prior, size, settings.batches)
    rows["ratios"] = engine_rows()
    report = {"ceilings": top} | versions_and_hardware() | rows
    report["stolen"] = stolen(before, processor_time())
    write_atomically(settings.out, (json.dumps(report, indent=1) + "\n").encode())
    text = tables(report)
    write_atomically(settings.out.with_suffix(".md"), (text + "\n").encode())
    print(f"\n{text}\n{settings.out} has all of it")

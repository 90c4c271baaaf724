"""Where the time goes, on the hardware at hand: `make bench`, `make bench-gpu`, docs/speed.md.

    dsg-jax speed --out results/speed.json

Ceilings (matrix product, copy), networks against them, the pieces of every solver's step, scaling
with the batch, operators and projection engines.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dsg_jax.priors import BUNDLED, PRIOR_KINDS, load_prior
from dsg_jax.priors.folder import read_card
from dsg_jax.types import Prior, Projection
from experiments.files import versions_and_hardware, write_atomically
from experiments.restore.batch import state_shape
from experiments.speed.operators import engine_rows, operator_rows
from experiments.speed.pieces import solvers_for, split, step_calls
from experiments.speed.published import MODELS, random_prior
from experiments.speed.report import tables
from experiments.speed.settings import SpeedSettings
from experiments.speed.timer import measured

LARGE = 64
"""Side of latents that a prior with smaller ones is timed at too, one sample at once."""


def plan_speed(settings: SpeedSettings) -> Callable[[], None]:
    """Check `speed`: whether the priors exist."""
    for name in set(settings.priors) - set(MODELS):
        folder = BUNDLED.get(name, Path(name))
        if not (folder / "card.json").is_file():
            known = ", ".join((*sorted(BUNDLED), *MODELS))
            raise ValueError(f"no prior {name!r}: give a folder with card.json, or {known}")
        read_card(folder, *PRIOR_KINDS)
    return lambda: speed(settings)


def ceilings() -> dict[str, float]:
    """What the device reaches on its own terms: FLOP/s of matrix products, bytes/s of a copy."""
    n, large = (2048, 2**26) if jax.default_backend() == "cpu" else (8192, 2**28)
    reached = {}
    for dtype in ("float32", "bfloat16"):
        a = jnp.ones((n, n), dtype)
        ms = measured({"it": (lambda a, b: a @ b, a, a)})["it"].milliseconds
        reached[f"matrix_product_{dtype}_flops_per_second"] = 2 * n**3 / (1e-3 * ms)
    ms = measured({"it": (lambda x: x * 1.5, jnp.ones(large // 4))})["it"].milliseconds
    return reached | {"copy_bytes_per_second": 2 * large / (1e-3 * ms)}


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
    if name in MODELS:
        return random_prior(MODELS[name]), MODELS[name].size
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
    for what, each in measured(calls).items():
        flops, bytes_moved = (
            n / (1e-3 * each.milliseconds) for n in (each.flops, each.bytes_accessed)
        )
        row = {"prior": name, "state": shape, "batch": batch, "what": what}
        rows.append(
            row
            | {
                "milliseconds": each.milliseconds,
                "gflop": each.flops / 1e9,
                "flops_per_second": flops,
                "of_matrix_product": flops / top["matrix_product_float32_flops_per_second"],
                "of_copy": bytes_moved / top["copy_bytes_per_second"],
            }
        )
    return rows


def timed_sizes(prior: Prior, size: int) -> Iterator[tuple[str, int]]:
    """(solver, side of the images) to be timed for a prior."""
    side = state_shape(prior, (size, size, 3))[0]
    for solver in solvers_for(prior):
        yield solver, size
        if prior.first_stage is not None and side < LARGE:
            yield solver, size * LARGE // side


def step_rows(name: str, prior: Prior, size: int, batch: int) -> list[dict]:
    """The pieces of an outer step for all solvers that go with a prior."""
    rows = []
    for solver, side in timed_sizes(prior, size):
        state = state_shape(prior, (side, side, 3))
        large = state[0] >= LARGE and prior.first_stage is not None
        at_once = 1 if large else batch
        parts = split(solver, prior, side, at_once, Projection())
        rows.append({"prior": name, "solver": solver, "state": state, "batch": at_once} | parts)
        print(".", end="", flush=True)
    return rows


def scaling_rows(name: str, prior: Prior, size: int, batches: Sequence[int]) -> list[dict]:
    """A whole step of the prior's first solver for growing batches."""
    solver = solvers_for(prior)[0]
    rows = []
    for batch in batches:
        calls, count = step_calls(solver, prior, size, batch, Projection())
        whole = measured({"it": calls["whole"]})["it"]
        each = {"per_sample": whole.milliseconds / count / batch, "bytes": whole.planned_bytes}
        rows.append({"prior": name, "solver": solver, "batch": batch} | each)
        print(".", end="", flush=True)
    return rows


def speed(settings: SpeedSettings) -> None:
    """Measure, print the tables, and write them, as JSON and as Markdown beside it."""
    print("ceilings, priors, engines: some minutes; a dot for every solver and batch", flush=True)
    before, top = processor_time(), ceilings()
    report: dict[str, Any] = {"ceilings": top} | versions_and_hardware()
    report |= {"networks": [], "steps": [], "scaling": []}
    for name in settings.priors:
        prior, size = chosen_prior(name)
        batch = 1 if name in MODELS else settings.batch_size
        report["networks"] += network_rows(name, prior, size, batch, top)
        report["steps"] += step_rows(name, prior, size, batch)
        if name not in MODELS or jax.default_backend() != "cpu":
            report["scaling"] += scaling_rows(name, prior, size, settings.batches)
    report["ratios"] = operator_rows() + engine_rows()
    report["stolen"] = stolen(before, processor_time())
    write_atomically(settings.out, (json.dumps(report, indent=1) + "\n").encode())
    text = tables(report)
    write_atomically(settings.out.with_suffix(".md"), (text + "\n").encode())
    print(f"\n{text}\n{settings.out} has all of it")

"""Where the time goes, on the hardware at hand: `make bench`, docs/speed.md.

    dsg-jax speed --out results/speed.json

Ceilings (matrix product, copy), networks against them, the pieces of every solver's step. Engines
of the projection and growing batches are `bench`'s.
"""

import itertools
import json
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from dsg_jax.checkpoints import prior_folder
from dsg_jax.priors import BUNDLED, PRIOR_KINDS
from dsg_jax.priors.folder import read_card
from dsg_jax.types import Prior
from dsg_jax.user_code import FUNCTIONS, is_user_code
from experiments.files import versions_and_hardware, write_atomically
from experiments.programs import state_shape
from experiments.speed.pieces import check_solvers, solvers_for, split
from experiments.speed.published import MODELS, prior_forms, prior_of
from experiments.speed.report import tables
from experiments.speed.settings import SpeedSettings
from experiments.speed.timer import measured
from experiments.speed.worker import processor_time, stolen

Shape = tuple[int, int, int]
# Side of latents that a prior with smaller ones is timed at too, one sample at once.
LARGE = 64


def plan_speed(settings: SpeedSettings) -> Callable[[], None]:
    """Check `speed`: whether the priors exist, and the solvers run with one of them."""
    for name in set(settings.priors) - set(MODELS):
        if is_user_code(name):
            continue
        folder = prior_folder(name)
        if not (folder / "card.json").is_file():
            raise ValueError(
                f"no prior {name!r}: give a folder with card.json, or "
                f"{', '.join((*sorted(BUNDLED), *MODELS))}"
            )
        read_card(folder, *PRIOR_KINDS)
    if FUNCTIONS or settings.solver or any(map(is_user_code, settings.priors)):
        check_named(settings)
    return lambda: speed(settings)


def check_named(settings: SpeedSettings) -> None:
    """Raise ValueError where a named solver works with no prior, or code of a user's fails."""
    idle = set(settings.solver)
    for name in settings.priors:
        if name in MODELS:
            prior, side = prior_forms(MODELS[name]), MODELS[name].card["size"]
            shape = side, side, 3
        else:
            prior, shape, *_ = prior_of(name)
        chosen = solvers_for(prior, settings.solver)
        check_solvers(chosen, prior, shape)
        idle -= set(chosen)
    if idle:
        raise ValueError(
            f"--solver {' '.join(sorted(idle))}: none of the priors {' '.join(settings.priors)} is"
            " for it: drop it or change --priors"
        )


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


def network_rows(name: str, prior: Prior, image: Shape, batch: int, top: dict) -> list[dict]:
    """One prediction and one input gradient of a batch against the ceilings."""
    shape = state_shape(prior, image)
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


def step_rows(
    name: str, prior: Prior, image: Shape, batch: int, solvers: Sequence[str] = ()
) -> list[dict]:
    """The pieces of an outer step for the solvers that go with a prior, all or those named."""
    rows, latent = [], prior.first_stage is not None
    (size, _, channels), side = image, state_shape(prior, image)[0]
    sizes = [size, size * LARGE // side] if latent and side < LARGE else [size]
    for solver, pixels in itertools.product(solvers_for(prior, solvers), sizes):
        shape = pixels, pixels, channels
        state = state_shape(prior, shape)
        at_once = 1 if latent and state[0] >= LARGE else batch
        row = {"prior": name, "solver": solver, "state": state, "batch": at_once}
        rows.append(row | split(solver, prior, shape, at_once))
        print(".", end="", flush=True)
    return rows


def speed(settings: SpeedSettings) -> None:
    """Measure, print the tables, and write them, as JSON and as Markdown beside it."""
    print("ceilings, priors: some minutes; a dot for every solver", flush=True)
    before, top = processor_time(), ceilings()
    rows: dict[str, list[dict]] = {"networks": [], "steps": []}
    for name in settings.priors:
        prior, image, *_ = prior_of(name)
        batch = 1 if name in MODELS else settings.batch_size
        rows["networks"] += network_rows(name, prior, image, batch, top)
        rows["steps"] += step_rows(name, prior, image, batch, settings.solver)
    report = {"ceilings": top} | versions_and_hardware() | rows
    report["stolen"] = stolen(before, processor_time())
    write_atomically(settings.out, (json.dumps(report, indent=1) + "\n").encode())
    text = tables(report)
    write_atomically(settings.out.with_suffix(".md"), (text + "\n").encode())
    print(f"\n{text}\n{settings.out} has all of it")

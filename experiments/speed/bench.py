"""How long the parts take, as ratios measured in one run.

python -m experiments bench
"""

import json
import time
from argparse import Namespace
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dsg_jax.operators.kernels import gaussian_kernel, motion_kernel
from dsg_jax.operators.linear import blur, gaussian_blur, super_resolution
from dsg_jax.priors import load_prior
from dsg_jax.projection import project, subspace
from dsg_jax.sample import sample
from dsg_jax.solvers.daps import daps, daps_steps
from dsg_jax.types import FirstStage, Operator, Problem, Projection
from experiments.files import versions_and_hardware, write_atomically
from experiments.speed.bench_latent import EXCERPTS, step_milliseconds

Row = tuple[str, str, float, float]  # group, what, milliseconds, ratio to the group's first row


def side_by_side(calls: dict[str, tuple], repeat: int = 5) -> dict[str, float]:
    """Median wall time of calls (function, *arguments), compiled, warmed up and taken in turns."""
    compiled = {
        name: (jax.jit(function).lower(*arguments).compile(), arguments)
        for name, (function, *arguments) in calls.items()
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeat + 1):
        for name, (function, arguments) in compiled.items():
            started = time.perf_counter()
            jax.block_until_ready(function(*arguments))
            times[name].append(time.perf_counter() - started)
    return {name: 1e3 * float(np.median(each[1:])) for name, each in times.items()}


def milliseconds(function: Callable, *arguments, repeat: int = 5) -> float:
    """Median wall time of a call, compiled and warmed up."""
    return side_by_side({"it": (function, *arguments)}, repeat)["it"]


def rows(group: str, cases: dict[str, float]) -> list[Row]:
    """The cases of a group with their ratios to the first one."""
    first = next(iter(cases.values()))
    return [(group, name, ms, first / ms) for name, ms in cases.items()]


def depthwise(kernel: np.ndarray, x: jax.Array) -> jax.Array:
    """The direct convolution that the fast blurs replace: reflect padding, one group a channel."""
    pad, c = kernel.shape[0] // 2, x.shape[-1]
    padded = jnp.pad(x, ((pad, pad), (pad, pad), (0, 0)), mode="reflect")[None]
    taps = jnp.repeat(jnp.asarray(kernel, jnp.float32)[:, :, None, None], c, axis=3)
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        padded, taps, (1, 1), "VALID", dimension_numbers=layout, feature_group_count=c
    )[0]


def residual_gradient(forward: Callable) -> Callable:
    """The gradient of 0.5 ||A(x) - y||^2."""
    return jax.grad(lambda x, y: 0.5 * jnp.sum((forward(x) - y) ** 2))


def bench_operators() -> list[Row]:
    """Both blurs at 256 x 256 x 3 with a 61 x 61 kernel against the direct convolution."""
    shape, found = (256, 256, 3), []
    x = jax.random.normal(jax.random.key(0), shape)
    motion = motion_kernel(np.random.RandomState(0), 61, 0.5)
    pairs: list[tuple[str, np.ndarray, Operator]] = [
        ("gaussian", gaussian_kernel(61, 3.0), gaussian_blur(shape, 61, 3.0)),
        ("motion", motion, blur(shape, motion)),
    ]
    for name, kernel, operator in pairs:
        direct = lambda x, k=kernel: depthwise(k, x)
        found += rows(
            f"{name} blur, 256 px, 61 x 61",
            {
                "direct convolution": milliseconds(direct, x, repeat=3),
                "ours": milliseconds(operator.forward, x, repeat=9),
            },
        )
        found += rows(
            f"{name} blur gradient",
            {
                "direct convolution": milliseconds(residual_gradient(direct), x, x, repeat=3),
                "ours": milliseconds(residual_gradient(operator.forward), x, x, repeat=9),
            },
        )
    return found


def bench_projection() -> list[Row]:
    """Engines on square states; ratios to the SVD of the same batch."""
    found = []
    for batch, n in ((1, 64), (16, 64), (1, 256)):
        z = jax.random.normal(jax.random.key(0), (batch, n, n, 3))
        cases = {}
        for engine in ("svd", "gram"):
            whole = lambda z, g, e=engine: project(subspace(Projection(engine=e), z), g)
            cases[engine] = milliseconds(jax.vmap(whole), z, z[::-1])
        found += rows(f"projection of ({batch}, 3, {n}, {n})", cases)
    return found


def in_scan(gradient: Callable, count: int) -> Callable:
    """Repeat an input gradient inside a scan, where XLA:CPU is slow at plain ones."""

    def run(x, t):
        return lax.scan(lambda x, _: (x - 1e-3 * gradient(x, t), None), x, None, length=count)[0]

    return run


def bench_network(name: str, batch: int = 8) -> list[Row]:
    """A bundled network: one prediction, one input gradient, the same inside a scan."""
    prior, card = load_prior(name)
    size = card["size"]
    x = jax.random.normal(jax.random.key(0), (batch, size, size, card["channels"]))
    t = jnp.full(batch, 300.0)
    predict = lambda x, t: jax.vmap(prior.network)(x, t)
    gradient = jax.grad(lambda x, t: jnp.sum(predict(x, t) ** 2))
    return rows(
        f"network {name}, batch {batch}",
        {
            "prediction": milliseconds(predict, x, t),
            "input gradient": milliseconds(gradient, x, t),
            "input gradient in a scan": milliseconds(in_scan(gradient, 4), x, t, repeat=3) / 4,
        },
    )


def bench_daps(name: str, batch: int = 8, levels: int = 4) -> list[Row]:
    """One annealing level of DAPS (5 ODE steps, 100 Langevin steps) with each projection."""
    prior, card = load_prior(name)
    shape = (card["size"], card["size"], card["channels"])
    operator = super_resolution(shape, 4)
    y = operator.forward(jnp.zeros(shape))
    keys = jax.random.split(jax.random.key(0), batch)
    cases = {}
    for label, projection in (
        ("plain", None),
        ("svd", Projection()),
        ("gram", Projection(engine="gram")),
    ):

        def run(keys, projection):
            solver = daps(
                prior, Problem(operator, y, 0.05), projection, steps=daps_steps(levels=levels)
            )
            return jax.vmap(lambda key: sample(key, solver, shape)[0])(keys)

        cases[label] = milliseconds(run, keys, projection, repeat=3) / levels
    return rows(f"DAPS level on {name}, batch {batch}", cases)


def bench_solvers(name: str, factor: int) -> list[Row]:
    """One outer step of every latent solver at the prior's own size and with 64 x 64 latents.

    ``factor`` is how many pixels a side of a latent pixel covers.
    """
    prior, card = load_prior(name)
    found = []
    for solver in EXCERPTS:
        for size in dict.fromkeys((card["size"], 64 * factor)):
            side = size // factor
            group = f"{solver} step on {name}, latents of {side} x {side}"
            measure = partial(side_by_side, repeat=3)
            found += rows(group, step_milliseconds(solver, prior, size, measure))
    return found


def plan_bench(arguments: Namespace) -> Callable[[], None]:
    """Check `bench`: whether there is such a prior."""
    stage = load_prior(arguments.prior)[0].first_stage
    return lambda: bench(arguments, stage)


def bench(arguments: Namespace, stage: FirstStage | None) -> None:
    """Print the table, and write it as JSON where asked; a latent prior is timed in its solvers."""
    if stage is None:
        found = bench_operators() + bench_projection()
        found += bench_network(arguments.prior) + bench_daps(arguments.prior)
    else:
        found = bench_projection() + bench_solvers(arguments.prior, int(stage.factor))
    width = max(len(row[0]) for row in found)
    for group, name, ms, ratio in found:
        print(f"{group:{width}}  {name:26} {ms:10.2f} ms {ratio:8.2f}x")
    if arguments.out:
        names = ("group", "case", "milliseconds", "times_faster_than_first")
        table = [dict(zip(names, row, strict=True)) for row in found]
        report = json.dumps({"rows": table} | versions_and_hardware(), indent=1)
        write_atomically(arguments.out, (report + "\n").encode())

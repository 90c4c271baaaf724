"""How much memory one projected step takes at the published models' sizes: PSLD, DAPS on pixels.

dsg-jax memory

The step is compiled for shapes alone: no weight is ever allocated, and nothing runs. What counts is
the compiler's own plan: the arguments, the results, and the largest need for intermediate values
at one time. Convolution and LAPACK kernels may take workspace beside that.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from dsg_jax.networks import autoencoder, ldm
from dsg_jax.networks.adm import ADM_FFHQ_256, ADMUNet
from dsg_jax.operators.linear import super_resolution
from dsg_jax.priors import init_params
from dsg_jax.priors.first_stage import kl_first_stage, vq_first_stage
from dsg_jax.priors.latent import LDMNetwork, latent_prior
from dsg_jax.priors.pixel import adm_prior
from dsg_jax.sample import normal_draws
from dsg_jax.schedule import scaled_linear_betas
from dsg_jax.solvers.daps import DAPSSettings, DAPSSteps, daps, daps_steps
from dsg_jax.solvers.ddim import DDIMSteps, ddim_steps
from dsg_jax.solvers.psld import PSLDSettings, psld
from dsg_jax.types import Prior, Problem, Projection
from experiments.files import versions_and_hardware, write_atomically
from experiments.speed.settings import MemorySettings

GB = 1e9


class Model(NamedTuple):
    """A published latent diffusion model, as far as memory is concerned."""

    unet: ldm.LDMConfig
    autoencoder: autoencoder.AutoencoderConfig
    first_stage: Callable
    size: int
    """Side of its images, pixels."""
    tokens: int | None
    """Tokens of its context; one pass, as with the empty prompt that PSLD takes."""


MODELS = {
    "ldm-ffhq": Model(ldm.LDM_FFHQ, autoencoder.VQ_F4, vq_first_stage, 256, None),
    "sd-1.5": Model(ldm.SD_1_5, autoencoder.KL_F8, kl_first_stage, 512, 77),
}
REMAT = {
    "nothing": (False, False),
    "U-Net": (True, False),
    "first stage": (False, True),
    "both": (True, True),
}
"""What recomputes its blocks in the backward pass -> (U-Net, first stage)."""


ADM, ADM_BATCHES = "adm-ffhq", (1, 10)
"""DAPS on the FFHQ network over pixels of 256 px: samples at once."""


def step_inputs(model: Model, dtype: str, remat: tuple[bool, bool], key: Array) -> tuple:
    """The arguments of `psld_step` for a model with random weights; meant for `jax.eval_shape`."""
    unet, stage = ldm.init_params(model.unet, key), autoencoder.init_params(model.autoencoder, key)
    side, betas = model.size // model.autoencoder.factor, scaled_linear_betas()
    context = None if model.tokens is None else jnp.zeros((model.tokens, model.unet.context_dim))
    prior = latent_prior(
        LDMNetwork(unet, model.unet, context, dtype=dtype, remat=remat[0]),
        betas,
        model.first_stage(stage, model.autoencoder, dtype=dtype, remat=remat[1]),
    )
    shape = (model.size, model.size, model.autoencoder.image_channels)
    operator = super_resolution(shape, 4)
    problem = Problem(operator, operator.forward(jnp.zeros(shape)), 0.05)
    z = jnp.zeros((side, side, model.autoencoder.latent_channels))
    at = jax.tree.map(lambda a: a[0], ddim_steps(betas, 1000))
    return prior, problem, Projection(), key, z, at


def psld_step(
    prior: Prior, problem: Problem, projection: Projection, key: Array, z: Array, at: DDIMSteps
):
    """One step of DiffStateGrad-PSLD."""
    settings = PSLDSettings(steps=ddim_steps(scaled_linear_betas(), 1000))
    solver = psld(prior, problem, projection, settings)
    return solver.step(normal_draws(key), z, at)


def planned_bytes(model: Model, dtype: str, remat: tuple[bool, bool]) -> dict[str, float]:
    """Bytes of a step on one image of the model, super-resolution x4, as the compiler plans it.

    Raises:
      RuntimeError: a backend whose compiler does not tell.
    """
    forms = jax.eval_shape(partial(step_inputs, model, dtype, remat), jax.random.key(0))
    return plan_of(psld_step, forms)


def daps_inputs(dtype: str, batch: int, key: Array) -> tuple:
    """The arguments of `daps_level` with random weights; meant for `jax.eval_shape`."""
    prior = adm_prior(init_params(ADMUNet(ADM_FFHQ_256)), ADM_FFHQ_256, dtype=dtype)
    shape = (256, 256, 3)
    operator = super_resolution(shape, 4)
    problem = Problem(operator, operator.forward(jnp.zeros(shape)), 0.05)
    at = jax.tree.map(lambda a: a[0], daps_steps())
    return (
        prior,
        problem,
        Projection(),
        jax.random.split(key, batch),
        jnp.zeros((batch, *shape)),
        at,
    )


def daps_level(
    prior: Prior, problem: Problem, projection: Projection, keys: Array, x: Array, at: DAPSSteps
):
    """One annealing level of DiffStateGrad-DAPS on a batch."""
    solver = daps(prior, problem, projection, DAPSSettings(steps=daps_steps()))
    return jax.vmap(lambda key, x: solver.step(normal_draws(key), x, at))(keys, x)


def planned_daps_bytes(dtype: str, batch: int) -> dict[str, float]:
    """Bytes of a level of DAPS on ADM-FFHQ, as `planned_bytes`."""
    forms = jax.eval_shape(partial(daps_inputs, dtype, batch), jax.random.key(0))
    return plan_of(daps_level, forms)


def plan_of(step: Callable, forms: tuple) -> dict[str, float]:
    """What the compiler plans for a function of arrays of these shapes.

    Raises:
      OSError: the compiler of this machine does not tell.
    """
    plan = jax.jit(step).lower(*forms).compile().memory_analysis()
    if plan is None:
        backend = jax.default_backend()
        raise OSError(
            f"the compiler for {backend} plans no memory in advance: set JAX_PLATFORMS=cpu"
        )
    parts: dict[str, float] = {
        "arguments": plan.argument_size_in_bytes,
        "results": plan.output_size_in_bytes - plan.alias_size_in_bytes,
        "intermediate": plan.temp_size_in_bytes,
    }
    return parts | {"total": sum(parts.values())}


def cases(model: str, dtype: str) -> Iterator[tuple[str, str, Callable[[], dict[str, float]]]]:
    """(model, what distinguishes the case, what plans it)."""
    for name in MODELS if model == "all" else (model,):
        if name in MODELS:
            for label, remat in REMAT.items():
                yield name, label, partial(planned_bytes, MODELS[name], dtype, remat)
    if model in ("all", ADM):
        for batch in ADM_BATCHES:
            yield ADM, f"DAPS, {batch} at once", partial(planned_daps_bytes, dtype, batch)


def plan_memory(settings: MemorySettings) -> Callable[[], None]:
    """Nothing is left to check of `memory`."""
    return lambda: memory(settings)


def memory(settings: MemorySettings) -> None:
    """Print the table row by row, and write it as JSON where asked."""
    backend = jax.default_backend()
    print(f"One step of DiffStateGrad-PSLD on one image, of DiffStateGrad-DAPS on {ADM};")
    print(f"{settings.dtype}, compiled for {backend}; GB")
    print(f"{'model':10} {'recomputed':16} {'weights etc.':>12} {'intermediate':>13} {'total':>7}")
    rows: list[dict[str, Any]] = []
    for name, label, planned in cases(settings.model, settings.dtype):
        plan = planned()
        rows.append({"model": name, "recomputed": label, "bytes": plan})
        held, total = plan["arguments"] / GB, plan["total"] / GB
        print(
            f"{name:10} {label:16} {held:12.2f} {plan['intermediate'] / GB:13.2f} {total:7.2f}",
            flush=True,
        )
    if settings.out:
        what = {
            "what": "one step of DiffStateGrad-PSLD on one image, one level of DiffStateGrad-DAPS",
            "dtype": settings.dtype,
        }
        report = json.dumps(what | {"rows": rows} | versions_and_hardware(), indent=1)
        write_atomically(settings.out, (report + "\n").encode())

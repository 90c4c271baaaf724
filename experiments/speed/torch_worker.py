"""PyTorch's side of the comparison: the same programs as `jax_worker`, as plain loops.

Runs in an interpreter that has torch and numpy and need not have jax. Weights are frozen, nothing
is checkpointed, maps are channels-last; on a GPU products are TF32, as jax has them.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.speed.torch_autoencoder import VQ
from experiments.speed.torch_networks import UNet
from experiments.speed.worker import Built, process_peak, serve

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TAU, FACTOR = 0.99, 4
# DDIM's and DAPS's constants decide no time: those of the middle of a run.
ALPHA_BAR, ALPHA_BAR_NEXT, SIGMA, LR = 0.5, 0.52, 1.0, 1e-4


def network_of(case: dict, part: str) -> nn.Module:
    """The U-Net ("unet") or autoencoder of a case, with its weights where it names a file."""
    kind, config = UNet if part == "unet" else VQ, case["architecture"][part]
    network: nn.Module = kind(config).requires_grad_(False)
    if "weights" in case:
        with np.load(case["weights"]) as file:
            state = {
                key.removeprefix(f"{part}/"): torch.from_numpy(file[key])
                for key in file.files
                if key.startswith(f"{part}/")
            }
        network.load_state_dict(state)
    return network.to(DEVICE, memory_format=torch.channels_last).eval()


def state_of(case: dict) -> Tensor:
    """The states that both sides have: sin(0), sin(1), ... over (b, h, w, c)."""
    shape = case["batch"], *case["state"]
    x = torch.sin(torch.arange(int(np.prod(shape)), dtype=torch.float64)).float().reshape(shape)
    return x.to(DEVICE).permute(0, 3, 1, 2)


def predictor(case: dict) -> Callable[[Tensor], Tensor]:
    """The predicted noise of states (b, c, h, w), of a case's U-Net."""
    network = network_of(case, "unet")
    colours = case["state"][-1]

    def predict(x: Tensor) -> Tensor:
        t = torch.full((len(x),), 300.0, device=x.device)
        return network(x, t)[:, :colours]

    return predict


def gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The gradient of the sum of squares of a function."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(function(x).square().sum(), x)[0]


def forward_program(case: dict) -> Callable[[], Tensor]:
    """One prediction."""
    predict, x = predictor(case), state_of(case)
    return torch.inference_mode()(lambda: predict(x))


def gradient_program(case: dict) -> Callable[[], Tensor]:
    """Its input gradient."""
    return partial(gradient, predictor(case), state_of(case))


def decoder_gradient_program(case: dict) -> Callable[[], Tensor]:
    """The decoder's input gradient."""
    return partial(gradient, network_of(case, "first_stage").decode, state_of(case))


def projectors(z: Tensor) -> tuple[Tensor, Tensor]:
    """(b, c, h, w) states -> U_r U_r' and V_r V_r', by the released code's rank rule."""
    u, s, vh = torch.linalg.svd(z, full_matrices=False)
    energy = (s**2).flatten(1)
    q = 1 + (energy.cumsum(1) / energy.sum(1, keepdim=True) < TAU).sum(1)
    keep = torch.arange(s.shape[-1], device=z.device) < (q // 3)[:, None, None]
    u, vh = u * keep[:, :, None], vh * keep[..., None]
    return u @ u.mT, vh.mT @ vh


def projection_program(case: dict) -> Callable[[], Tensor]:
    """Decomposition, projectors, and one projected gradient."""
    z = torch.randn(case["batch"], 3, case["side"], case["side"], device=DEVICE)

    def program() -> Tensor:
        left, right = projectors(z)
        return left @ z.flip(0) @ right

    return program


def measured_and_back(x: Tensor) -> Tensor:
    """The super-resolution's A(x), means of squares of pixels."""
    return F.avg_pool2d(x, FACTOR)


def daps_program(case: dict) -> Callable[[], Tensor]:
    """A level of DAPS: the ODE's Euler steps, then Langevin steps, projected or not."""
    predict, x = predictor(case), state_of(case)
    y = torch.zeros_like(measured_and_back(x))
    sigmas = torch.linspace(SIGMA, 0.1, case["ode_steps"] + 1).tolist()

    def program() -> Tensor:
        x0 = x
        with torch.inference_mode():
            for here, there in zip(sigmas, sigmas[1:], strict=False):
                denoised = x0 - here * predict(x0 / (1 + here**2) ** 0.5)
                x0 = x0 + (1 - there / here) * (denoised - x0)
        x0 = x0.clone().contiguous()
        left, right = projectors(x0) if case["projected"] else (None, None)
        sample = x0
        for _ in range(case["inner_steps"]):
            sample = sample.detach().requires_grad_()
            loss = 0.5 * (measured_and_back(sample) - y).square().sum() / 0.01**2
            (g,) = torch.autograd.grad(loss, sample)
            with torch.no_grad():
                g = g + (sample - x0) / SIGMA**2
                g = g if left is None else left @ g @ right
                sample = sample - LR * g + (2 * LR) ** 0.5 * torch.randn_like(sample)
        return sample + SIGMA * torch.randn_like(sample)

    return program


def norms(x: Tensor) -> Tensor:
    """The sum of every sample's norm."""
    return x.flatten(1).norm(dim=1).sum()


def guided_step(case: dict, loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable:
    """A DDIM step of a state x along the gradient of loss(x, x0_hat, y)."""
    predict, x, side = predictor(case), state_of(case), case["side"] // FACTOR
    y = torch.zeros(len(x), 3, side, side, device=DEVICE)

    def program() -> Tensor:
        state = x.detach().requires_grad_()
        eps = predict(state)
        x0 = (state - (1 - ALPHA_BAR) ** 0.5 * eps) / ALPHA_BAR**0.5
        (g,) = torch.autograd.grad(loss(state, x0, y), state)
        with torch.no_grad():
            if case["projected"]:
                left, right = projectors(x)
                g = left @ g @ right
            following = ALPHA_BAR_NEXT**0.5 * x0 + (1 - ALPHA_BAR_NEXT) ** 0.5 * eps
            return following - 0.1 * g

    return program


def dps_program(case: dict) -> Callable[[], Tensor]:
    """A step of DPS."""
    return guided_step(case, lambda x, x0, y: norms(y - measured_and_back(x0)))


def psld_program(case: dict) -> Callable[[], Tensor]:
    """A step of PSLD: measurement and gluing losses through decoder and encoder."""
    stage = network_of(case, "first_stage")

    def loss(z: Tensor, z0: Tensor, y: Tensor) -> Tensor:
        x0 = stage.decode(z0)
        ax = measured_and_back(x0)
        up = lambda small: F.interpolate(small, scale_factor=FACTOR, mode="nearest")
        glued = stage.encode(up(y) + x0 - up(ax))
        return 0.1 * norms(ax + 0.05 * torch.randn_like(ax) - y) + 0.1 * norms(glued - z0)

    return guided_step(case, loss)


# What is timed -> the function that makes it; `bench` leaves out what is not here.
PROGRAMS: dict[str, Callable[[dict], Callable[[], Tensor]]] = {
    "projection": projection_program,
    "forward": forward_program,
    "gradient": gradient_program,
    "decoder gradient": decoder_gradient_program,
    "daps step": daps_program,
    "dps step": dps_program,
    "psld step": psld_program,
}


def peak_bytes() -> int:
    """The most memory so far."""
    return torch.cuda.max_memory_allocated() if DEVICE == "cuda" else process_peak()


def build(case: dict) -> Built:
    """A case's program, compared by its output where the case has weights."""
    program = PROGRAMS[case["what"]](case)

    def call() -> Tensor:
        result = program()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return result

    facts: dict[str, Any] = {"shape": list(call().permute(0, 2, 3, 1).shape), "steps": 1}
    with torch.device("meta"):
        for part, config in case.get("architecture", {}).items():
            network: nn.Module = (UNet if part == "unet" else VQ)(config)
            facts[part] = sum(parameter.numel() for parameter in network.parameters())
    if "output" in case:
        np.save(case["output"], call().permute(0, 2, 3, 1).cpu().numpy())
    return Built(call, facts, peak_bytes)


def about() -> dict:
    """Version, device and threads."""
    torch.set_float32_matmul_precision("high")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    name = torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"
    facts = {"torch": torch.__version__, "device": name, "threads": torch.get_num_threads()}
    return facts | {"programs": sorted(PROGRAMS)}


if __name__ == "__main__":
    serve(about, build)

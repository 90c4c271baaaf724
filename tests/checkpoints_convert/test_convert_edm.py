"""EDM's networks: golden files of every family through the command, and what it reads and refuses.

Files of NVlabs' hold source text that would create a file PWNED if anything ran it.
"""

import hashlib
import json
import math
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from checkpoints_convert.kinds import KINDS
from checkpoints_convert.match import fits
from checkpoints_convert.parity import errors
from checkpoints_convert.preconditioning import Stated, with_preconditioning
from checkpoints_convert.read import open_checkpoint
from checkpoints_convert.recorded import Recorded
from dsg_jax.networks.adm import ADMConfig, ADMUNet
from dsg_jax.networks.edm import EDMConfig, EDMUNet
from dsg_jax.priors import load_prior
from dsg_jax.priors.clocks import clock_of_card
from dsg_jax.priors.folder import read_card
from support.convert_files import published_file
from support.golden_case import GOLDEN, load, relative
from support.golden_models import architecture, run
from support.network_cases import nchw, nhwc, recipe_weights
from support.state_files import entries, random_state, write_state

FILES = "edm_nvlabs_ddpmpp.pkl", "inversebench_2ch_net_only.pt"
OPTIONS = {
    "edm_ddpmpp_vp": ("--preconditioning", "vp"),
    "edm_ncsnpp_ve": ("--preconditioning", "ve"),
    "edm_dhariwal_two_heads": ("--preconditioning", "edm", "--sigma-data", 0.5),
    "full_edm_inversebench_128": ("--preconditioning", "edm"),
    "edm_nvlabs_ddpmpp.pkl": (),
    "inversebench_2ch_net_only.pt": ("--preconditioning", "vp", "--mean", 0, "--std", 5),
    "consistency_edm_like": ("--kind", "consistency"),
}
"""Golden case or file -> what has to be said of it."""
ADM_LIKE = ADMConfig(
    32, (1, 1), 1, (2,), num_head_channels=16, new_attention_order=True, out_channels=3,
    use_scale_shift_norm=False,
)  # fmt: skip
MODULES = {"edm": (EDMConfig, EDMUNet), "adm": (ADMConfig, ADMUNet)}


def golden(case: str) -> tuple[dict, dict]:
    """The bounds and the recorded arrays of a case, or of the file of `FILES` with one set."""
    if case not in FILES:
        manifest, arrays = load(f"networks/{case}")
        return manifest["tolerance"]["rel_l2"], arrays
    manifest, arrays = load("checkpoints/edm_files")
    ((name, one),) = manifest["files"][case]["sets"].items()
    stem = f"{case}__{name}__"
    chosen = {k.removeprefix(stem): v for k, v in arrays.items() if k.startswith(stem)}
    return one["tolerance"]["rel_l2"], chosen


def converted(case: str, folder: Path) -> Path:
    """The folder that a case's weights are converted to."""
    file, options = GOLDEN / "networks" / f"{case}.pt", OPTIONS[case]
    if case in FILES:
        file = GOLDEN / "checkpoints" / case
    elif not file.is_file():
        manifest = json.loads(file.with_suffix(".json").read_text())
        listed = "" if isinstance(manifest["keys"], list) else Path(manifest["keys"]).stem
        file = write_state(folder / "recipe.pt", entries(recipe_weights(manifest, listed)))
    elif case.startswith("consistency"):
        options += tuple(architecture(folder, "consistency", unet=ADM_LIKE))
    assert run(file, "--out", folder / "out", *options) == 0
    return folder / "out"


@pytest.mark.parametrize("case", OPTIONS)
def test_golden_denoiser(case, tmp_path, monkeypatch):
    """E[x0], its gradient, and the network's own output, within the manifests' bounds."""
    monkeypatch.chdir(tmp_path)
    bounds, arrays = golden(case)
    prior, card = load_prior(converted(case, tmp_path))
    params = prior.network.params
    with jax.default_matmul_precision("highest"):
        compared = errors(card, params, Recorded(arrays, bounds, {}))
        assert compared.keys() == {"output", "grad_x"}
        if "F" in arrays:
            compared["F"] = relative(own_output(card, params, arrays), arrays["F"])
    assert all(error <= bounds[name] for name, error in compared.items()), compared
    assert not (tmp_path / "PWNED").exists()


def own_output(card: dict, params: dict, arrays: dict) -> np.ndarray:
    """F at the recorded c_in x and c_noise."""
    config, module = MODULES[card["kind"]]
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in card["architecture"].items()}
    scales = arrays.get("c_in", 1 / np.sqrt(arrays["sigma"] ** 2 + 0.25))
    x = nhwc(arrays["x"]) * np.float32(scales)[:, None, None, None]
    labels = [arrays["y"]] if "y" in arrays else []
    inputs = x, jnp.asarray(arrays["c_noise"], jnp.float32), *labels
    return nchw(jax.jit(module(config(**fields)).apply)({"params": params}, *inputs))


@pytest.mark.parametrize("name", FILES)
def test_every_tensor_is_read_bit_by_bit(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stored = open_checkpoint(GOLDEN / "checkpoints" / name)
    manifest = json.loads((GOLDEN / "checkpoints" / "edm_files.json").read_text())["files"][name]
    ((before, one),) = manifest["sets"].items()
    hashes = {
        key: hashlib.sha256(np.ascontiguousarray(tensor.read())).hexdigest()[:16]
        for key, tensor in stored.tensors.items()
    }
    assert hashes == {f"{before}.{key}": entry[-1] for key, entry in one["tensors"].items()}
    assert list(tmp_path.iterdir()) == []


def test_what_a_pickled_object_says_of_itself(tmp_path, capsys):
    file = GOLDEN / "checkpoints" / "edm_nvlabs_ddpmpp.pkl"
    stored = open_checkpoint(file)
    assert stored.container == "pickle" and stored.values["ema.class_name"] == "EDMPrecond"
    assert stored.values["ema.sigma_data"] == 0.5 and stored.values["ema.img_resolution"] == 16
    assert not any("import" in str(value) for value in stored.values.values())  # no source text
    for option, value in (("preconditioning", "vp"), ("sigma-data", "0.7")):
        assert run(file, "--out", tmp_path / "out", f"--{option}", value) == 2
        assert f"and you say {value}: leave --{option} out" in capsys.readouterr().err


def test_cards(tmp_path):
    """What goes into the card from the file, and what from its user."""
    card = read_card(converted("inversebench_2ch_net_only.pt", tmp_path), "edm")
    assert (card["channels"], card["size"], card["scaling"]) == (2, 16, {"mean": 0, "std": 5})
    assert card["parametrisation"] == "eps" and card["clock"] == {"kind": "adm"}


@pytest.mark.parametrize(
    "config",
    [
        EDMConfig("song", 16, 16, (1, 2), 1, (8,), 2, 2, 5, encoder="skip", decoder="skip"),
        EDMConfig("song", 16, 16, (1, 2, 2), 2, (4, 16)[::-1], 1, 1, encoder="residual",
                  decoder="skip", embedding="fourier", noise_mult=2, embedding_mult=2),
        EDMConfig("dhariwal", 32, 64, (1, 1, 2), 1, (16,), 3, 6, 7),
    ],
)  # fmt: skip
def test_every_architecture_is_read_back(config):
    state = random_state("edm", {"unet": config})
    assert KINDS["edm"].of(state).architecture == {"unet": config}


def test_the_grid_of_iddpm_says_what_it_is():
    """u_(j-1) = sqrt((u_j^2 + 1) / max(a_(j-1) / a_j, 0.001) - 1), as the reference computes it."""
    a, u = np.sin(0.5 * np.pi * np.arange(1001) / 1008) ** 2, np.zeros(1001, np.float32)
    for j in range(1000, 0, -1):
        u[j - 1] = np.sqrt((u[j] ** 2 + 1) / max(a[j - 1] / a[j], 0.001) - 1)
    grid = SimpleNamespace(shape=u.shape, read=lambda: u)
    kind = KINDS["edm"]._replace(architecture={"unet": EDMConfig()})
    card = with_preconditioning(kind, "edm", {"net.u": grid}, {}, Stated()).card
    clock = clock_of_card(card)
    for j in (0, 400, 1000):
        assert float(clock.time(jnp.float32(1.0001 * u[j]))) == 999 - j


@pytest.mark.parametrize(
    "name, parameters",
    [
        ("inversebench_128_1ch", 26_790_785),
        ("edm_cifar10_uncond_ve", 56_397_827 - 9 * 256 + 128),  # without its augmentations
        ("edm_imagenet64_cond_adm", 295_899_267),
    ],
)
def test_published_architectures_are_read(name, parameters):
    tensors = published_file(name)
    (fit,) = fits(tensors, "edm", KINDS["edm"].of(tensors))
    assert fit.perfect, fit.problems()
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(fit.structs)) == parameters

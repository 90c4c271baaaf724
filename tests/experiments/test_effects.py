"""Commands x options: an option changes what is planned, or is refused by its name."""

from dataclasses import fields, is_dataclass

import numpy as np
import pytest

from dsg_jax.operators.tasks import TASKS
from dsg_jax.solvers import SOLVERS
from experiments.__main__ import COMMANDS, main
from experiments.checks import flag
from experiments.files import array_hash
from experiments.restore.effects import check_effects
from experiments.restore.plan import plan
from experiments.settings import RestoreSettings
from support.gaussian_prior import gaussian_prior
from support.words import settings_of

CARD = {"name": "emoji", "size": 16, "size_multiple": 4, "channels": 3}
# How and where is computed, not what.
HOW = {"batch_size", "microbatch", "memory", "remat", "out", "shard", "metrics", "failure_psnr"}
HOW |= {"no_verify", "fid", "fid_few"}
HOW |= {entry.name for entry in fields(RestoreSettings().devices)}
# A value other than the default of every option that says what is computed.
VALUES = {
    "images": "--images truth.npy.png --count 1",
    "fit": "none",
    "size": "20",
    "count": "1",
    "class_label": "3",
    "sigma": "0.2",
    "noise": "poisson",
    "peak": "9",
    "operator_seed": "3",
    "task": "identity",
    "solver": "dps",
    "projection": "state",
    "tau": "0.5",
    "rank_rule": "mean",
    "period": "2",
    "sides": "left",
    "source": "random",
    "smoothing": "0.9",
    "samples": "2",
    "seed": "1",
    "variant": "main",
    "inner": "hmc",
    "levels": "3",
    "ode_steps": "2",
    "inner_steps": "2",
    "tau_y": "0.05",
    "exposure": "3",
    "factor": "2",
    "oversample": "3",
    "unit_range": "False",
    "pad": "3",
    "box": "6",
    "margin": "2",
    "kernel_size": "5",
    "std": "1",
    "acceleration": "2",
    "centre": "0.1",
    "intensity": "0.9",
    "dtype": "bfloat16",
    "matmul_precision": "high",
}
SIMULATED = "--task hdr --count 2 --levels 2 --ode-steps 1"
CONTEXTS = {
    "simulated": SIMULATED,
    "plain": f"{SIMULATED} --projection none",
    "box": "--task box_inpainting --count 2 --levels 2 --ode-steps 1",
    "phase": "--task phase_retrieval --count 2 --levels 2 --ode-steps 1",
    "fourier": "--task fourier_subsampling --count 2 --levels 2 --ode-steps 1",
    "padded": "--task phase_retrieval --pad 4 --count 2 --levels 2 --ode-steps 1",
    "measured": "--task hdr --measured y.npy z.npy --levels 2 --ode-steps 1",
    "magnitudes": "--task phase_retrieval --measured m.npy --levels 2 --ode-steps 1",
}


def planned(words: list[str]) -> set[str]:
    """What decides the results, as hashes; the noise level only for solvers that ask for it."""
    settings = settings_of("restore", *words, "--out", "out")
    check_effects(settings)
    return {
        array_hash(
            *map(np.asarray, (*leaves(job.solver_settings), *leaves(job.projection))),
            *map(np.asarray, leaves(item.problem._replace(sigma=0.0))),
            np.frombuffer(repr(place(job, item)).encode(), np.uint8),
        )
        for job in plan(settings, (gaussian_prior(), CARD)).jobs
        for item in job.items
    }


def place(job, item) -> tuple:
    choices = [
        getattr(value, entry.name)
        for value in (job.solver_settings, job.projection)
        if is_dataclass(value)
        for entry in fields(value)
        if entry.metadata.get("static")
    ]
    sigma = item.problem.sigma if SOLVERS[job.solver].noise else 0.0
    facts = job.solver, job.seed, job.shape, job.facts.get("dtype")
    return *facts, item.picture.name, item.sample, sigma, choices


def leaves(value) -> list:
    import jax

    return jax.tree.leaves(value)


def options_of_restore() -> list[str]:
    default = RestoreSettings()
    groups = [getattr(default, entry.name) for entry in fields(default)]
    names = [one.name for group in groups if is_dataclass(group) for one in fields(group)]
    return [*names, *SOLVERS["daps"].options, *(n for task in TASKS.values() for n in task.options)]


def what_it_does(before: set[str], words: list[str], name: str, value: str) -> str:
    try:
        return "nothing" if planned([*words, flag(name), value]) == before else "change"
    except ValueError as error:
        said = str(error)
        if "the options that it was measured with" in said:
            return "change"
        return "refused" if flag(name) in said or name in said else f"another error: {said}"


@pytest.mark.parametrize("context", CONTEXTS)
def test_an_option_changes_the_plan_or_is_refused(context, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file, shape in (("y.npy", 16), ("z.npy", 16), ("m.npy", 24)):
        np.save(
            file,
            np.linspace(-1 if shape == 16 else 0, 1, shape * shape * 3).reshape(shape, shape, 3),
        )
    words = CONTEXTS[context].split()
    before = planned(words)
    spoken = {word for word in words if word.startswith("--")}
    checked = [
        name
        for name in dict.fromkeys(options_of_restore())
        if name in VALUES and name != "images" and flag(name) not in spoken
    ]
    effects = {name: what_it_does(before, words, name, VALUES[name]) for name in checked}
    assert {name: does for name, does in effects.items() if does not in ("change", "refused")} == {}
    assert "change" in effects.values() and "refused" in effects.values()


def test_every_option_has_a_value_or_is_about_how():
    files = {"images", "measured", "range", "mask", "kernel", "kernel_is", "prior", "blur_network"}
    others = {"second_draw", "hidden_low", "hidden_high", "unit_range"}
    assert set(options_of_restore()) - VALUES.keys() <= HOW | files | others


@pytest.mark.parametrize(
    "words",
    [
        "restore --task hdr --measured y.npy --fit crop",
        "restore --task hdr --measured y.npy --sigma 0.05",
        "restore --task hdr --measured y.npy --failure-psnr 9",
        "restore --task hdr --measured y.npy --metrics ssim_skimage7",
        "restore --task hdr --microbatch 1 --memory 4",
        "restore --task hdr --fid-few",
        "restore --task hdr --fid real --shard 1/2",
        "restore --task hdr --heartbeat 9",
        "restore --task hdr --matmul-precision highest",
        "restore --task hdr --images a.png --size 32 --fit none",
        "restore --task hdr --solver resample --projection none --preset official",
        "export --task hdr --sigma 0.1",
        "export --task hdr --projection none --tau 0.5",
        "export --task hdr --matmul-precision high --platforms cpu",
        "reproduce table4 --base-step 2",
        "reproduce table4 --fit none",
        "reproduce table4 --matmul-precision high",
        "reproduce table4 --fid-few",
        "reproduce table4 --fid real --shard 1/2",
        "reproduce table1 --levels 3",
        "reproduce table1 --blur-network x",
        "reproduce --list --count 3",
        "calibrate --solver dps --levels 3",
        "calibrate --solver dps --limit 3",
        "calibrate --rules none --tau 0.5",
    ],
)
def test_options_without_effect_are_refused_by_name(words, tmp_path, capsys):
    command, *rest = words.split()
    out = tmp_path / ("x.npz" if command == "export" else "out")
    assert command in COMMANDS and main([command, *rest, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    names = [word for word in rest if word.startswith("--")]
    assert said.count("\n") == 1 and any(f"{name}" in said for name in names)
    assert "drop" in said

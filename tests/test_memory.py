"""The memory report: what is planned, without weights, and that recomputation lowers it."""

from functools import partial

import jax
import pytest

from dsg_jax.first_stage import vq_first_stage
from dsg_jax.networks.autoencoder import VQ_F4
from dsg_jax.networks.ldm import LDMConfig
from experiments.__main__ import main
from experiments.memory import MODELS, REMAT, Model, planned_bytes, step_inputs

SMALL = Model(
    LDMConfig(32, (1,), 1, (1,), num_head_channels=16),
    VQ_F4._replace(channels=32, channel_mult=(1, 1, 1), num_res_blocks=1, codes=64),
    vq_first_stage,
    64,
    None,
)


def test_unknown_choices_are_refused(capsys):
    assert main(["memory", "--model", "ldm"]) == 2
    assert "choose from all, ldm-ffhq, sd-1.5" in capsys.readouterr().err
    assert main(["memory", "--dtype", "float16"]) == 2
    assert "choose from float32, bfloat16" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters"), [("ldm-ffhq", 329_378_945), ("sd-1.5", 943_174_827)]
)
def test_the_published_models_are_planned(name, parameters):
    key = jax.random.key(0)
    prior, *_, z, _ = jax.eval_shape(partial(step_inputs, MODELS[name], "float32", (0, 0)), key)
    assert z.shape[:2] == (64, 64)
    parts = (prior.network.params, *(f.args[1] for f in prior.first_stage[:2]))
    assert sum(leaf.size for leaf in jax.tree.leaves(parts)) == parameters


@pytest.mark.slow
def test_recomputation_lowers_the_plan():
    plans = {label: planned_bytes(SMALL, "float32", remat) for label, remat in REMAT.items()}
    weights = {plan["arguments"] for plan in plans.values()}
    assert len(weights) == 1 and weights.pop() > 4 * 250_000
    both, nothing = plans["both"]["intermediate"], plans["nothing"]["intermediate"]
    assert both < 0.7 * nothing
    assert both < min(plans["U-Net"]["intermediate"], plans["first stage"]["intermediate"])

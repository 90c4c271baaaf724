"""The memory report: what is planned, without weights, and that recomputation lowers it."""

from functools import partial

import jax
import pytest

from dsg_jax.networks.autoencoder import VQ_F4
from dsg_jax.networks.ldm import LDMConfig
from dsg_jax.priors.first_stage import vq_first_stage
from experiments.__main__ import main
from experiments.speed.memory import (
    MODELS,
    REMAT,
    Model,
    planned_bytes,
    planned_daps_bytes,
    step_inputs,
)

SMALL = Model(
    LDMConfig(16, (1,), 1, (), num_head_channels=16, norm_groups=8),
    VQ_F4._replace(channels=16, channel_mult=(1, 1), num_res_blocks=1, codes=64, norm_groups=8),
    vq_first_stage,
    64,
    None,
)


def test_unknown_choices_are_refused(capsys):
    assert main(["memory", "--model", "ldm"]) == 2
    assert "('all', 'ldm-ffhq', 'sd-1.5', 'adm-ffhq')" in capsys.readouterr().err
    assert main(["memory", "--dtype", "float16"]) == 2
    assert "('float32', 'bfloat16')" in capsys.readouterr().err


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
    nothing, both = (planned_bytes(SMALL, "float32", REMAT[label]) for label in ("nothing", "both"))
    assert both["arguments"] == nothing["arguments"] > 4 * 50_000
    assert both["intermediate"] < 0.7 * nothing["intermediate"]
    assert nothing["total"] > nothing["arguments"] + nothing["intermediate"]


@pytest.mark.slow
def test_the_published_sizes_fit_what_is_promised():
    """PSLD on LDM-FFHQ in 12 GB, ten samples of DAPS on ADM-FFHQ in 8 GB."""
    assert planned_bytes(MODELS["ldm-ffhq"], "float32", REMAT["nothing"])["total"] < 12e9
    ten = planned_daps_bytes("float32", 10)
    assert ten["arguments"] > 4 * 93e6 and ten["total"] < 8e9

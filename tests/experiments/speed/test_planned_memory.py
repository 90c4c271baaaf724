"""The memory report: what is planned, without weights, and that recomputation lowers it."""

import jax
import pytest

from dsg_jax.networks.autoencoder import VQ_F4
from dsg_jax.networks.ldm import LDMConfig
from dsg_jax.solvers import SOLVERS
from experiments.speed import memory
from experiments.speed.memory import REMAT, cases, recomputing, step_memory
from experiments.speed.published import MODELS, Model, prior_forms
from experiments.speed.settings import MemorySettings
from support.gaussian_prior import gaussian_prior

SMALL = Model(
    "ldm",
    {
        "unet": LDMConfig(16, (1,), 1, (), num_head_channels=16, norm_groups=8),
        "first_stage": VQ_F4._replace(
            channels=16, channel_mult=(1, 1), num_res_blocks=1, codes=64, norm_groups=8
        ),
    },
    MODELS["ldm-ffhq"].card | {"size": 64},
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters"), [("ldm-ffhq", 329_378_945), ("sd-1.5", 943_174_827)]
)
def test_the_published_models_are_planned(name, parameters):
    prior = prior_forms(MODELS[name])
    parts = (prior.network.params, *(f.args[1] for f in prior.first_stage[:2]))
    assert sum(leaf.size for leaf in jax.tree.leaves(parts)) == parameters


def test_models_are_restored_with_by_solvers_of_their_kind(monkeypatch):
    monkeypatch.setattr(memory, "MODELS", {"small": SMALL})
    monkeypatch.setattr(memory, "prior_forms", lambda *_: gaussian_prior())
    named = lambda *solver: [
        tuple(title.values())[1:] for title, *_ in cases(MemorySettings(solver=solver))
    ]
    assert named() == [("dps", "1 at once"), ("dps", "10 at once")]
    assert named(*SOLVERS)[::2] == [
        (name, "1 at once") for name, entry in SOLVERS.items() if entry.prior == "pixel"
    ]
    assert named("psld") == []
    monkeypatch.setattr(memory, "prior_forms", prior_forms)
    assert named() == [("psld", words) for words in REMAT]


@pytest.mark.slow
def test_recomputation_lowers_the_plan():
    nothing, both = (
        step_memory("psld", recomputing(prior_forms(SMALL), parts), 64)
        for parts in ((), ("network", "first_stage"))
    )
    assert both["arguments"] == nothing["arguments"] > 4 * 50_000
    assert both["intermediate"] < 0.7 * nothing["intermediate"]
    assert nothing["total"] > nothing["arguments"] + nothing["intermediate"]


@pytest.mark.slow
def test_the_published_sizes_fit_what_is_promised():
    """PSLD on LDM-FFHQ in 12 GB, ten samples of DAPS on ADM-FFHQ in 8 GB."""
    assert step_memory("psld", prior_forms(MODELS["ldm-ffhq"]), 256)["total"] < 12e9
    ten = step_memory("daps", prior_forms(MODELS["adm-ffhq"]), 256, 10)
    assert ten["arguments"] > 4 * 93e6 and ten["total"] < 8e9

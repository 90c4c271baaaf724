"""`restore` with a class-conditional prior: one class for all images, one for each, or a file."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import pytest

from dsg_jax.clock import adm_clock
from dsg_jax.types import Prior
from experiments import export as export_module
from experiments.decode import read_image
from experiments.export import chosen_program
from experiments.papers.choice import chosen_experiments
from experiments.papers.plan import plan_experiment, works_of
from experiments.papers.priors import ChosenPrior
from experiments.papers.probe import network_seconds
from experiments.restore.command import restore
from experiments.restore.plan import plan, prior_identity
from support.gaussian_prior import exact_eps
from support.reproduce_cases import reproduce_settings, tiny_priors
from support.words import settings_of

CARD = {"name": "tiny", "samples": "emoji", "size": 16, "size_multiple": 4, "channels": 3}
CARD |= {"classes": 3}
MEANS = {0: -0.5, 1: 0.0, 2: 0.5}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Classed:
    """Images of class k are N((k - 1) / 2, 0.01^2)."""

    label: Any = None

    def __call__(self, x, t):
        return exact_eps((self.label - 1) / 2, 0.01, x, t)

    def of_class(self, label):
        return replace(self, label=label)


PRIOR = Prior(Classed(), adm_clock()), CARD


def arguments(out, *more):
    """Unguided: the images are those of the prior."""
    task = "--task", "hdr", "--solver", "dps", "--steps", 20, "--scale", 1e-9, "--count", 3
    return settings_of("restore", *task, "--projection", "none", "--out", out, *more)


def test_every_image_has_its_class_in_one_batch(tmp_path):
    records = restore(arguments(tmp_path / "out", "--class-label", 2, 0, 1), PRIOR)
    assert [record["inputs"]["class"] for record in records] == [2, 0, 1]
    for record in records:
        pixels = read_image(tmp_path / "out" / record["png"])
        assert abs(pixels.mean() - MEANS[record["inputs"]["class"]]) < 0.05


def test_a_file_and_one_class_for_all_are_the_same_runs(tmp_path):
    def hashes(*more):
        (job,) = plan(arguments(tmp_path / "out", *more), PRIOR).jobs
        return [item.identity for item in job.items]

    (job,) = plan(arguments(tmp_path / "out", "--class-label", 1), PRIOR).jobs
    names = [item.picture.name for item in job.items]
    lines = "".join(f"{name}.png {k}\n" for k, name in enumerate(names))
    (tmp_path / "classes.txt").write_text(f"another one,7\n\n{lines}")
    assert hashes("--class-label", tmp_path / "classes.txt") == hashes("--class-label", 0, 1, 2)
    assert hashes("--class-label", 1) == hashes("--class-label", 1, 1, 1)
    assert not set(hashes("--class-label", 1)) & set(hashes("--class-label", 0, 2, 0))


def test_reproduce_gives_classes_to_those_priors_that_take_them(tmp_path):
    pixel = ChosenPrior(PRIOR[0], CARD | {"size": 32}, prior_identity(*PRIOR))
    priors = tiny_priors() | {"daps": pixel}
    text = "table2 --task box_inpainting --solver daps resample --class-label 2"
    settings = reproduce_settings(tmp_path, text)
    (experiment,) = chosen_experiments(settings)
    whole = plan_experiment(experiment, settings, priors, {})
    classes = {
        (p.row.solver, item.inputs.get("class"))
        for p in whole.points for planned in p.plans for job in planned.jobs for item in job.items
    }  # fmt: skip
    assert classes == {("daps", 2), ("resample", None)}
    works = [work for place in works_of([whole]).values() for work in place]
    asked = next(work for work in works if work.job.solver == "daps")
    assert network_seconds(asked.program, asked.job.items[0].problem) > 0  # as a dry run asks it


def test_an_exported_class_is_an_array_of_the_file(monkeypatch):
    monkeypatch.setattr(export_module, "load_prior", lambda name, **_: PRIOR)
    words = "--task", "hdr", "--solver", "dps", "--steps", 3
    program, problem = chosen_program(settings_of("export", *words, "--class-label", 2))
    assert np.asarray(problem.label) == 2 and program.prior.network.label is None
    with pytest.raises(ValueError, match="--class-label is missing"):
        chosen_program(settings_of("export", *words))

"""What is chosen of the papers' experiments: priors, tasks, rows, images and operators."""

import jax
import pytest
from PIL import Image

from dsg_jax.operators.tasks import TASKS
from experiments.papers.choice import EXPERIMENTS, chosen_experiments
from experiments.papers.plan import about_priors, plan_experiment
from experiments.papers.priors import about_prior, chosen_priors
from experiments.settings import Images
from support.golden_models import golden_folder, lightning_folder
from support.reproduce_cases import reproduce_settings, tiny_priors
from support.words import settings_of


def planned_of(name, out, text="--count 1"):
    return plan_experiment(EXPERIMENTS[name], reproduce_settings(out, text), tiny_priors(), {})


def test_one_operator_for_all_images():
    """Where one is drawn; the other tasks' runs keep their folders."""
    words = "--count 2 --task motion_deblur super_resolution --solver daps"
    (part,) = chosen_experiments(settings_of("reproduce", "table3", *words.split()))
    per_image, for_all = (
        plan_experiment(part, reproduce_settings("out", words + option), tiny_priors(), {}).plans
        for option in ("", " --operator-seed 3")
    )
    folders = {task: set() for task in part.tasks}
    for plans in (per_image, for_all):
        for (task, _), planned in plans.items():
            folders[task].add(planned.out)
            first, second = (item.problem.operator for item in planned.jobs[0].items)
            same = [(a == b).all() for a, b in zip(*map(jax.tree.leaves, (first, second)))]
            assert all(same) == (plans is for_all or not TASKS[task].random)
    assert len(folders["motion_deblur"]) == 2 * len(folders["super_resolution"])


def test_runs_are_named_by_their_arithmetic():
    words = ("", " --dtype bfloat16", " --dtype float32 --matmul-precision default")
    outs = [planned_of("table4", "out", f"--count 1{one}").plans.keys() for one in words]
    assert outs[0] == outs[2] and not outs[0] & outs[1]


def test_every_solver_has_the_weights_of_its_reference(tmp_path):
    """Of one folder with all priors; their runs go to folders of their own."""
    (tmp_path / "latent").symlink_to(lightning_folder())
    (tmp_path / "pixel").symlink_to(golden_folder("adm-ffhq"))
    (tmp_path / "other").symlink_to(golden_folder("vq-f4"))  # a first stage alone is no prior
    priors = chosen_priors([tmp_path], ["daps", "psld", "resample", "latent-daps"])
    weights = [one.card["weights"] for one in priors.values()]
    assert weights == ["the file's only set", "ema", "raw", "raw"]
    assert priors["resample"] is priors["latent-daps"]
    raw = chosen_priors([lightning_folder() / "raw"], ["psld"], "bfloat16")["psld"]
    assert raw.prior.network.dtype == "bfloat16"
    assert raw.identity == priors["resample"].identity
    words = "weights being trained (raw), where its reference has the averaged weights (EMA)"
    assert words in about_prior("psld", raw.card, Images())
    settings = reproduce_settings(tmp_path, "--count 1 --size 32")
    planned = plan_experiment(EXPERIMENTS["table2"], settings, priors, {})
    names = {plan.out.parent.name for plan in planned.plans.values()}
    assert len(names) == 3 and all(name[:9] in ("ldm-ffhq-", "adm-ffhq-") for name in names)
    assert "PSLD: ldm-ffhq-" in about_priors([planned])


@pytest.mark.parametrize(
    ("words", "names", "tasks", "rows", "left_out"),
    [
        ("table2 --task box_inpainting --solver daps", ["table2"], 1, 2, 1 + 6),
        ("table1 --row DiffStateGrad,~default~step", ["table1"], 1, 1, 7),
        ("all --task hdr --solver resample", ["table4", "table9"], 1, 2, 2 + 2),
    ],
)
def test_parts_of_tables(words, names, tasks, rows, left_out, tmp_path):
    words = [word.replace("~", " ") for word in words.split()]
    parts = chosen_experiments(settings_of("reproduce", *words, "--out", tmp_path))
    assert [part.name for part in parts] == names
    counts = {(len(part.tasks), len(part.rows), len(part.left_out)) for part in parts}
    assert counts == {(tasks, rows, left_out)}


def test_runs_are_known_wherever_the_images_lie(tmp_path):
    """On the machines of two shards, say; other images have other folders."""
    plans = []
    for place, shade in (("a", 0), ("b", 0), ("c", 9)):
        (tmp_path / place).mkdir()
        Image.new("RGB", (32, 32), (shade, 40, 80)).save(tmp_path / place / "face.png")
        planned = planned_of("table1", "out", f"--count 1 --images {tmp_path / place}")
        plans.append(
            [(plan.out, plan.jobs[0].items[0].identity) for plan in planned.plans.values()]
        )
    assert plans[0] == plans[1] and not set(plans[0]) & set(plans[2])

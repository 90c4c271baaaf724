"""`restore` end to end with a Gaussian prior on 16-pixel images."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from dsg_jax.operators.tasks import TASKS
from dsg_jax.types import Info
from experiments import progress
from experiments.decode import read_image
from experiments.restore import batch, compute
from experiments.restore.command import restore
from experiments.restore.metrics import record_of
from experiments.restore.plan import plan
from support.gaussian_prior import gaussian_prior
from support.words import settings_of

TASK = ("--task", "box_inpainting", "--solver", "dps", "--steps", "5", "--size", "16")
IMAGES, SAMPLES = 3, 2
PRIOR = gaussian_prior(), {"name": "emoji", "size": 16, "size_multiple": 4, "channels": 3}
PROJECTION_ONLY = ("--tau", "--rank-rule", "--sides", "--period")


def arguments(out, *more, task=TASK):
    return settings_of("restore", *task, "--out", out, *more)


def run(out, *more, task=TASK):
    return restore(arguments(out, *more, task=task), PRIOR)


def timeless(records):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def log_lines(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name in ("b.png", "a.jpg", "c.webp"):
        pixels = rng.integers(0, 256, (20, 28, 3), np.uint8)
        Image.fromarray(pixels).resize((56, 40)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


class Bar:
    """Stands in for tqdm and counts."""

    shown = []

    def __init__(self, total, **_):
        self.total, self.steps = total, 0
        Bar.shown.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def update(self, steps):
        self.steps += steps

    def set_description(self, _):
        return None


@pytest.fixture
def traces(monkeypatch):
    """One entry per trace of the compiled function."""
    counted = []
    advance = batch.advance
    monkeypatch.setattr(batch, "advance", lambda *a, **k: counted.append(1) or advance(*a, **k))
    return counted


@pytest.fixture(scope="module")
def first(images, tmp_path_factory):
    """A complete run with both methods: (folder, its records)."""
    out = tmp_path_factory.mktemp("first") / "out"
    return out, run(out, "--images", images, "--samples", SAMPLES, "--batch-size", 4)


def test_outputs(first):
    out, records = first
    assert log_lines(out) == records
    assert len(records) == 2 * IMAGES * SAMPLES
    methods = [(r["method"], r["image"], r["sample"]) for r in records]
    assert methods == [(m, i, s) for m in ("dps", "dps-dsg") for i in "abc" for s in (0, 1)]
    for r in records:
        assert r["finite"] and 0 < r["psnr"] < 60 and -1 <= r["ssim"] <= 1 and r["misfit"] > 0
        assert (r["rank_mean"] == 16) == (r["method"] == "dps") == (r["kept_mean"] == 1)
        assert read_image(out / r["png"]).shape == (16, 16, 3)
    for name in ("truth/a", "measurement/b", "mask/a", "dps/c_mean", "dps-dsg/a_std", "grid"):
        Image.open(out / "box_inpainting" / f"{name}.png").verify()
    table = (out / "summary.md").read_text()
    assert table.count("| dps") == 6 and "best of 2 by misfit" in table and "assumption" in table
    facts = json.loads((out / "run.json").read_text())
    assert facts["versions"]["jax"] and facts["hardware"]["devices"]
    assert len(facts["compile_seconds"]) == 2 and facts["settings"]["method"]["tau"] == [0.99]
    assert not [path for path in out.rglob("*") if path.name.endswith(".partial")]


def test_mean_and_truth_are_those_of_the_images(first, images):
    out, records = first
    pair = [read_image(out / r["png"]) for r in records[:SAMPLES]]
    mean = read_image(out / "box_inpainting" / "dps" / "a_mean.png")
    np.testing.assert_allclose(mean, np.mean(pair, axis=0), atol=1.01 / 255)
    assert not np.allclose(*pair, atol=0.1)
    y = np.load(out / "box_inpainting" / "measurement" / "a.npy")
    truth = read_image(out / "box_inpainting" / "truth" / "a.png")
    seen = np.abs(y - truth)[np.abs(y) > 0.3]
    assert y.shape == truth.shape and np.median(seen) < 0.1


def test_resumed_run_computes_only_what_is_missing(first, images, tmp_path, traces, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(first[0], out)
    pngs = [out / record["png"] for record in first[1]]
    for i in (3, 4, 5):  # never written, or without the file that describes it
        pngs[i].with_suffix(".json").unlink()
    pngs[8].with_suffix(".json").write_bytes(pngs[8].with_suffix(".json").read_bytes()[:40])
    pngs[1].write_bytes(b"not the image of its record")
    before = {path: path.stat().st_mtime_ns for path in pngs}
    monkeypatch.setattr(progress, "Lines", Bar)
    records = run(out, "--images", images, "--samples", SAMPLES, "--batch-size", 4)
    assert timeless(records) == timeless(first[1]) and log_lines(out) == records
    written = {i for i, path in enumerate(pngs) if path.stat().st_mtime_ns != before[path]}
    assert written == {1, 3, 4, 5, 8}
    assert Bar.shown[-1].steps == Bar.shown[-1].total == 5 * 3

    assert timeless(run(out, "--images", images, "--samples", SAMPLES)) == timeless(records)
    assert not traces


def test_batch_size_and_company_do_not_matter(first, images, tmp_path, traces):
    state = ("--projection", "state", "--samples", SAMPLES, "--batch-size", 1)
    alone = run(tmp_path / "out", "--images", images / "b.png", *state)
    assert len(traces) == 1
    together = [r for r in first[1] if r["image"] == "b" and r["method"] == "dps-dsg"]
    for a, b in zip(alone, together, strict=True):
        assert a["hash"] == b["hash"]
        np.testing.assert_allclose(a["misfit"], b["misfit"], rtol=1e-4)
        np.testing.assert_allclose(a["psnr"], b["psnr"], atol=1e-3)
        x, y = read_image(tmp_path / "out" / a["png"]), read_image(first[0] / b["png"])
        np.testing.assert_allclose(x, y, atol=1.01 * 2 / 255)


@pytest.mark.parametrize(
    "changed",
    ["--tau 0.9", "--rank-rule mean", "--sides left", "--period 2", "--sigma 0.1", "--seed 1"]
    + ["--steps 6", "--scale 1.0", "--box 4", "--size 20"],
)
def test_a_changed_setting_is_another_result(images, tmp_path, changed):
    base, other = (
        plan(arguments(tmp_path, "--images", images, *more), PRIOR)
        for more in ((), changed.split())
    )
    assert hashes(base, "dps-dsg").isdisjoint(hashes(other, "dps-dsg"))
    assert (hashes(base, "dps") == hashes(other, "dps")) == (changed.split()[0] in PROJECTION_ONLY)


def hashes(planned, label):
    return {item.identity for job in planned.jobs if job.label == label for item in job.items}


def test_more_images_and_samples_leave_the_others_alone(images, tmp_path):
    few = plan(arguments(tmp_path, "--images", images, "--count", 2), PRIOR)
    more = ("--images", images, "--samples", 3, "--batch-size", 5, "--failure-psnr", 9)
    many = plan(arguments(tmp_path, *more), PRIOR)
    assert hashes(few, "dps") < hashes(many, "dps")


def test_daps_on_the_bundled_samples(tmp_path):
    task = ("--task", "hdr", "--levels", "3", "--inner-steps", "2", "--projection", "state")
    records = run(tmp_path / "out", "--count", 2, task=task)
    assert [r["image"] for r in records] == ["airplane", "balloon"]
    assert all(r["finite"] and r["settings"]["steps"][0] == [3, 5] for r in records)


def test_all_tasks_are_planned(tmp_path):
    settings = arguments(tmp_path, "--count", 2, "--factor", 2, task=("--task", "all"))
    planned = plan(settings, PRIOR)
    tasks = [job.task for job in planned.jobs]
    assert tasks == [t for t in TASKS for _ in "ab" if t != "nonlinear_deblur"]
    shapes = {job.task: job.items[0].problem.y.shape for job in planned.jobs}
    assert shapes["super_resolution"] == (8, 8, 3) and shapes["phase_retrieval"] == (24, 24, 3)
    first, second = (item.problem for item in planned.jobs[tasks.index("motion_deblur")].items)
    kernels = [problem.operator.forward.args[0] for problem in (first, second)]
    assert not np.allclose(*kernels)


def test_measured_image(tmp_path, images):
    rng = np.random.default_rng(1)
    mask = np.uint8(255) * (rng.random((16, 20)) < 0.7)
    pixels = rng.integers(0, 256, (16, 20, 3), np.uint8)
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.fromarray(pixels).save(tmp_path / "y.png")
    more = ("--measured", tmp_path / "y.png", "--mask", tmp_path / "mask.png")
    records = run(tmp_path / "out", *more, "--projection", "none")
    assert [r["psnr"] for r in records] == [None] and records[0]["settings"]["shape"] == [16, 20, 3]
    y = np.load(tmp_path / "out" / "box_inpainting" / "measurement" / "y.npy")
    expected = np.where(mask[..., None] > 0, pixels / 127.5 - 1, 0)
    np.testing.assert_allclose(y, expected, atol=1e-6)
    assert not (tmp_path / "out" / "box_inpainting" / "truth").exists()
    assert "| 0/1 (0 %) |" in (tmp_path / "out" / "summary.md").read_text()


def test_a_sample_that_diverged_is_recorded_and_not_measured(images, tmp_path):
    planned = plan(arguments(tmp_path, "--images", images), PRIOR)
    work = compute.outstanding([planned])[0]
    job = work.job
    steps = np.array([1.0, np.nan])
    info = Info(steps, np.full((2, 3), 16), np.ones(2), np.array([True, False]))
    x = np.full(job.shape, np.nan, np.float32)
    record, files = record_of(job, job.items[0], x, info, 1.0, [])
    assert (record["finite"], record["psnr"], record["misfit"]) == (False, None, None)
    json.dumps(record, allow_nan=False)
    (tmp_path / "x.png").write_bytes(files[".png"])
    assert read_image(tmp_path / "x.png").max() == -1


def test_lists_are_run_in_one_go_by_one_program(images, tmp_path, traces):
    """Every value has its own folder, row and column, and the numbers of a run of its own."""
    few = ("--images", images / "a.jpg", "--projection", "state")
    task = (*TASK[:-1], "24")  # a size of which no program is there
    swept = run(tmp_path / "all", *few, "--tau", 0.5, 0.99, "--seed", 0, 1, task=task)
    labels = [f"dps-dsg-tau{tau}-seed{seed}" for seed in (0, 1) for tau in (0.5, 0.99)]
    assert [record["method"] for record in swept] == labels and len(traces) == 1
    alone = run(tmp_path / "one", *few, "--tau", 0.5, "--seed", 1, task=task)
    assert alone[0]["hash"] == swept[2]["hash"] and alone[0]["method"] == "dps-dsg"
    assert alone[0]["png_sha256"] == swept[2]["png_sha256"]
    table = (tmp_path / "all" / "summary.md").read_text()
    assert all(f"| {label} " in table for label in labels)
    for name in ("grid-seed1.png", "measurement-seed0/a.npy", f"{labels[0]}/a_0.png"):
        assert (tmp_path / "all" / "box_inpainting" / name).is_file()

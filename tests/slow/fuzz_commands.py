"""Damage masks, kernels, measured images, records, logs and arguments; count what comes of them.

    python tests/slow/fuzz_commands.py [--count 1000] [--seed 0] [--only camera records ...]

What must come of them: `support.fuzzing`. Priors are small stand-ins. Arguments are planned only.
"""

import io
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import cache, partial
from pathlib import Path

import numpy as np
from PIL import Image

for place in Path(__file__).parents[1:3]:
    sys.path.insert(0, str(place))

from checkpoints_convert.__main__ import parsed  # noqa: E402
from dsg_jax.operators.tasks import TASKS  # noqa: E402
from dsg_jax.priors import load_prior  # noqa: E402
from dsg_jax.solvers import SOLVERS  # noqa: E402
from experiments import figures  # noqa: E402
from experiments.__main__ import COMMANDS, located, main  # noqa: E402
from experiments.boundary import INPUT_ERRORS  # noqa: E402
from experiments.papers import command as papers  # noqa: E402
from experiments.papers import priors  # noqa: E402
from experiments.restore import plan  # noqa: E402
from experiments.train.loop import training_facts  # noqa: E402
from support.fuzzing import Case, edited_text, run  # noqa: E402
from support.gaussian_prior import gaussian_prior  # noqa: E402
from support.golden_case import GOLDEN  # noqa: E402
from support.mutation import damage  # noqa: E402
from support.reproduce_cases import chosen  # noqa: E402
from support.strange import (  # noqa: E402
    NUMBERS,
    WORDS,
    damage_file,
    put,
    strange_array,
    strange_image,
    unusual_place,
)
from support.tiny_command import RUN, stand_in, tiny_prior  # noqa: E402
from support.words import settings_of  # noqa: E402

MEASURED = "--solver dps --steps 5 --projection none --measured"
# Command -> words with which it is planned.
BASES = {
    "restore": "--task {task} --solver {solver} --count 1",
    "demo": "--count 1",
    "quality": "",
    "reproduce": "fig4 --count 1 --prior emoji",
    "calibrate": "--setting spots:box_inpainting --solver dps --rules none --truths 5 --samples 19",
    "speed": "",
    "memory": "",
    "export": "--task box_inpainting --solver dps --projection none --out x.npz",
    "train-prior": "emoji --source folder --out out",
    "train-first-stage": "emoji --source folder --out out --lpips-weight 0",
    "train-latent-prior": "emoji --source folder --out out --first-stage folder",
    "export-prior": "emoji --run folder --source folder --out out",
    "export-latent-prior": "emoji --run folder --source folder --out out --first-stage folder",
    "convert": "tiny.ckpt --out out",
}
TOML = """[images]\ncount = 1\nsize = 20\n[measurement]\ntask = ["box_inpainting"]\nsigma = 0.05
[method]\nsolver = ["dps"]\nprojection = "state"\ntau = [0.99]\nperiod = [1]\n[run]\nseed = [0, 1]
samples = 1\nfailure_psnr = 20.0\nshard = "1/2"\n[solver_options]\nsteps = 5
"""


def planned(command: str, *words: object) -> object:
    """As the command does it, without the work."""
    return located(COMMANDS[command].plan)(settings_of(command, *words))


def plan_of(words: list[str]) -> None:
    """The same of any command, `convert` too."""
    name, *rest = words
    if name != "convert":
        planned(name, *rest)
        return
    try:
        values = vars(parsed(rest))
    except SystemExit as stopped:  # of argparse, which has said why
        raise ValueError("refused") from stopped
    values.pop("plan")(**values)


def carried_out(words: list[str]) -> None:
    """A whole command; ValueError where it is refused, which an error of its work is not."""
    try:
        code = main(words)
    except INPUT_ERRORS as error:
        raise RuntimeError(f"after the plan: {error!r}") from error
    if code not in (0, 1):
        raise ValueError("refused")


def good_camera(folder: Path) -> dict[str, str]:
    """Measured images with what describes the camera; name -> the words of a command."""
    rng = np.random.default_rng(0)
    colours, box, spot = rng.integers(0, 256, (16, 16, 3), np.uint8), np.eye(16), np.eye(5)
    for name in ("ys", "masks", "kernels"):
        (folder / name).mkdir()
    for name in ("y", "ys/a", "ys/b"):
        Image.fromarray(colours).save(folder / f"{name}.png")
    for name, array in (("mask", box), ("kernel", spot)):
        for stem in (name, f"{name}s/a"):
            Image.fromarray((255 * array).astype(np.uint8)).save(folder / f"{stem}.png")
        Image.fromarray((255 * array).astype(np.uint8)).save(folder / f"{name}.tif")
        np.save(folder / f"{name}s/b.npy", array)
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "y.npy", colours / 127.5 - 1)
    np.save(folder / "magnitudes.npy", np.abs(rng.standard_normal((24, 24, 3))))
    mask, kernel = "--task box_inpainting --mask", "--task motion_deblur --kernel"
    forms = (".png", ".tif", ".npy")
    return {
        **{f"mask{end}": f"{mask} mask{end} {MEASURED} y.png" for end in forms},
        **{f"kernel{end}": f"{kernel} kernel{end} {MEASURED} y.png" for end in forms},
        **{f"masks/{name}": f"{mask} masks {MEASURED} ys" for name in ("a.png", "b.npy")},
        **{f"kernels/{name}": f"{kernel} kernels {MEASURED} ys" for name in ("a.png", "b.npy")},
        **{f"y{end}": f"{mask} mask.png {MEASURED} y{end}" for end in (".png", ".npy")},
        "ys/a.png": f"--task super_resolution --factor 2 {MEASURED} ys",
        "magnitudes.npy": f"--task phase_retrieval {MEASURED} magnitudes.npy",
    }


def camera(folder: Path, rng: np.random.Generator, count: int) -> Iterator[Case]:
    os.chdir(folder)
    for name, words in good_camera(folder).items():
        path = folder / name
        good = path.read_bytes()
        for trial in range(count // 4):
            strange = strange_array if path.suffix == ".npy" else strange_image
            path.write_bytes(strange(rng) if trial % 2 else damage(good, rng, reach=200))
            if trial % 20 == 4:
                unusual_place(path, rng)
            more = f" --range {NUMBERS[rng.integers(14)]} 1" if trial % 8 == 3 else ""
            read = partial(planned, "restore", *f"{words}{more} --out out".split())
            yield f"camera: {name}", read, True
            put(folder, {name: good})


# Name -> a command that is carried out on a folder of which one file is damaged.
RUNS = {
    "restore": f"{RUN} --count 2",
    "reproduce": "reproduce fig4 --count 1 --levels 2",
    "calibrate": "calibrate --setting spots:box_inpainting --solver dps --rules none --steps 3"
    " --truths 5 --samples 19",
}


def records(folder: Path, rng: np.random.Generator, count: int) -> Iterator[Case]:
    """The command once, then again and again, each time with another file of its damaged."""
    os.chdir(folder)
    figures.find_spec = lambda name: None  # no plots: they read nothing and take long
    papers.chosen_priors = lambda *_: {"daps": chosen(gaussian_prior(), size=16)}
    for kind, words in RUNS.items():
        out = folder / kind
        argv = [*words.split(), "--out", str(out)]
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            carried_out(argv)
        files = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
        for _ in range(count // 2):
            name = sorted(files)[rng.integers(len(files))]
            damage_file(out / name, rng)
            yield f"records: {kind}, {Path(name).suffix}", partial(carried_out, argv), True
            shutil.rmtree(out)
            put(out, files)
    log = b'{"step": 5, "seconds": 1.5, "loss": 0.5, "images_per_second": 9.0}\n' * 3
    for _ in range(count // 2):
        whole = edited_text(json.loads(log.splitlines()[0]), rng) + b"\n"
        put(folder, {"log.jsonl": damage(log, rng) if rng.integers(2) else log + whole})
        yield "records: training log", partial(training_facts, folder, 5), True


def options_of(command: str) -> list[str]:
    """The options that the help of a command names."""
    said = io.StringIO()
    with redirect_stdout(said), suppress(SystemExit):
        parsed(["--help"]) if command == "convert" else settings_of(command, "--help")
    return sorted(set(re.findall(r"--[a-z][\w.-]+", said.getvalue())) - {"--help"})


def arguments(folder: Path, rng: np.random.Generator, count: int) -> Iterator[Case]:
    os.chdir(folder)
    (folder / "text").write_text("no more than this")
    os.mkfifo("pipe")
    os.symlink("loop", "loop")
    Image.new("RGB", (16, 16), "red").save("image.png")
    np.save("array.npy", np.eye(5))
    (folder / "broken.npy").write_bytes(Path("array.npy").read_bytes()[:100])
    shutil.copy(GOLDEN / "checkpoints" / "tiny_ldm.ckpt", "tiny.ckpt")
    (folder / "folder" / "assets").mkdir(parents=True)
    for number in range(9):
        Image.new("RGB", (64, 64)).save(f"folder/assets/{number}.webp")
    put(folder, {"card/card.json": b"{}", "settings.toml": TOML.encode()})
    for command, base in BASES.items():
        options = options_of(command)
        for _ in range(count):
            method = {"task": rng.choice([*TASKS]), "solver": rng.choice([*SOLVERS])}
            words = [command, *base.format(**method).split()]
            for _ in range(rng.choice((1, 1, 2))):
                known = NUMBERS if rng.integers(2) else WORDS
                values = rng.choice(np.array(known, object), rng.choice((0, 1, 1, 1, 1, 2)))
                words += [options[rng.integers(len(options))], *values]
            if rng.random() < 0.05:
                words[rng.integers(1, len(words))] = str(rng.choice(np.array(WORDS, object)))
            yield f"arguments: {command}", partial(plan_of, words), True


def settings_files(folder: Path, rng: np.random.Generator, count: int) -> Iterator[Case]:
    os.chdir(folder)
    for _ in range(count):
        lines = TOML.splitlines()
        at = rng.integers(len(lines))
        name, _, value = lines[at].partition(" = ")
        word = WORDS[rng.integers(len(WORDS))].replace("\udcff", "")
        changed = (word, f"[{word}]", json.dumps(word), f"[{value}]", "[" * 100_000, "{ a = 1 }")
        lines[at] = f"{name} = {changed[rng.integers(len(changed))]}"
        text = "\n".join(lines).encode() if rng.integers(3) else damage(TOML.encode(), rng)
        put(folder, {"settings.toml": text})
        yield "settings files", partial(planned, "restore", "--settings", "settings.toml"), True


def prior_or_tiny(name: str, **options: object) -> object:
    """The small stand-in for the default, else what is named."""
    return tiny_prior(name) if name == plan.DEFAULT_PRIORS["pixel"] else bundled(name, **options)


# Loads every folder once; errors are not remembered.
bundled = cache(load_prior)


if __name__ == "__main__":
    stand_in(setattr)
    plan.load_prior, priors.load_prior = prior_or_tiny, bundled
    makers = (camera, records, arguments, settings_files)
    groups = ("camera", "records", "arguments", "settings files")
    sys.exit(run(makers, __doc__.split("\n")[0], groups, writing=("records",)))

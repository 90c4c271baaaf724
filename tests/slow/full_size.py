"""Convert files of random numbers at the published sizes; measure seconds, memory and parity.

    .venv/bin/python tests/slow/full_size.py adm-ffhq kernel-wizard --scratch FOLDER --out FILE

A file with the published names, shapes and types is written for each kind, converted by the command
in a process of its own and verified in another. Where the golden numbers include the full network,
the file holds their weights, by the recipe in their manifests, and `verify` compares. With
``--restore`` the converted folder then restores an image by `RESTORES`, in a process of its own.
Needs about three times the file's size on disk. Each kind's files are removed before the next one's
are made.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from checkpoints_convert.kinds import KINDS  # noqa: E402
from dsg_jax.schedule import scaled_linear_betas  # noqa: E402
from support.convert_files import FILES, published_file  # noqa: E402
from support.golden_case import GOLDEN  # noqa: E402
from support.lpips_cases import torch_files  # noqa: E402
from support.state_files import Entry, entries, write_safe, write_state  # noqa: E402

# kind -> (start of the names, golden case); the recipe's tensors are numbered within these names
GOLDEN_PARTS = {
    "adm-ffhq": [("", "full_adm_ffhq")],
    "unet2d": [("", "full_ddpm_celebahq")],
    "ldm-ffhq": [("model_ema.", "full_ldm_ffhq_unet"), ("first_stage_model.", "full_vq_f4")],
    "vq-f4": [("", "full_vq_f4")],
    "edm": [("model.", "full_edm_inversebench_128")],
}

LPIPS_KINDS = ("lpips-vgg", "lpips-alex")
DAPS, PSLD = "--solver daps --levels", "--solver psld --steps"
RESTORES = {
    "adm-ffhq": [f"{DAPS} 3"],
    "adm-imagenet": [f"{DAPS} 2"],
    "unet2d": [f"{DAPS} 2"],
    "edm": [f"{DAPS} 3", "--solver dps --steps 10"],
    "ldm-ffhq": [
        f"{PSLD} 4",
        f"{PSLD} 4 --remat",
        "--solver resample --steps 20 --pixel-limit 5 --latent-limit 5",
    ],
    "ldm-imagenet": [f"{PSLD} 4"],
    "sd15": [f"{PSLD} 2 --group sd --remat"],
    "adm-imagenet64-cond": [f"{DAPS} 3 --class-label 207"],
    "adm-imagenet256-cond": [f"{DAPS} 2 --class-label 207"],
}
"""Kind -> short runs of super-resolution of one image with the projection."""


# What names and shapes do not say.
SAID = {"edm": ["--preconditioning", "edm"]}


def values(name: str, shape: tuple[int, ...], dtype: str, seed: int | None, gain: float):
    """Of a size that keeps signals alive; by the golden recipe where there is a seed."""
    if dtype != "float32":
        return np.arange(int(np.prod(shape)), dtype=dtype).reshape(shape)
    if seed is None:
        number = sum(map(ord, name))
        z = np.random.default_rng(number).standard_normal(shape, np.float32)
    else:
        z = np.random.RandomState(seed).standard_normal(shape)
    if name.endswith("quantize.embedding.weight"):
        return np.asarray(0.8 * z, np.float32)
    if name.endswith("resample_filter"):
        return np.full(shape, 0.25, np.float32)
    if len(shape) > 1:
        return np.asarray(gain / np.sqrt(np.prod(shape[1:])) * z, np.float32)
    return np.asarray(1 + 0.2 * z if name.endswith("weight") else 0.1 * z, np.float32)


def published_entries(kind: str) -> list[Entry]:
    """The kind's whole file, made tensor by tensor."""
    entries, counts = [], {}
    for name, tensor in published_file(FILES[kind][0]).items():
        seed, gain = None, 0.9
        for start, case in GOLDEN_PARTS.get(kind, []):
            buffer = name in ("model_ema.decay", "model_ema.num_updates")
            if name.startswith(start) and not buffer:
                manifest = json.loads((GOLDEN / "networks" / f"{case}.json").read_text())
                j = counts[start] = counts.get(start, -1) + 1
                seed, gain = manifest["seed"] + j, manifest["gain"]
        if name.split(".")[-1] == "betas":  # the converter compares it with the kind's
            table = np.float32(scaled_linear_betas(**KINDS[kind].card["betas"]))
            entries.append(Entry(name, tensor.shape, lambda table=table: table))
            continue
        draws = name, tensor.shape, str(tensor.dtype), seed, gain
        entries.append(Entry(name, tensor.shape, lambda draws=draws: values(*draws), draws[2]))
    return entries


# The kernel's own peak of this process; `getrusage` would count what its parent had when it forked.
COMMAND = """
import importlib, sys
import jax
jax.config.update("jax_platforms", "cpu")
code = importlib.import_module(sys.argv[1] + ".__main__").main(sys.argv[2:])
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
sys.exit(code)
"""


def measured(*arguments: str, package: str = "checkpoints_convert") -> tuple[float, int, str]:
    """Seconds, peak bytes and output of a package's command in a process of its own."""
    began = time.perf_counter()
    command = [sys.executable, "-c", COMMAND, package, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {(done.stdout + done.stderr)[-2000:]}")
    peak = re.search(r"VmHWM:\s+(\d+) kB", done.stdout)
    assert peak is not None
    return time.perf_counter() - began, int(peak[1]) * 1024, done.stdout


def written(kind: str, folder: Path) -> list[Path]:
    """The kind's files or its folder; LPIPS's trunk without the dense layers, most of its file."""
    if kind in LPIPS_KINDS:
        states = zip(("trunk", "heads"), torch_files(kind.removeprefix("lpips-")), strict=True)
        return [write_state(folder / f"{name}.pth", entries(state)) for name, state in states]
    if kind == "unet2d":
        manifest = json.loads((GOLDEN / "networks" / "full_ddpm_celebahq.json").read_text())
        network = {"_class_name": "UNet2DModel"} | manifest["config"]
        model = folder / "model"
        write_safe(model / "diffusion_pytorch_model.safetensors", published_entries(kind))
        (model / "config.json").write_text(json.dumps(network))
        (model / "scheduler_config.json").write_text(json.dumps(manifest["scheduler"]))
        return [model]
    inside = FILES[kind][1].removesuffix(".") or None
    return [write_state(folder / "model.ckpt", published_entries(kind), inside)]


def restored(prior: str, options: str, folder: Path) -> dict:
    """Seconds of an outer step (without compiling) and peak bytes of one short restoration."""
    words = f"restore --task super_resolution --projection state --count 1 --prior {prior}"
    shutil.rmtree(folder, ignore_errors=True)
    command = [*words.split(), *options.split(), "--out", str(folder)]
    seconds, peak, _ = measured(*command, package="experiments")
    line = json.loads((folder / "metrics.jsonl").read_text())
    steps = int(re.findall(r"--(?:steps|levels) (\d+)", options)[0])
    return {
        "options": options,
        "shape": line["settings"]["shape"],
        "seconds_per_step": round(line["seconds"] / steps, 2),
        "seconds_with_compiling": round(seconds, 1),
        "peak_bytes": peak,
        "finite": line["finite"],
        "rank_mean": line["rank_mean"],
    }


def measure(kind: str, scratch: Path, dtype: str, restore: bool) -> dict:
    """Write, convert and verify one kind; its line of the table."""
    folder = scratch / kind
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = written(kind, folder)
    options = ["--kind", kind, "--dtype", dtype, *SAID.get(kind, [])]
    if KINDS[kind].prompts:
        width = KINDS[kind].architecture["unet"].context_dim
        np.save(folder / "prompts.npy", np.random.default_rng(0).standard_normal((2, 77, width)))
        options += ["--context", str(folder / "prompts.npy")]
    sources = [one for path in files for one in (path, *path.rglob("*")) if one.is_file()]
    out = str(folder / "out")
    started, idle, _ = measured("list")
    seconds, peak, _ = measured(*map(str, files), "--out", out, *options)
    card = json.loads((folder / "out" / "card.json").read_text())
    stored = sum(f.stat().st_size for f in (folder / "out").rglob("*") if f.is_file())
    line = {
        "kind": kind,
        "dtype": dtype,
        "file_bytes": sum(path.stat().st_size for path in sources),
        "kept_bytes": stored,
        "tensors": card["tensors"],
        "parameters": card["parameters"],
        "dropped": sum(entry["tensors"] for entry in card["dropped"]),
        "convert_seconds": round(seconds, 1),
        "of_which_imports": round(started, 1),
        "convert_peak_bytes": peak,
        "of_which_imports_bytes": idle,
        "peak_over_kept": round(peak / stored, 2),
    }
    for path in sources:
        path.unlink()
    cases = [case for _, case in GOLDEN_PARTS.get(kind, [])]
    for case in cases or [None]:
        against = ["--against", str(GOLDEN / "networks" / f"{case}.npz")] if case else []
        seconds, peak, output = measured("verify", out, *against)
        errors = re.findall(r"(\S+): relative error (\S+),", output)
        line |= {"verify_seconds": round(seconds, 1), "verify_peak_bytes": peak}
        line.setdefault("errors", {}).update({f"{case}/{name}": float(e) for name, e in errors})
    if restore:
        runs = RESTORES.get(kind, [])
        line["restore"] = [restored(out, options, folder / "restored") for options in runs]
    shutil.rmtree(folder)
    return line


def main() -> None:
    """Print one JSON line a kind, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="+", choices=[*FILES, *LPIPS_KINDS])
    parser.add_argument("--scratch", type=Path, required=True, help="folder for the files")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--restore", action="store_true", help="then restore with what was made")
    parser.add_argument("--out", type=Path, help="JSON of all lines")
    arguments = parser.parse_args()
    lines = []
    for kind in arguments.kinds:
        lines.append(measure(kind, arguments.scratch, arguments.dtype, arguments.restore))
        print(json.dumps(lines[-1]), flush=True)
        if arguments.out:
            arguments.out.write_text(json.dumps(lines, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""JAX and PyTorch in turns, case by case: one table, printed as it goes, and one JSON.

    python -m experiments.speed.bench versus --torch-python PYTHON     published steps on a CPU
    python -m experiments.speed.bench accelerator                      `make bench-gpu`

Every kind of case has two processes of its own (`worker`): ours, and PyTorch's where an interpreter
has it. They are asked alternately, A B A B. A case that fails is a row that says so. Needs jax,
flax, optax, orbax and numpy, and so has a command line of its own, which wants no package either.
"""

import argparse
import importlib.util
import itertools
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.files import write_atomically
from experiments.speed.rows import COLUMNS, Case, cells, line
from experiments.speed.worker import Worker, processor_time, stolen

# What a case of PyTorch takes from the facts of ours.
SHARED = (
    *("architecture", "parts", "side", "state", "weights", "output"),
    *("ode_steps", "inner_steps"),
)


def case_of(what: str, model: str, batch: int = 1, **more: Any) -> Case:
    """One program of a model; solvers project unless ``projected`` is False."""
    return {"what": what, "model": model, "batch": batch, "projected": True} | more


def versus(chosen: argparse.Namespace, engines: list[str]) -> Iterator[Case]:
    """What is compared on a CPU: networks, steps of published size, a level of a small prior."""
    del engines
    for pixel in chosen.pixel:
        yield case_of("forward", pixel)
        yield case_of("daps step", pixel, projected=False)
        yield case_of("daps step", pixel)
    for latent in chosen.latent:
        yield from (case_of(what, latent) for what in ("gradient", "decoder gradient", "psld step"))
    for small in chosen.small:
        yield case_of("daps step", small, 4)


def accelerator(chosen: argparse.Namespace, engines: list[str]) -> Iterator[Case]:
    """Engines of the projection, then networks and steps for growing batches."""
    for side, engine, batch in itertools.product(chosen.sides, engines, chosen.states):
        yield {"what": "projection", "engine": engine, "side": side, "batch": batch}
    pixel = ("forward", "daps step", "dps step")
    latent = ("gradient", "decoder gradient", "psld step", "resample step", "latent-daps step")
    for models, programs in ((chosen.pixel, pixel), (chosen.latent, latent)):
        for model, what, batch in itertools.product(models, programs, chosen.batches):
            yield case_of(what, model, batch)


SUITES = {"versus": versus, "accelerator": accelerator}


def kind_of(case: Case) -> Case:
    """What cases have in common that differ in the batch."""
    return {name: value for name, value in case.items() if name != "batch"}


class Pair:
    """Our process and PyTorch's, if there is one; new ones for every kind of case.

    They are new after an error too: what ran out of memory has not given all of it back.
    """

    def __init__(self, chosen: argparse.Namespace, scratch: Path):
        self.chosen, self.scratch = chosen, scratch
        self.workers: dict[str, Worker] = {}
        self.kind: Case = {}
        self.shared: Case = {}

    def fresh(self, kind: Case) -> None:
        """Start both processes, unless they are those of this kind and in order."""
        if self.workers and kind == self.kind:
            return
        self.stop()
        if kind != self.kind:
            self.kind, self.shared = kind, {}
        cache = {"JAX_COMPILATION_CACHE_DIR": str(self.scratch / "xla")}
        cache |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        options = cache | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        patience = self.chosen.patience
        self.workers["jax"] = Worker(sys.executable, "jax_worker", patience, **options)
        if self.chosen.torch_python:
            self.workers["torch"] = Worker(self.chosen.torch_python, "torch_worker", patience)

    def stop(self) -> None:
        """End both."""
        for worker in self.workers.values():
            worker.stop()
        self.workers = {}

    def measure(self, case: Case) -> Case:
        """A row: the facts of both, and the seconds of their turns."""
        self.fresh(kind_of(case))
        files = {"weights": str(self.scratch / "w.npz"), "output": str(self.scratch / "jax.npy")}
        row: Case = {"case": case, "jax": self.workers["jax"].ask(build=case | files)}
        self.shared |= {name: row["jax"][name] for name in SHARED if name in row["jax"]}
        if "torch" in self.workers:
            row |= self._torch_facts(case, row["jax"])
        sides = {name: self.workers[name] for name in row if name in self.workers}
        for _ in range(self.chosen.turns):
            for name, worker in sides.items():
                if "error" not in row[name]:
                    answer = worker.ask(run=True)
                    row[name].setdefault("seconds", []).append(answer.pop("seconds", None))
                    row[name] |= answer
        if any("error" in row[name] for name in sides):
            self.stop()
        return row

    def _torch_facts(self, case: Case, ours: Case) -> Case:
        """What PyTorch's process says of its program; nothing where none is written."""
        worker, output = self.workers["torch"], self.scratch / "torch.npy"
        if "error" in worker.about:
            return {"torch": worker.about}
        parts = self.shared.get("architecture", {})  # none yet where ours failed at once
        is_known = parts or case["what"] == "projection"
        has_context = parts.get("unet", {}).get("context_dim")
        if case["what"] not in worker.about["programs"] or has_context or not is_known:
            return {}
        same = {"output": str(output)} if "output" in ours else {}
        facts = worker.ask(build=case | self.shared | same)
        if same and "error" not in facts:
            result, theirs = np.load(ours["output"]), np.load(output)
            facts["difference"] = float(np.abs(result - theirs).max() / np.abs(result).max())
        return {"torch": facts}


def bench(chosen: argparse.Namespace) -> None:
    """Measure case after case; both files are complete after each."""
    with tempfile.TemporaryDirectory() as scratch:
        pair = Pair(chosen, Path(scratch))
        pair.fresh({"what": "nothing"})
        report: Case = {"command": sys.argv[1:], "rows": []}
        report["about"] = {name: worker.about for name, worker in pair.workers.items()}
        head = [f"{name}: {json.dumps(about)}\n" for name, about in report["about"].items()]
        table = [*head, line(COLUMNS), line(("---",) * len(COLUMNS))]
        print("\n".join(table), flush=True)
        every = SUITES[chosen.suite](chosen, report["about"]["jax"].get("engines", []))
        cases = [case for case in every if not chosen.only or case["what"] in chosen.only]
        before = processor_time()
        for case in cases:
            report["rows"].append(pair.measure(case))
            table.append(line(cells(report["rows"][-1])))
            print(table[-1], flush=True)
            report["stolen"] = stolen(before, processor_time())
            write_atomically(chosen.out, (json.dumps(report, indent=1) + "\n").encode())
            write_atomically(chosen.out.with_suffix(".md"), "\n".join([*table, ""]).encode())
        pair.stop()
    print(f"stolen by the host: {report['stolen']}; all of it is in {chosen.out}")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("python -m experiments.speed.bench")
    here = sys.executable if importlib.util.find_spec("torch") else None
    counts = partial(parser.add_argument, nargs="+", type=int)
    names = partial(parser.add_argument, nargs="*")
    parser.add_argument("suite", choices=SUITES)
    names("--pixel", default=["adm-ffhq"], help="priors by name; toy-adm is a small one")
    names("--latent", default=["ldm-ffhq"], help="likewise: sd-1.5, toy-ldm")
    names("--small", default=["emoji"], help="versus: pixel priors of which four run at once")
    names("--only", default=[], help="these programs, as the first column has them: 'psld step'")
    counts("--batches", default=[1, 10, 32], help="accelerator: of networks and steps")
    counts("--states", default=[1, 16, 64], help="accelerator: projected at once")
    counts("--sides", default=[64, 256], help="accelerator: of what is projected")
    parser.add_argument("--turns", type=int, default=5, help="calls of each that are timed")
    parser.add_argument("--patience", type=float, default=600.0, help="seconds for an answer")
    parser.add_argument("--torch-python", default=here, help="an interpreter that has PyTorch")
    parser.add_argument("--out", type=Path, default=Path("results/bench.json"), help="and .md")
    chosen = parser.parse_args()
    if chosen.torch_python and not shutil.which(chosen.torch_python):
        parser.error(f"--torch-python {chosen.torch_python}: no such program")
    return chosen


if __name__ == "__main__":
    bench(arguments())

"""Damage cards, weights, checkpoints, JSON, images and arrays; count what comes of them.

    python tests/slow/fuzz_files.py [--count 1000] [--seed 0]

Every input is given to the function that a command gives it to, in this process. It must be read or
refused by one line (ValueError, OSError); nothing may be executed or written; no input may take
over 2 seconds of processor time or 300 MB, but for networks that are accepted and compiled. A line
of JSON tells the counts of each kind; the exit code is 1 if anything else happened. Damaged weights
must not load at all.
"""

import argparse
import copy
import io
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import numpy as np
from PIL import Image

for place in Path(__file__).parents[1:3]:
    sys.path.insert(0, str(place))

from checkpoints_convert.facts import FACTS, with_architecture  # noqa: E402
from checkpoints_convert.kinds import KINDS  # noqa: E402
from checkpoints_convert.prompts import prompt_embeddings  # noqa: E402
from checkpoints_convert.read import open_checkpoint  # noqa: E402
from checkpoints_convert.recorded import read_recorded  # noqa: E402
from checkpoints_convert.verify import plan_verify  # noqa: E402
from dsg_jax.networks.adm import ADMConfig  # noqa: E402
from dsg_jax.priors import init_latent_params, load_prior, save_latent_prior, save_prior  # noqa: E402
from dsg_jax.priors.files import recorded_files  # noqa: E402
from dsg_jax.priors.kinds import structs_of  # noqa: E402
from experiments.decode import read_image  # noqa: E402
from support.bombs import BOMBS  # noqa: E402
from support.golden_case import GOLDEN  # noqa: E402
from support.golden_models import TINY, TINY_VQ  # noqa: E402
from support.mutation import damage, damaged_pickle  # noqa: E402

SECONDS, BYTES = 2.0, 300e6
SMALL = ADMConfig(8, (1,), 0, (), num_heads=1, num_head_channels=-1, norm_groups=4)
# Values that an edited JSON file may have anywhere.
HOSTILE = (
    None, True, -1, 0, 1, 3, 2**31, 2**63, 10**400, 0.5, -1.5, 1e308, float("nan"), float("inf"),
    "", "eps", "../../up", "a" * 100_000, "\ud800", [], [1], [0] * 100_000, {}, {"a": 1}, [[]],
    {"shape": [1, 1, 1]},
)  # fmt: skip
_EVENTS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork")
_watching: list[str] = []
_executed: list[str] = []


def _audit(event: str, arguments: tuple) -> None:
    if _watching and event in _EVENTS:
        _executed.append(event)
    if _watching and event == "open" and isinstance(arguments[1], str) and "w" in arguments[1]:
        _executed.append(f"{event} {arguments[:2]}")


sys.addaudithook(_audit)

Case = tuple[str, Callable[[], object], bool]  # kind, what reads the input, whether it may be read


def edited(value: object, rng: np.random.Generator) -> object:
    """A JSON value with one entry replaced, removed, added or nested, somewhere."""
    value = copy.deepcopy(value)
    holder: object = value
    while isinstance(holder, dict | list) and holder:
        key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.integers(len(holder))
        inner = holder[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.3:
            how = rng.integers(6)
            if how == 0:
                del holder[key]
            elif how == 1 and isinstance(holder, dict):
                holder["extra"] = HOSTILE[rng.integers(len(HOSTILE))]
            elif how == 2:
                holder[key] = [inner]
            else:
                holder[key] = HOSTILE[rng.integers(len(HOSTILE))]
            return value
        holder = inner
    return HOSTILE[rng.integers(len(HOSTILE))]


def edited_text(value: object, rng: np.random.Generator) -> bytes:
    """The same as a file; sometimes no JSON at all."""
    text = json.dumps(edited(value, rng)).encode()
    how = rng.integers(20)
    if how == 0:
        return b"[" * int(rng.integers(10, 200_000))
    return damage(text, rng) if how == 1 else text


def prior_folders(folder: Path) -> list[Path]:
    """A small prior of each kind."""
    zeros = lambda tree: jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), tree)
    card = {"parametrisation": "eps", "size": 16, "name": "small"}
    params = zeros(structs_of("adm", {"unet": SMALL}))
    save_prior(folder / "pixel", params, SMALL, card)
    params = zeros(jax.eval_shape(lambda: init_latent_params(TINY, TINY_VQ)))
    card |= {"latent_scale": 1.0, "betas": {"start": 0.0015, "end": 0.0195, "steps": 1000}}
    save_latent_prior(folder / "latent", params, TINY, TINY_VQ, card)
    return [folder / "pixel", folder / "latent"]


def cards(folder: Path, rng: np.random.Generator, count: int) -> Iterator[Case]:
    for whole in prior_folders(folder / "priors"):
        card = json.loads((whole / "card.json").read_text())
        for trial in range(count):
            (whole / "card.json").write_bytes(edited_text(card, rng))
            verify = trial % 8 == 0
            read = verified if verify else load_prior
            yield "verified cards" if verify else "cards", partial(read, whole), True


def verified(folder: Path) -> int:
    """As the command does it; it runs the network, which takes a while to compile."""
    with redirect_stdout(io.StringIO()):
        return plan_verify(folder, None)()


def weights(folder: Path, rng: np.random.Generator, count: int) -> Iterator[Case]:
    for whole in prior_folders(folder / "whole"):
        names = [name for name in recorded_files(whole) if name != "card.json"]
        for trial in range(count // 2):
            changed = shutil.copytree(whole, folder / f"changed{trial}")
            path = changed / names[rng.integers(len(names))]
            content = path.read_bytes()
            bit = int(rng.integers(8 * len(content)))
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damage(content, rng) if trial % 3 == 2 else flipped)
            if path.read_bytes() != content:
                yield "weights", partial(load_prior, changed), False
                yield "weights, --no-verify", partial(load_prior, changed, verify=False), True
            shutil.rmtree(changed)


def checkpoints(folder: Path, rng: np.random.Generator, count: int) -> Iterator[Case]:
    goods = {
        name: (GOLDEN / "checkpoints" / name).read_bytes()
        for name in ("hostile.pt", "tiny_legacy.pt", "tiny_ldm.ckpt")
    }
    header = {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    text = json.dumps(header).encode()
    goods["small.safetensors"] = len(text).to_bytes(8, "little") + text + bytes(24)
    path = folder / "damaged.ckpt"

    def read():
        for tensor in open_checkpoint(path).tensors.values():
            tensor.read()

    for name, content in goods.items():
        for trial in range(count // 2):
            way = damaged_pickle if trial % 3 == 0 and content[:2] == b"PK" else damage
            path.write_bytes(way(content, rng))
            yield f"checkpoints: {name}", read, True


def descriptions(folder: Path, rng: np.random.Generator, count: int) -> Iterator[Case]:
    path = folder / "parts.json"
    kind = KINDS["ldm-ffhq"]
    parts = {"unet": TINY._asdict(), "first_stage": TINY_VQ._asdict()}
    parts |= {name: kind.card[name] for name in FACTS}
    np.savez(folder / "golden.npz", y=np.zeros(3))
    manifest = {"x": "randn(3, [1, 3, 8, 8])", "config": {"probe_rows": [1, 2]}}
    manifest |= {"tolerance": {"rel_l2": {"y": 1e-3}}}
    for _ in range(count):
        path.write_bytes(edited_text(parts, rng))
        yield "architectures", lambda: with_architecture(kind, path), True
        (folder / "golden.json").write_bytes(edited_text(manifest, rng))
        yield "recorded", lambda: read_recorded(folder / "golden.npz"), True


def pictures(folder: Path, rng: np.random.Generator, count: int) -> Iterator[Case]:
    image = Image.fromarray(rng.integers(0, 256, (16, 24, 3), np.uint8))
    for form in ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "DDS", "ICO", "TGA", "PCX"):
        stream = io.BytesIO()
        image.save(stream, form)
        for trial in range(count // 4):
            path = folder / f"x.{'png' if trial % 2 else form.lower()}"
            path.write_bytes(damage(stream.getvalue(), rng, reach=200))
            yield f"images: {form}", partial(read_image, path), True
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    yield "images: PostScript", partial(read_image, path), False


def arrays(folder: Path, rng: np.random.Generator, count: int) -> Iterator[Case]:
    path = folder / "prompts.npy"
    np.save(path, np.zeros((2, 77, 16), np.float32))
    good = path.read_bytes()
    for _ in range(count):
        path.write_bytes(damage(good, rng, reach=128))
        yield "arrays", lambda: prompt_embeddings(path, path, 16), True


def bombs(folder: Path, rng: np.random.Generator, count: int) -> Iterator[Case]:
    for make, _ in BOMBS.values():
        place = folder / "bomb"
        place.mkdir()
        path = make(place)
        yield "bombs", partial(open_checkpoint, path), True
        shutil.rmtree(place)


def peak_bytes(reset: bool = False) -> float:
    """Most memory that the process has had since the last reset (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return 1024.0 * int(status.split("VmHWM:")[1].split()[0])


def outcome(read: Callable[[], object], may_be_read: bool) -> str:
    _watching.append("")
    try:
        read()
    except (ValueError, OSError, MemoryError):
        return "refused"
    except Exception as error:
        return f"traceback: {type(error).__name__}: {error}"[:300]
    finally:
        _watching.clear()
    return "read" if may_be_read else "read what should be refused"


def main() -> int:
    """Run all kinds; print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    rng, good, inputs = np.random.default_rng(options.seed), True, 0
    with TemporaryDirectory() as name:
        for kinds in (cards, weights, checkpoints, descriptions, pictures, arrays, bombs):
            results: dict[str, Counter] = {}
            worst: dict[str, list[float]] = {}
            for kind, read, may_be_read in kinds(Path(name), rng, options.count):
                before, start = peak_bytes(reset=True), time.process_time()
                end = outcome(read, may_be_read)
                took, more = time.process_time() - start, peak_bytes() - before
                results.setdefault(kind, Counter())[end] += 1
                most = worst.setdefault(kind, [0.0, 0.0])
                most[:] = max(most[0], took), max(most[1], more)
                running = end == "read" and kind in ("verified cards", "architectures")
                results[kind]["over limits"] += not running and (took > SECONDS or more > BYTES)
                inputs += 1
            for kind, ends in results.items():
                good = good and set(ends) <= {"refused", "read", "over limits"}
                good = good and not ends["over limits"]
                facts = {"seconds": round(worst[kind][0], 2), "MB": round(worst[kind][1] / 1e6)}
                print(json.dumps({"kind": kind} | ends | {"worst": facts}), flush=True)
    print(json.dumps({"inputs": inputs, "executed or written": len(_executed)}))
    for event in _executed[:5]:
        print(event)
    return 0 if good and not _executed else 1


if __name__ == "__main__":
    sys.exit(main())
